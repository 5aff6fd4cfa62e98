"""Settings of what is measured: completeness and purity, and the selection function.

The selection function (injected clusters, null skies, random positions) makes products of its own
below ``selection/``; nothing of it enters the catalogue.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Literal

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


NullName = Literal["inverted", "scrambled", "shuffled", "empty"]
INJECTED = "injected"
"""The probe that holds model clusters; the others are null skies."""

MOST_RANDOMS = 100_000_000  # more do not fit into a machine's memory


class SzSignal(Settings):
    """A survey that sees model clusters by their SZ effect; images in uK_CMB."""

    kind: Literal["sz"]
    frequencies_ghz: tuple[PositiveFloat, ...] = Field(
        description="effective frequency of each band for the SZ effect [GHz]"
    )
    beam_fwhm_arcmin: tuple[PositiveFloat, ...] = Field(
        description="Gaussian beam of each band, full width at half maximum [arcmin]"
    )
    highpass_fwhm_arcmin: float | None = Field(
        None, gt=0, description="the tile images' high-pass, which signals go through too [arcmin]"
    )


class GalaxiesSignal(Settings):
    """A survey in W1 and W2 [nanomaggy, Vega] that sees model clusters by their galaxies."""

    kind: Literal["galaxies"]
    limit_w1_mag: float = Field(19.5, description="faintest member galaxy drawn, in W1 [Vega mag]")


Signal = Annotated[SzSignal | GalaxiesSignal, Field(discriminator="kind")]


class InjectionGrid(Settings):
    """Masses, redshifts and places of the injected clusters."""

    m500c_edges_msun: tuple[PositiveFloat, ...] = Field(
        (7e13, 1e14, 1.5e14, 2.2e14, 3.2e14, 5e14, 1e15),
        min_length=2,
        description="rising edges of the mass bins; drawn log-uniformly within each [Msun]",
    )
    z_edges: tuple[PositiveFloat, ...] = Field(
        (0.1, 0.3, 0.5, 0.7, 0.9, 1.2), min_length=2, description="rising edges of redshift bins"
    )
    cell_order: int = Field(
        8, ge=4, le=10, description="HEALPix order of the cells that hold one cluster each"
    )

    @model_validator(mode="after")
    def _edges_rise(self) -> InjectionGrid:
        for key in ("m500c_edges_msun", "z_edges"):
            if any(b <= a for a, b in pairwise(getattr(self, key))):
                raise ValueError(f"{key} = {list(getattr(self, key))} must rise")
        return self


class SelectionSettings(Settings):
    """How the selection function is measured."""

    tiles: Literal["test", "all"] = Field(
        "test", description="tiles that are probed: those of the test region, or the footprint's"
    )
    max_injected_tiles: NonNegativeInt = Field(
        4, description="most tiles that clusters are injected into, evenly chosen; 0: none"
    )
    max_null_tiles: NonNegativeInt = Field(
        1, description="most tiles that are made into each null sky, evenly chosen; 0: none"
    )
    signals: dict[str, Signal] = Field(
        default_factory=dict,
        description="survey: how it sees a model cluster; surveys that are not named see nothing, "
        "and without any nothing is injected",
    )
    grid: InjectionGrid = Field(InjectionGrid(), description="the injected clusters")
    nulls: tuple[NullName, ...] = Field(
        (),
        description="null skies: 'inverted' (sign of SZ surveys turned), 'scrambled' (phases drawn "
        "at random), 'shuffled' (bands exchanged), 'empty' (simulated surveys without halos)",
    )
    purity: float = Field(
        0.8, gt=0, lt=1, description="completeness is that of the sample of this expected purity"
    )
    n_bootstrap: NonNegativeInt = Field(100, description="resamplings for the limits' errors")
    randoms_per_object: PositiveInt = Field(
        50, le=1000, description="random positions for each object of the catalogue"
    )
    min_randoms: PositiveInt = Field(20_000, le=MOST_RANDOMS, description="fewest random positions")
    max_randoms: PositiveInt = Field(
        10_000_000,
        le=MOST_RANDOMS,
        description="most random positions, however many objects there are; a million take 0.3 GB",
    )

    @model_validator(mode="after")
    def _can_be_done(self) -> SelectionSettings:
        again = sorted({name for name in self.nulls if self.nulls.count(name) > 1})
        if again:
            raise ValueError(f"nulls: {again} stand more than once; name each null sky once")
        if self.min_randoms > self.max_randoms:
            raise ValueError(
                f"min_randoms = {self.min_randoms} exceeds max_randoms = {self.max_randoms}; "
                "lower the one or raise the other"
            )
        return self
