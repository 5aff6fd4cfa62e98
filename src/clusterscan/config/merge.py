"""Settings of merging: from candidates of many models to one object each."""

from __future__ import annotations

from typing import Literal

from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from clusterscan.config.base import Settings

CombinationName = Literal["single", "mean", "logit_mean", "stacking"]
MethodName = Literal["temperature", "platt", "beta", "isotonic"]


class CalibrationSettings(Settings):
    """How the probability of the objects is calibrated on the validation sky."""

    reference: Literal["truth", "known"] = Field(
        "truth",
        description="What counts as real on the validation sky: the catalogues of role `truth` if "
        "there are any, as in the validation on the test sky, or those of role "
        "`known`.",
    )
    combinations: tuple[CombinationName, ...] = Field(
        ("single", "mean", "logit_mean", "stacking"),
        min_length=1,
        description="Ways to combine the models that are compared; `single` is each model alone.",
    )
    methods: tuple[MethodName, ...] = Field(
        ("temperature", "platt", "beta", "isotonic"),
        min_length=1,
        description="Calibrations that are compared; the one with the lowest cross-validated loss "
        "is used.",
    )
    cell_order: int = Field(
        7,
        ge=0,
        le=12,
        description="HEALPix order of the sky cells that stay together in cross-validation and "
        "bootstrap.",
    )
    folds: int = Field(
        8, ge=2, le=100, description="Number of cross-validation folds of these cells."
    )
    n_bootstrap: NonNegativeInt = Field(
        100,
        description="Number of bootstrap samples of these cells, which give the error of the "
        "probability.",
    )
    purities: tuple[float, ...] = Field(
        (0.8, 0.9, 0.95, 0.99),
        min_length=1,
        description="Expected purities of the samples that the catalogue marks.",
    )

    @model_validator(mode="after")
    def _purities_rise(self) -> CalibrationSettings:
        if sorted(set(self.purities)) != list(self.purities):
            raise ValueError(f"purities = {list(self.purities)} must rise")
        if not 0 < self.purities[0] <= self.purities[-1] < 1:
            raise ValueError(f"purities = {list(self.purities)} must lie between 0 and 1")
        return self


class MergeSettings(Settings):
    """How candidates are joined, measured, scored and matched with known clusters."""

    radius_arcmin: PositiveFloat = Field(
        2.5, description="candidates within this radius of an object's best one join it [arcmin]"
    )
    known_radius_arcmin: PositiveFloat = Field(
        2.5, description="largest separation of an object and its known cluster [arcmin]"
    )
    unite_radius_arcmin: PositiveFloat = Field(
        2.5, description="entries of two catalogues within this radius are one cluster [arcmin]"
    )
    unite_radius_kpc: PositiveFloat | None = Field(
        None,
        description="the same across the line of sight where a redshift is known [kpc]; null: "
        "the angle",
    )
    unite_n_sigma: NonNegativeFloat = Field(
        0.0, description="limits widen by this many position errors of both entries"
    )
    unite_z_window: PositiveFloat | None = Field(
        None,
        description="entries whose redshifts differ by more than this times (1 + z) are two "
        "clusters; null: redshifts keep nothing apart",
    )
    duplicate_radius_arcmin: NonNegativeFloat = Field(
        0.1, description="rows of one catalogue this close are one cluster [arcmin]"
    )
    forced_radius_arcmin: NonNegativeFloat = Field(
        1.0, description="forced values are the map's maximum within this radius [arcmin]"
    )
    combiner_penalty: PositiveFloat = Field(
        1.0, description="L2 penalty on the weights that combine the models"
    )
    combiner_min_examples: PositiveInt = Field(
        8, description="real and other objects needed to fit anything; else plain mean of logits"
    )
    calibration: CalibrationSettings = Field(
        CalibrationSettings(), description="from combined scores to a probability that holds"
    )

    @model_validator(mode="after")
    def _duplicates_are_closer(self) -> MergeSettings:
        if self.duplicate_radius_arcmin > self.unite_radius_arcmin:
            raise ValueError(
                f"duplicate_radius_arcmin = {self.duplicate_radius_arcmin} exceeds "
                f"unite_radius_arcmin = {self.unite_radius_arcmin}; make it smaller"
            )
        return self
