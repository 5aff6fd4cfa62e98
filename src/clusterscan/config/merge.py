"""Settings of merging: from candidates of many models to one object each."""

from __future__ import annotations

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from clusterscan.config.base import Settings
from clusterscan.config.calibration import CalibrationSettings


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
