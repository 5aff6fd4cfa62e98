"""Settings of the measurements: completeness and purity, and the selection function.

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

    column: str = Field(description="Column of the truth catalogue; its unit is part of the name.")
    edges: tuple[float, ...] = Field(
        min_length=2, description="Edges of the bins, in rising order."
    )

    @model_validator(mode="after")
    def _edges_rise(self) -> Binning:
        if any(b <= a for a, b in pairwise(self.edges)):
            raise ValueError(f"edges of {self.column} must rise, got {list(self.edges)}")
        return self


class ValidateSettings(Settings):
    """How completeness and purity are measured on the test region."""

    radius_arcmin: PositiveFloat = Field(
        2.5, description="Largest separation of an object and its true cluster [arcmin]."
    )
    # The two cuts differ on purpose: completeness counts the clusters that ought to be found, while
    # a less massive cluster still makes an object real.
    completeness_cut: dict[str, Range] = Field(
        default={"m500c_msun": (1e14, None), "z": (0.05, 1.5)},
        description="Column: [least, most] of the true clusters that completeness counts; null: "
        "no limit.",
    )
    purity_cut: dict[str, Range] = Field(
        default={"m500c_msun": (5e13, None)},
        description="Column: [least, most] of the true clusters that make an object real; null: "
        "no limit.",
    )
    purities: tuple[float, ...] = Field(
        (0.8, 0.9, 0.95), min_length=1, description="Purities at which completeness is read off."
    )
    reference_purity: float = Field(
        0.8, gt=0, lt=1, description="Purity of the sample for bins and comparisons."
    )
    # The purity of three objects is 1 by luck in many lists; a threshold must rest on a sample.
    min_objects: PositiveInt = Field(
        10, description="A purity that is measured on fewer objects counts as not reached."
    )
    bins: tuple[Binning, ...] = Field(
        default=(
            Binning(column="z", edges=(0.05, 0.3, 0.5, 0.7, 1.0, 1.5)),
            Binning(column="m500c_msun", edges=(1e14, 1.5e14, 2e14, 3e14, 5e14, 2e15)),
        ),
        description="Columns of the truth in whose bins completeness is shown.",
    )
    confidence: float = Field(0.6827, gt=0, lt=1, description="Confidence level of all intervals.")
    n_bootstrap: NonNegativeInt = Field(
        1000, description="Number of bootstrap samples of the sky cells."
    )
    # Cells of about a degree: larger than the correlation of noise and structure, but numerous
    # enough to be resampled.
    bootstrap_order: int = Field(
        6, ge=0, le=12, description="HEALPix order of the cells that are resampled."
    )
    chance_shift_arcmin: PositiveFloat = Field(
        20.0,
        description="Shift of the positions that measures the rate of chance matches [arcmin].",
    )
    curve_points: PositiveInt = Field(
        200, description="Largest number of points of a stored curve."
    )

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
"""The probe with model clusters; all other probes are null skies."""

MOST_RANDOMS = 100_000_000  # more do not fit into a machine's memory


# How a survey sees a model cluster. The selection function needs the same beams and filters as the
# images, or its limits would be those of another survey.
class SzSignal(Settings):
    """Model clusters appear by their SZ effect; the unit of the images is uK_CMB."""

    kind: Literal["sz"]
    frequencies_ghz: tuple[PositiveFloat, ...] = Field(
        description="Effective frequency of each band for the SZ effect [GHz]."
    )
    beam_fwhm_arcmin: tuple[PositiveFloat, ...] = Field(
        description="Full width at half maximum of the Gaussian beam of each band [arcmin]."
    )
    highpass_fwhm_arcmin: float | None = Field(
        None,
        gt=0,
        description="High-pass of the tile images, which is applied to the signals too [arcmin]; "
        "null: none.",
    )


class GalaxiesSignal(Settings):
    """Model clusters appear by their galaxies, in W1 and W2 [nanomaggy, Vega]."""

    kind: Literal["galaxies"]


Signal = Annotated[SzSignal | GalaxiesSignal, Field(discriminator="kind")]


class InjectionGrid(Settings):
    """Masses, redshifts and density of the injected clusters."""

    m500c_edges_msun: tuple[PositiveFloat, ...] = Field(
        (7e13, 1e14, 1.5e14, 2.2e14, 3.2e14, 5e14, 1e15),
        min_length=2,
        description="Edges of the mass bins, in rising order; masses are log-uniform within each "
        "bin [Msun].",
    )
    z_edges: tuple[PositiveFloat, ...] = Field(
        (0.1, 0.3, 0.5, 0.7, 0.9, 1.2),
        min_length=2,
        description="Edges of the redshift bins, in rising order.",
    )
    cell_order: int = Field(
        8,
        ge=4,
        le=10,
        description="HEALPix order of the cells that hold one injected cluster each.",
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
        "test",
        description="Tiles that are probed: those of the test region, or all of the footprint.",
    )
    # Every probed tile costs one more scan by every network, so few are probed by default.
    max_injected_tiles: NonNegativeInt = Field(
        4,
        description="Largest number of tiles with injected clusters, spread evenly over the sky; "
        "0: none.",
    )
    max_null_tiles: NonNegativeInt = Field(
        1,
        description="Largest number of tiles in each null sky, spread evenly over the sky; 0: "
        "none.",
    )
    signals: dict[str, Signal] = Field(
        default_factory=dict,
        description="Survey: how it sees a model cluster. Surveys that are not listed see "
        "nothing; without any survey nothing is injected.",
    )
    grid: InjectionGrid = Field(
        InjectionGrid(), description="Masses, redshifts and density of the injected clusters."
    )
    nulls: tuple[NullName, ...] = Field(
        (),
        description="Null skies: `inverted` (SZ surveys with the opposite sign), `scrambled` "
        "(random phases), `shuffled` (exchanged bands), `empty` (simulated surveys "
        "without halos).",
    )
    purity: float = Field(
        0.8, gt=0, lt=1, description="Expected purity of the sample whose completeness is measured."
    )
    n_bootstrap: NonNegativeInt = Field(
        100, description="Number of bootstrap samples, which give the errors of the limits."
    )
    randoms_per_object: PositiveInt = Field(
        50, le=1000, description="Number of random positions per object of the catalogue."
    )
    min_randoms: PositiveInt = Field(
        20_000, le=MOST_RANDOMS, description="Smallest number of random positions."
    )
    max_randoms: PositiveInt = Field(
        10_000_000,
        le=MOST_RANDOMS,
        description="Largest number of random positions; a million take 0.3 GB of memory.",
    )

    @model_validator(mode="after")
    def _can_be_done(self) -> SelectionSettings:
        again = sorted({name for name in self.nulls if self.nulls.count(name) > 1})
        if again:
            raise ValueError(f"nulls: {again} are listed more than once; list each null sky once")
        if self.min_randoms > self.max_randoms:
            raise ValueError(
                f"min_randoms = {self.min_randoms} exceeds max_randoms = {self.max_randoms}; "
                "lower the one or raise the other"
            )
        return self
