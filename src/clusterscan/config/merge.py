"""Settings of merging: from candidates of many models to one object each."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
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
    # Cells, not objects, are left out: neighbours share noise and depth, and would make every fit
    # look better than it is.
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

    # The catalogue marks nested samples, from the purest inwards, in this order.
    @model_validator(mode="after")
    def _purities_rise(self) -> CalibrationSettings:
        if sorted(set(self.purities)) != list(self.purities):
            raise ValueError(f"purities = {list(self.purities)} must rise")
        if not 0 < self.purities[0] <= self.purities[-1] < 1:
            raise ValueError(f"purities = {list(self.purities)} must lie between 0 and 1")
        return self


# The keys that were here until known catalogues became a stage of their own.
_MOVED = {
    "unite_radius_arcmin": "radius_arcmin",
    "unite_radius_kpc": "radius_kpc",
    "unite_n_sigma": "n_sigma",
    "unite_z_window": "z_window",
    "duplicate_radius_arcmin": "duplicate_radius_arcmin",
}


class MergeSettings(Settings):
    """How candidates are joined, measured, scored and matched with known clusters."""

    radius_arcmin: PositiveFloat = Field(
        2.5,
        description="Candidates within this radius of the best candidate of an object join it "
        "[arcmin].",
    )
    known_radius_arcmin: PositiveFloat = Field(
        2.5, description="Largest separation of an object and its known cluster [arcmin]."
    )
    forced_radius_arcmin: NonNegativeFloat = Field(
        1.0, description="A forced value is the maximum of the map within this radius [arcmin]."
    )
    calibration: CalibrationSettings = Field(
        CalibrationSettings(), description="How combined scores become a calibrated probability."
    )

    @model_validator(mode="before")
    @classmethod
    def _uniting_has_its_own_section(cls, values: Any) -> Any:
        for old, new in _MOVED.items():
            if isinstance(values, dict) and old in values:
                raise ValueError(f"{old} has moved; write known.{new}: {values[old]}")
        return values
