"""Settings of preprocessing: from raw images to calibrated tile images."""

from __future__ import annotations

from math import log, sqrt
from typing import Annotated, Literal

from pydantic import Field

from clusterscan.config.base import Settings


class NoBackground(Settings):
    """The image is left as it is."""

    kind: Literal["none"] = "none"


class MedianBackground(Settings):
    """Each band's median over the tile's valid pixels is subtracted."""

    kind: Literal["median"]


class HighpassBackground(Settings):
    """A Gaussian-smoothed copy is subtracted: removes what is larger, such as the CMB."""

    kind: Literal["highpass"]
    fwhm_arcmin: float = Field(gt=0, description="Full width of the smoothing Gaussian [arcmin].")

    @property
    def reach_arcmin(self) -> float:
        """How far around a pixel the filter looks, three standard deviations [arcmin]."""
        return 3.0 * self.fwhm_arcmin / sqrt(8.0 * log(2.0))


BackgroundSettings = Annotated[
    NoBackground | MedianBackground | HighpassBackground, Field(discriminator="kind")
]


class PreprocessSettings(Settings):
    """How raw images become tile images."""

    binning: int = Field(
        1, ge=1, le=64, description="Raw pixels along a side of one pixel of the tile image."
    )
    combine: Literal["mean", "sum"] = Field(
        "mean", description="mean for surface brightness (and temperatures), sum for counts."
    )
    background: BackgroundSettings = Field(
        default_factory=NoBackground, description="What is subtracted from each band."
    )
    min_finite_fraction: float = Field(
        0.01,
        ge=0,
        le=1,
        description="No more covered pixels than this make the tile one without coverage.",
    )

    @property
    def margin_arcmin(self) -> float:
        """How much more sky than tile and halo the raw image must hold [arcmin].

        A filter that looks around needs its whole reach, or the same sky would come out
        differently in two tiles.
        """
        if isinstance(self.background, HighpassBackground):
            return self.background.reach_arcmin
        return 0.0
