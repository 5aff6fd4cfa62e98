"""Settings of the selection function: injected clusters, null skies, random positions.

Everything here makes products of its own below ``selection/``; nothing of it enters the catalogue.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from clusterscan.config.base import Settings

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
