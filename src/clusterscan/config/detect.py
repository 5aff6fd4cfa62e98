"""Settings of detection: from maps to candidates."""

from __future__ import annotations

from pydantic import Field, NonNegativeFloat, PositiveFloat, model_validator

from clusterscan.config.base import Settings


class DetectSettings(Settings):
    """How peaks of a map become candidates."""

    radius_arcmin: PositiveFloat = Field(
        2.0, description="a peak is the highest map pixel within this radius [arcmin]"
    )
    smooth_fwhm_arcmin: NonNegativeFloat = Field(
        0.0, description="Gaussian smoothing of the (logit) map before the search [arcmin]"
    )
    min_probability: float = Field(
        0.05, ge=0, lt=1, description="lowest peak kept from a network's map"
    )
    min_snr: float = Field(2.5, description="lowest peak kept from a filter's S/N map")
    noise_inner_arcmin: PositiveFloat = Field(
        5.0, description="inner radius of the annulus that measures the map's noise [arcmin]"
    )
    noise_outer_arcmin: PositiveFloat = Field(
        20.0, description="outer radius of that annulus [arcmin]"
    )
    position_error_floor_arcmin: PositiveFloat = Field(
        0.1, description="smallest position error along one axis [arcmin]"
    )
    max_per_deg2: PositiveFloat = Field(
        200.0, description="most candidates kept per square degree of a tile, best first"
    )

    @model_validator(mode="after")
    def _radii_grow(self) -> DetectSettings:
        if not self.radius_arcmin <= self.noise_inner_arcmin < self.noise_outer_arcmin:
            raise ValueError(
                f"radius_arcmin = {self.radius_arcmin}, noise_inner_arcmin = "
                f"{self.noise_inner_arcmin} and noise_outer_arcmin = {self.noise_outer_arcmin} "
                "must grow in this order, so that a peak does not measure itself as noise"
            )
        return self

    @property
    def reach_arcmin(self) -> float:
        """How far around its own pixels a tile must see the map [arcmin]."""
        return self.noise_outer_arcmin + 2 * self.radius_arcmin + 1.5 * self.smooth_fwhm_arcmin
