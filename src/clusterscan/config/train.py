"""Settings of training."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from clusterscan.config.base import Settings


class NormalisationSettings(Settings):
    """How pixel values become network inputs: z = (value - median) / robust sigma, by band."""

    kind: Literal["asinh", "standard"] = Field(
        "asinh", description="'asinh': b asinh(z / b), tames bright stars; 'standard': z itself."
    )
    softening: float = Field(
        3.0, gt=0, description="b of 'asinh': values up to about b sigma stay linear."
    )


class AugmentationSettings(Settings):
    """Random changes that leave an example's label as it is."""

    rotation: Literal["none", "quarter", "any"] = Field(
        "quarter",
        description="'quarter' turns keep the pixels' noise as the scan sees it; 'any' angle "
        "interpolates, which smooths noise, so use it for well sampled images only.",
    )
    flips: bool = Field(True, description="Mirror half of the examples.")
    shift_px: int = Field(
        4,
        ge=0,
        le=256,
        description="Move the image by up to this many pixels along each axis, so that the "
        "network accepts objects between the scan's grid points.",
    )


class RangeTestSettings(Settings):
    """The learning rate range test (Smith 2017)."""

    lowest: float = Field(1e-5, gt=0, description="First learning rate.")
    highest: float = Field(1.0, gt=0, description="Last learning rate.")
    steps: int = Field(40, ge=10, le=2000, description="Batches between them.")
    rule: Literal["valley", "steepest", "tenth_of_minimum"] = Field(
        "valley",
        description="Choose the middle of the smoothed loss's longest descent, the rate where "
        "it falls fastest, or a tenth of the rate where it is lowest.",
    )

    @model_validator(mode="after")
    def _range_rises(self) -> RangeTestSettings:
        if self.highest <= self.lowest:
            raise ValueError(
                f"highest = {self.highest} must lie above lowest = {self.lowest} "
                "for a range test to sweep anything"
            )
        return self


class TrainSettings(Settings):
    """Training of one model."""

    epochs: int = Field(12, ge=1, description="Passes; see negatives_per_positive for their size.")
    batch_size: int = Field(64, ge=2, description="Examples per step.")
    optimiser: Literal["adamw", "sgd"] = Field("adamw", description="Optimiser.")
    learning_rate: Literal["range_test"] | float = Field(
        "range_test", description="Peak learning rate, or 'range_test' to measure it first."
    )
    range_test: RangeTestSettings = RangeTestSettings()
    weight_decay: float = Field(0.01, ge=0, description="Weight decay of the weights proper.")
    schedule: Literal["one_cycle", "cosine", "constant"] = Field(
        "one_cycle", description="How the learning rate runs over the training."
    )
    label_smoothing: float = Field(
        0.02, ge=0, lt=0.5, description="Targets become this and one minus this."
    )
    negatives_per_positive: float = Field(
        2.0,
        gt=0,
        description="Each epoch shows every positive once and this many negatives for each, "
        "drawn afresh from all there are.",
    )
    least_examples_per_epoch: int = Field(
        0,
        ge=0,
        description="Show the positives more than once in an epoch (augmented differently) "
        "until it has this many examples; 0: once.",
    )
    augmentation: AugmentationSettings = AugmentationSettings()
    normalisation: NormalisationSettings = NormalisationSettings()
    average_over_steps: int = Field(
        20,
        ge=0,
        description="Judge and keep a running mean of the weights over about this many steps, "
        "which is steadier than the weights themselves; 0: the weights themselves.",
    )
    keep_best_by: Literal["loss", "average_precision", "last"] = Field(
        "loss", description="Keep the weights of the epoch best in this on the validation set."
    )
    patience: int = Field(
        0, ge=0, description="Stop after this many epochs without a better one; 0: never."
    )
    seed: int = Field(1, ge=0, lt=2**31, description="Seed of everything random in training.")
    threads: int = Field(
        1, ge=1, description="CPU threads; fixed here because sums depend on it in the last bit."
    )
    device: str = Field(
        "auto",
        pattern=r"^(auto|cpu|cuda(:\d+)?)$",
        description="'cpu', 'cuda', 'cuda:<n>', or 'auto': the first GPU if there is one.",
    )

    @model_validator(mode="after")
    def _rate_is_positive(self) -> TrainSettings:
        if isinstance(self.learning_rate, float) and not 0 < self.learning_rate < 10:
            raise ValueError(
                f"learning_rate = {self.learning_rate} should lie between 0 and 10, "
                "or be 'range_test'"
            )
        return self
