"""Settings of preprocessing: from raw images to calibrated tile images."""

from __future__ import annotations

from math import log, sqrt
from typing import Annotated, Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from clusterscan.config.base import Settings
from clusterscan.config.masks import MapMask, MaskSettings, SaturationMask, SourceMask, TableMask


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
    masks: tuple[MaskSettings, ...] = Field(
        (), description="What is masked besides sky without data, and what that means."
    )
    inverse_variance: bool = Field(
        False,
        description="Keep the source's inverse variance as a second stack of planes; needs source "
        "`archive` with a `weight` for every band.",
    )
    compression: Literal["none", "gzip"] = Field(
        "none", description="Lossless tile compression (GZIP_2) of the tile images."
    )

    @model_serializer(mode="wrap")
    def _only_what_is_used(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # What is off is not in a stage's settings, so it changes no fingerprint.
        values = handler(self)
        for name in ("masks", "inverse_variance", "compression"):
            if name in values and getattr(self, name) == type(self).model_fields[name].default:
                del values[name]
        return values

    @property
    def saturation(self) -> dict[str, float]:
        """The lowest level of each band that has one."""
        levels: dict[str, float] = {}
        for mask in self.masks:
            if isinstance(mask, SaturationMask):
                for band, level in mask.levels.items():
                    levels[band] = min(level, levels.get(band, level))
        return levels

    @property
    def source_masks(self) -> list[SourceMask]:
        """Masks of planes that the source gives."""
        return [mask for mask in self.masks if isinstance(mask, SourceMask)]

    def without_lists(self) -> PreprocessSettings:
        """Return the settings less what sync lists tile by tile (it comes with the tiles)."""
        kept = tuple(m for m in self.masks if isinstance(m, SaturationMask | SourceMask))
        return self.model_copy(update={"masks": kept})

    @property
    def listed_masks(self) -> list[TableMask | MapMask]:
        """Masks that sync lists tile by tile: of tables and files."""
        return [mask for mask in self.masks if not isinstance(mask, SaturationMask | SourceMask)]

    @property
    def margin_arcmin(self) -> float:
        """How much more sky than tile and halo the raw image must hold [arcmin].

        A filter that looks around needs its whole reach, or the same sky would come out
        differently in two tiles.
        """
        if isinstance(self.background, HighpassBackground):
            return self.background.reach_arcmin
        return 0.0


def preprocess_fault(
    settings: PreprocessSettings, bands: tuple[str, ...], source: Any
) -> str | None:
    """Return what of the settings does not fit a survey's bands and source; None where all does."""
    if unknown := sorted(set(settings.saturation) - set(bands)):
        return f"preprocess.masks: saturation names {unknown}, which are none of {list(bands)}"
    if settings.inverse_variance:
        files = source.files if source.kind == "archive" else {}
        lacking = [b for b in bands if b not in files or files[b].weight is None]
        if lacking:
            return (
                "preprocess.inverse_variance: needs source `archive` with a `weight` for "
                f"{', '.join(lacking)}; give them, or leave it out"
            )
    return None
