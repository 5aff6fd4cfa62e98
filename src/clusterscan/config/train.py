"""Settings of training."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from clusterscan.config.base import Settings

Optimiser = Literal["adamw", "adam", "nadam", "radam", "rmsprop", "adadelta", "sgd"]
Schedule = Literal["one_cycle", "constant", "cosine", "step", "exponential", "plateau"]
LearningRate = Literal["range_test"] | float
Degrees = Annotated[float, Field(gt=0, le=180)]
Weight = Annotated[float, Field(gt=0)]


class NormalisationSettings(Settings):
    """How pixel values become network inputs.

    z = (value - median) / robust sigma, with the statistics of each band over the training
    examples. The model card holds them.
    """

    kind: Literal["asinh", "log", "quantile", "standard", "unit"] = Field(
        "asinh",
        description="`asinh`: b asinh(z / b), which compresses bright stars; `log`: b ln(1 + |z| "
        "/ b) with the sign of z, for steeper tails; `quantile`: the normal deviate "
        "of the rank of the value, for any skewed distribution; `standard`: z; "
        "`unit`: from 0 to 1 between two quantiles.",
    )
    softening: float = Field(
        3.0, gt=0, description="The b of `asinh` and `log`: values up to about b sigma stay linear."
    )
    unit_quantiles: tuple[float, float] = Field(
        (0.0, 1.0),
        description="The two quantiles that become 0 and 1 with `unit`; values beyond them are "
        "clipped.",
    )

    # Background, median and scale are measured on the training examples only; the scan uses the
    # numbers of the model card, so both see the same inputs.
    colour_gain: float = Field(
        0.0,
        ge=0,
        le=100,
        description="Above 0, the network reads the mean of the bands and the differences of "
        "neighbouring bands times this factor, in place of the bands. Bands look "
        "alike, so networks learn colours late or never from few examples; 3 suits "
        "`asinh`.",
    )
    background: Literal["kept", "image"] = Field(
        "kept",
        description="`image`: the median of each band of each example is subtracted first, for "
        "stamps with different backgrounds. Networks that scan tiles need `kept`.",
    )

    @field_validator("unit_quantiles")
    @classmethod
    def _quantiles_rise(cls, value: tuple[float, float]) -> tuple[float, float]:
        if not 0 <= value[0] < value[1] <= 1:
            raise ValueError(
                f"unit_quantiles = {list(value)} must rise within 0 to 1, such as [0.001, 0.999]"
            )
        return value


class AugmentationSettings(Settings):
    """Random changes of the examples that preserve their labels."""

    rotation: Literal["none", "quarter", "any", "steps"] | Degrees = Field(
        "quarter",
        description="`quarter` turns preserve the noise of the pixels; `any` angle, one of "
        "rotation_steps equal `steps` of the circle, or an angle within plus or minus "
        "this number of degrees interpolate and smooth the noise, so they suit "
        "well-sampled images only.",
    )
    rotation_steps: int = Field(
        15, ge=2, le=360, description="Number of the angles of `rotation: steps`."
    )
    flips: Literal["none", "horizontal", "both"] = Field(
        "both",
        description="Mirror half of the examples: left to right, or also top to bottom. true "
        "means `both`, false `none`.",
    )
    shift_px: int = Field(
        4,
        ge=0,
        le=256,
        description="Largest shift along each axis [px], so that the network accepts objects "
        "between the grid points of the scan. With several surveys these are pixels "
        "of the first one; the others shift by the same angle.",
    )

    zoom: tuple[float, float] = Field(
        (1.0, 1.0),
        description="Smallest and largest magnification, for objects whose size carries no "
        "information; values other than 1 interpolate.",
    )

    @property
    def zooms(self) -> bool:
        """True if the magnification is not always 1."""
        return self.zoom != (1.0, 1.0)

    @field_validator("zoom")
    @classmethod
    def _zoom_rises(cls, value: tuple[float, float]) -> tuple[float, float]:
        if not 0.25 <= value[0] <= value[1] <= 4:
            raise ValueError(
                f"zoom = {list(value)} must rise within 0.25 to 4, such as [0.8, 1.25]"
            )
        return value

    @field_validator("flips", mode="before")
    @classmethod
    def _bools_are_flips(cls, value: Any) -> Any:
        return {True: "both", False: "none"}[value] if isinstance(value, bool) else value


# One short run with a rising rate costs less than a wrong guess.
class RangeTestSettings(Settings):
    """The learning rate range test (Smith 2017)."""

    lowest: float = Field(1e-5, gt=0, description="First learning rate.")
    highest: float = Field(1.0, gt=0, description="Last learning rate.")
    steps: int = Field(40, ge=10, le=2000, description="Number of batches between them.")
    rule: Literal["valley", "steepest", "tenth_of_minimum"] = Field(
        "valley",
        description="`valley`: the middle of the longest descent of the smoothed loss; "
        "`steepest`: the rate where the loss falls fastest; `tenth_of_minimum`: a "
        "tenth of the rate with the lowest loss.",
    )

    @model_validator(mode="after")
    def _range_rises(self) -> RangeTestSettings:
        if self.highest <= self.lowest:
            raise ValueError(
                f"highest = {self.highest} must lie above lowest = {self.lowest} "
                "for a range test to cover any range"
            )
        return self


class TransferStage(Settings):
    """One stage of a training in stages; null takes the value of the training."""

    trainable: Literal["head", "all"] | Annotated[int, Field(ge=1)] = Field(
        "all",
        description="What learns: the new `head` alone, `all`, or this many of the last groups of "
        "layers, including the head.",
    )
    epochs: int = Field(..., ge=1, description="Number of passes in this stage.")
    optimiser: Optimiser | None = Field(None, description="Optimiser; null: that of the training.")
    learning_rate: LearningRate | None = Field(
        None,
        description="Peak learning rate, or `range_test` to measure it for this stage; null: that "
        "of the training.",
    )
    momentum: float | None = Field(
        None, ge=0, lt=1, description="Momentum of `sgd`; null: that of the training."
    )
    weight_decay: float | None = Field(
        None, ge=0, description="Weight decay; null: that of the training."
    )
    schedule: Schedule | None = Field(
        None,
        description="Schedule of the learning rate over this stage; null: that of the training.",
    )

    @field_validator("learning_rate")
    @classmethod
    def _rate_is_positive(cls, value: LearningRate | None) -> LearningRate | None:
        return _possible_rate(value)


class TrainSettings(Settings):
    """How one network is trained."""

    epochs: int = Field(
        12, ge=1, description="Number of passes; negatives_per_positive sets their size."
    )
    batch_size: int = Field(
        64, ge=2, description="Number of examples per step, on all devices together."
    )
    optimiser: Optimiser = Field("adamw", description="Optimiser; `sgd` uses Nesterov momentum.")
    momentum: float = Field(
        0.9, ge=0, lt=1, description="Momentum of `sgd`; 0: plain gradient descent."
    )
    learning_rate: LearningRate = Field(
        "range_test", description="Peak learning rate, or `range_test` to measure it first."
    )
    range_test: RangeTestSettings = Field(
        RangeTestSettings(), description="How the learning rate is measured."
    )
    weight_decay: float = Field(
        0.01, ge=0, description="Weight decay; biases and normalisation layers have none."
    )
    schedule: Schedule = Field(
        "one_cycle",
        description="How the learning rate changes: `step` and `exponential` multiply it by "
        "schedule_factor every schedule_every_epochs, at once or gradually after each "
        "epoch; `plateau` does so when the validation loss has not fallen for as "
        "long.",
    )
    schedule_factor: float = Field(
        0.1, gt=0, lt=1, description="Factor of `step`, `exponential` and `plateau`."
    )
    schedule_every_epochs: int = Field(
        10,
        ge=1,
        description="Number of epochs between two steps of `step`, `exponential` or `plateau`.",
    )
    # Labels of known catalogues are not certain: negatives contain unlisted clusters.
    label_smoothing: float = Field(
        0.02,
        ge=0,
        lt=0.5,
        description="The target of the true class is one minus this value; the other classes "
        "share the rest equally.",
    )
    class_weights: Literal["none", "balanced"] | tuple[Weight, ...] = Field(
        "none",
        description="Weight of each class in the loss: `none`, `balanced` (inverse to its number "
        "of training examples), or one number per class.",
    )
    negatives_per_positive: float | None = Field(
        2.0,
        gt=0,
        description="Each epoch shows every positive once and draws this many negatives for each; "
        "null: every training example once, which is required with more than two "
        "classes.",
    )
    least_examples_per_epoch: int = Field(
        0,
        ge=0,
        description="Smallest number of examples in an epoch; examples repeat, with different "
        "augmentation, to reach it. 0: no repetition.",
    )
    # A single example with a saturated star can give a gradient that undoes an epoch.
    clip_norm: float = Field(
        5.0,
        ge=0,
        description="Largest norm of a gradient; longer ones are scaled down. 0: no limit.",
    )
    augmentation: AugmentationSettings = Field(
        AugmentationSettings(), description="Random changes of the training examples."
    )
    normalisation: NormalisationSettings = Field(
        NormalisationSettings(), description="How pixel values become network inputs."
    )
    transfer: tuple[TransferStage, ...] | None = Field(
        None,
        description="Training in stages, each from the best weights of the stage before; they "
        "replace epochs. null: one stage.",
    )
    average_over_steps: int = Field(
        20,
        ge=0,
        description="Number of steps over which a running mean of the weights is evaluated and "
        "kept, which is steadier than the weights; 0: the weights themselves.",
    )
    keep_best_by: Literal["loss", "average_precision", "accuracy", "last"] = Field(
        "loss",
        description="The weights of the epoch that is best in this on the validation set are kept.",
    )
    average_turns: bool = Field(
        False,
        description="Predict listed objects (the validation and test examples, and those of "
        "`clusterscan classify`) by the mean logit over the eight turns and mirrors "
        "of each image, at eight times the cost. A scan does not use it.",
    )
    patience: int = Field(
        0, ge=0, description="Stop after this many epochs without improvement; 0: never."
    )
    seed: int = Field(1, ge=0, lt=2**31, description="Seed of all random draws in the training.")
    # Results must not depend on the machine, so it does not choose the number of threads.
    threads: int = Field(
        1,
        ge=1,
        description="Number of CPU threads; it is fixed here because sums depend on it in the "
        "last bit.",
    )
    device: str = Field(
        "auto",
        pattern=r"^(auto|cpu|cuda(:\d+)?)$",
        description="`cpu`, `cuda`, `cuda:N`, or `auto`: the first GPU, if there is one.",
    )
    devices: int = Field(
        1,
        ge=1,
        description="Number of GPUs, or processes on a CPU, that share the examples of each step.",
    )
    precision: Literal["auto", "32", "16-mixed", "bf16-mixed"] = Field(
        "auto",
        description="Arithmetic of the network: 32 bits or mixed. `auto`: bf16-mixed on GPUs that "
        "support it, 32 bits elsewhere.",
    )
    checkpoint_every_steps: int = Field(
        500,
        ge=0,
        description="Number of steps between two checkpoints, from which a killed training "
        "continues; 0: none.",
    )

    @field_validator("learning_rate")
    @classmethod
    def _rate_is_positive(cls, value: LearningRate) -> LearningRate | None:
        return _possible_rate(value)

    @model_validator(mode="after")
    def _stages_and_devices_fit(self) -> TrainSettings:
        if self.transfer is not None and not self.transfer:
            raise ValueError("transfer is empty; give at least one stage, or null")
        if self.batch_size % self.devices:
            raise ValueError(
                f"batch_size = {self.batch_size} cannot be divided equally among devices = "
                f"{self.devices}; give a multiple"
            )
        if self.devices > 1 and ":" in self.device:
            raise ValueError(f"device = {self.device!r} names one GPU; give 'cuda' for several")
        return self


def _possible_rate(value: LearningRate | None) -> LearningRate | None:
    if isinstance(value, float) and not 0 < value < 10:
        raise ValueError(f"learning_rate = {value} should lie between 0 and 10, or be 'range_test'")
    return value
