"""Settings of validation: what counts as a cluster, and how curves and errors are made."""

from __future__ import annotations

from itertools import pairwise

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from clusterscan.config.base import Settings

Range = tuple[float | None, float | None]


class Binning(Settings):
    """Bins of one column of the truth catalogue."""

    column: str = Field(description="column of the truth catalogue, its unit in its name")
    edges: tuple[float, ...] = Field(min_length=2, description="rising edges of the bins")

    @model_validator(mode="after")
    def _edges_rise(self) -> Binning:
        if any(b <= a for a, b in pairwise(self.edges)):
            raise ValueError(f"edges of {self.column} must rise, got {list(self.edges)}")
        return self


class ValidateSettings(Settings):
    """How completeness and purity are measured on the test region."""

    radius_arcmin: PositiveFloat = Field(
        2.5, description="largest separation of an object and its true cluster [arcmin]"
    )
    completeness_cut: dict[str, Range] = Field(
        default={"m500c_msun": (1e14, None), "z": (0.05, 1.5)},
        description="column: [least, most] of the true clusters that ought to be found",
    )
    purity_cut: dict[str, Range] = Field(
        default={"m500c_msun": (5e13, None)},
        description="column: [least, most] of the true clusters that make an object real",
    )
    purities: tuple[float, ...] = Field(
        (0.8, 0.9, 0.95), min_length=1, description="completeness is read off at these purities"
    )
    reference_purity: float = Field(
        0.8, gt=0, lt=1, description="bins and comparisons use the threshold of this purity"
    )
    min_objects: PositiveInt = Field(
        10, description="a purity measured on fewer objects counts as not reached"
    )
    bins: tuple[Binning, ...] = Field(
        default=(
            Binning(column="z", edges=(0.05, 0.3, 0.5, 0.7, 1.0, 1.5)),
            Binning(column="m500c_msun", edges=(1e14, 1.5e14, 2e14, 3e14, 5e14, 2e15)),
        ),
        description="columns of the truth in whose bins completeness is shown",
    )
    confidence: float = Field(
        0.6827, gt=0, lt=1, description="probability content of every interval"
    )
    n_bootstrap: NonNegativeInt = Field(1000, description="resamplings of the sky's cells")
    bootstrap_order: int = Field(
        6, ge=0, le=12, description="HEALPix order of the cells that are resampled"
    )
    chance_shift_arcmin: PositiveFloat = Field(
        20.0, description="shift of the positions that measures chance matches [arcmin]"
    )
    curve_points: PositiveInt = Field(200, description="most points kept of a curve")

    @model_validator(mode="after")
    def _sensible(self) -> ValidateSettings:
        if not all(0 < p < 1 for p in self.purities):
            raise ValueError(f"purities must lie between 0 and 1, got {list(self.purities)}")
        if self.chance_shift_arcmin <= 2 * self.radius_arcmin:
            raise ValueError(
                f"chance_shift_arcmin = {self.chance_shift_arcmin} must exceed twice "
                f"radius_arcmin = {self.radius_arcmin}, or true matches count as chance"
            )
        for key, cut in {**self.completeness_cut, **self.purity_cut}.items():
            low, high = cut
            if low is not None and high is not None and high < low:
                raise ValueError(f"cut on {key}: {high} < {low}; give [least, most]")
        return self
