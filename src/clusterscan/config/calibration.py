"""Settings of the merged probability: how networks combine, how it is calibrated, its error."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, NonNegativeInt, model_validator

from clusterscan.config.base import Settings

CombinationName = Literal["single", "mean", "logit_mean", "stacking"]
MethodName = Literal["temperature", "platt", "beta", "isotonic"]


class CalibrationSettings(Settings):
    """How the objects' probability is made on the validation sky."""

    reference: Literal["truth", "known"] = Field(
        "truth",
        description="what counts as real on the validation sky: catalogues of role 'truth' where "
        "there are any, as the validation takes them on the test sky, or the known ones",
    )
    combinations: tuple[CombinationName, ...] = Field(
        ("single", "mean", "logit_mean", "stacking"),
        min_length=1,
        description="ways to combine models that are compared; 'single': each model alone",
    )
    methods: tuple[MethodName, ...] = Field(
        ("temperature", "platt", "beta", "isotonic"),
        min_length=1,
        description="calibrations that are compared; the one of the lowest left-out loss is used",
    )
    cell_order: int = Field(
        7, ge=0, le=12, description="HEALPix order of the sky cells that stay together"
    )
    folds: int = Field(8, ge=2, le=100, description="parts of the validation sky's cells")
    n_bootstrap: NonNegativeInt = Field(
        100, description="resamplings of those cells that give the probability's error"
    )
    purities: tuple[float, ...] = Field(
        (0.8, 0.9, 0.95, 0.99),
        min_length=1,
        description="sub-samples of these expected purities are marked in the catalogue",
    )

    @model_validator(mode="after")
    def _purities_rise(self) -> CalibrationSettings:
        if sorted(set(self.purities)) != list(self.purities):
            raise ValueError(f"purities = {list(self.purities)} must rise")
        if not 0 < self.purities[0] <= self.purities[-1] < 1:
            raise ValueError(f"purities = {list(self.purities)} must lie between 0 and 1")
        return self
