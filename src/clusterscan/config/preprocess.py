"""Settings of preprocessing: from raw images to calibrated, masked tile images.

A mask names pixels of a tile image that are spoilt. ``use: exclude`` removes the sky below it from
every scan and every example; ``use: flag`` keeps the sky and gives candidates there a flag.
`clusterscan.formats.mask_planes.PLANES` defines the bits.
"""

from __future__ import annotations

from itertools import pairwise
from math import log, sqrt
from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    PositiveFloat,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from clusterscan.config.base import (
    Extension,
    HealpixColumn,
    HealpixFrame,
    HealpixOrdering,
    Settings,
)
from clusterscan.config.catalogs import ReferenceTable, columns_of

Use = Literal["exclude", "flag"]


# A wrong mask does harm both ways: too small, and halos of stars become candidates; too large, and
# clusters are lost.
class LegacySurveysRadius(Settings):
    """1630" × 1.396^-mag, the rule of the DESI Legacy Surveys for Gaia G and Tycho-2 VT.

    As in legacypipe's ``mask_radius_for_mag``; their bit BRIGHT is set within half of it.
    """

    kind: Literal["legacy_surveys"]


class PiecewiseRadius(Settings):
    """Straight lines between points in magnitude and logarithm of the radius."""

    kind: Literal["points"]
    points: list[tuple[float, PositiveFloat]] = Field(
        min_length=1,
        description="Pairs of [magnitude, radius in arcmin] in ascending order of magnitude. "
        "Brighter stars than the first get its radius; fainter ones than the last get "
        "no mask.",
    )
    source: str = Field(
        min_length=1, description="Where the rule was published, or how it was measured."
    )

    @model_validator(mode="after")
    def _magnitudes_ascend(self) -> PiecewiseRadius:
        magnitudes = [m for m, _ in self.points]
        if any(b <= a for a, b in pairwise(magnitudes)):
            raise ValueError(f"points: magnitudes must ascend, not {magnitudes}")
        return self


class LoglinearRadius(Settings):
    """radius = at_zero_arcmin × 10^(-slope × magnitude)."""

    kind: Literal["loglinear"]
    at_zero_arcmin: PositiveFloat = Field(description="Radius of a star of magnitude 0 [arcmin].")
    slope: PositiveFloat = Field(
        description="Decrease of the logarithm of the radius per magnitude [dex/mag]."
    )
    source: str = Field(
        min_length=1, description="Where the rule was published, or how it was measured."
    )


# Radii of star masks depend on survey, band and depth, so a rule names where it comes from.
RadiusRule = Annotated[
    LegacySurveysRadius | PiecewiseRadius | LoglinearRadius, Field(discriminator="kind")
]


class SaturationMask(Settings):
    """Pixels of the raw image at or above a level in any band; networks never see them."""

    kind: Literal["saturation"]
    levels: dict[str, float] = Field(
        min_length=1,
        description="Band -> level at which a raw pixel is saturated [the survey's unit].",
    )
    use: Literal["exclude"] = Field("exclude", description="Saturated pixels are always excluded.")


class SourceMask(Settings):
    """A mask plane of the source: simulated bright stars, or the mask files of an archive."""

    kind: Literal["source"]
    plane: Literal["bright_star", "survey_mask"] = Field(
        description="The plane of the mask that the source provides."
    )
    use: Use = Field(
        description="`exclude`: the sky there is not valid; `flag`: candidates there get a flag."
    )


class _TableMask(Settings):
    table: ReferenceTable = Field(description="The table of positions.")
    use: Use = Field(
        description="`exclude`: the sky there is not valid; `flag`: candidates there get a flag."
    )

    def _needs(self, *columns: str) -> None:
        have = columns_of(self.table)
        missing = [c for c in columns if c not in have]
        if missing:
            raise ValueError(
                f"table.columns maps no {', '.join(missing)}; add the file's column(s) for it"
            )


# Masks from tables: sync lists, for each tile, the rows that reach it. A changed row therefore
# redoes only the tiles that it touches.
class StarMask(_TableMask):
    """Circles around stars, larger for brighter ones."""

    kind: Literal["stars"]
    radius: RadiusRule = Field(
        description="Radius as a function of magnitude, which is column `mag` of the table."
    )
    factor: PositiveFloat = Field(1.0, description="Factor on the radius.")
    faintest_mag: float | None = Field(
        None, description="Fainter stars get no mask [mag]; null: all stars get one."
    )
    min_arcmin: float = Field(0.0, ge=0, description="Smallest radius [arcmin].")
    max_arcmin: PositiveFloat = Field(60.0, description="Largest radius [arcmin].")
    without_magnitude: Literal["error", "leave_out", "largest"] = Field(
        "error",
        description="Stars without a magnitude stop the run, are left out and counted, or get the "
        "radius max_arcmin.",
    )

    @model_validator(mode="after")
    def _has_magnitudes(self) -> StarMask:
        self._needs("mag")
        if self.min_arcmin > self.max_arcmin:
            raise ValueError(
                f"min_arcmin = {self.min_arcmin:g} exceeds max_arcmin = {self.max_arcmin:g}"
            )
        return self


class GalaxyMask(_TableMask):
    """Ellipses of large galaxies, from columns of diameters."""

    kind: Literal["galaxies"]
    size: Literal["diameter_arcmin", "diameter_arcsec", "radius_arcsec", "log_d25"] = Field(
        description="Meaning of the table column `size`, for the major axis; `log_d25`: log10 of "
        "the diameter in 0.1 arcmin, as in HyperLEDA and RC3."
    )
    axis_ratio: Literal["none", "b_over_a", "log_a_over_b"] = Field(
        "none", description="Meaning of the table column `axis_ratio`; `none`: masks are circles."
    )
    factor: PositiveFloat = Field(1.0, description="Factor on the size.")
    min_diameter_arcmin: float = Field(
        0.0, ge=0, description="Smaller galaxies get no mask [arcmin]."
    )
    max_arcmin: PositiveFloat = Field(600.0, description="Largest semi-axis [arcmin].")
    without_size: Literal["error", "leave_out"] = Field(
        "error", description="Galaxies without a size stop the run, or are left out and counted."
    )

    @model_validator(mode="after")
    def _has_sizes(self) -> GalaxyMask:
        # The angle, table column `pa_deg` (east of north), may be unknown: then a circle is drawn.
        self._needs("size", *([] if self.axis_ratio == "none" else ["axis_ratio", "pa_deg"]))
        return self


class PointSourceMask(_TableMask):
    """Circles around listed point sources."""

    kind: Literal["points"]
    radius_arcmin: PositiveFloat | None = Field(
        None,
        description="Radius of all circles [arcmin]; null: column `radius_arcmin` of the table.",
    )

    @model_validator(mode="after")
    def _has_radii(self) -> PointSourceMask:
        if self.radius_arcmin is None:
            self._needs("radius_arcmin")
        return self


class MapMask(Settings):
    """A mask of the survey in a file: a HEALPix map, an image in CAR or TAN, or a MOC."""

    kind: Literal["map"]
    path: str = Field(
        min_length=1, description="File of the mask; may begin with ${CLUSTERSCAN_DATA}."
    )
    format: Literal["healpix", "image", "moc"] = Field(description="Format of the file.")
    use: Use = Field(
        description="`exclude`: the sky there is not valid; `flag`: candidates there get a flag."
    )
    plane: Literal["bright_star", "large_galaxy", "point_source", "survey_mask"] = Field(
        "survey_mask", description="The plane of the tile's mask that it sets."
    )
    bad: Literal["below", "above", "inside", "outside"] = Field(
        description="For a map: values below or above the threshold are masked, and pixels "
        "without a value too. For a MOC: the sky inside or outside is masked."
    )
    threshold: float = Field(0.5, description="Threshold for the values of a map.")
    extension: Extension = None
    column: HealpixColumn = None
    frame: HealpixFrame = None
    ordering: HealpixOrdering = None

    @model_validator(mode="after")
    def _words_fit(self) -> MapMask:
        # A map has values to compare with a threshold, a MOC only an inside and an outside.
        moc = self.format == "moc"
        if moc != (self.bad in ("inside", "outside")):
            right = "inside or outside" if moc else "below or above"
            raise ValueError(
                f"bad: {self.bad!r} is not possible with format {self.format}; {right}"
            )
        return self


TableMask = StarMask | GalaxyMask | PointSourceMask
MaskSettings = Annotated[
    SaturationMask | SourceMask | StarMask | GalaxyMask | PointSourceMask | MapMask,
    Field(discriminator="kind"),
]


class NoBackground(Settings):
    """The image is left as it is."""

    kind: Literal["none"] = "none"


class MedianBackground(Settings):
    """Each band's median over the tile's valid pixels is subtracted."""

    kind: Literal["median"]


# The CMB has degree scales and clusters have arcminutes, so a high-pass separates them. It looks
# beyond the tile, hence the margin of the raw image.
class HighpassBackground(Settings):
    """A Gaussian-smoothed copy is subtracted: removes what is larger, such as the CMB."""

    kind: Literal["highpass"]
    fwhm_arcmin: float = Field(
        gt=0, description="Full width at half maximum of the smoothing Gaussian [arcmin]."
    )

    @property
    def reach_arcmin(self) -> float:
        """Reach of the filter around a pixel, three standard deviations [arcmin]."""
        return 3.0 * self.fwhm_arcmin / sqrt(8.0 * log(2.0))


BackgroundSettings = Annotated[
    NoBackground | MedianBackground | HighpassBackground, Field(discriminator="kind")
]


class PreprocessSettings(Settings):
    """How raw images become tile images."""

    binning: int = Field(
        1, ge=1, le=64, description="Number of raw pixels along a side of one tile pixel."
    )
    combine: Literal["mean", "sum"] = Field(
        "mean",
        description="How raw pixels are combined: `mean` for surface brightness and temperature, "
        "`sum` for fluxes and counts.",
    )
    background: BackgroundSettings = Field(
        default_factory=NoBackground, description="What is subtracted from each band."
    )
    min_finite_fraction: float = Field(
        0.01,
        ge=0,
        le=1,
        description="A tile with at most this fraction of covered pixels counts as not covered.",
    )
    # A tuple, because a frozen model must be hashable; the order of masks does not matter, for bits
    # are joined.
    masks: tuple[MaskSettings, ...] = Field((), description="Masks besides the sky without data.")
    inverse_variance: bool = Field(
        False,
        description="Keep the inverse variance of the source as a second stack of planes; needs "
        "source `archive` with a `weight` for every band.",
    )
    compression: Literal["none", "gzip"] = Field(
        "none",
        description="Lossless compression of the tile images; `gzip` is the FITS tile compression "
        "GZIP_2.",
    )

    @model_serializer(mode="wrap")
    def _only_what_is_used(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # Options at their defaults are left out, so that adding an option changes no fingerprint.
        values = handler(self)
        for name in ("masks", "inverse_variance", "compression"):
            if name in values and getattr(self, name) == type(self).model_fields[name].default:
                del values[name]
        return values

    @property
    def saturation(self) -> dict[str, float]:
        """The lowest saturation level of each band that has one."""
        levels: dict[str, float] = {}
        for mask in self.masks:
            if isinstance(mask, SaturationMask):
                for band, level in mask.levels.items():
                    # Two saturation masks may name the same band: the lower level excludes whatever
                    # the higher one does.
                    levels[band] = min(level, levels.get(band, level))
        return levels

    @property
    def source_masks(self) -> list[SourceMask]:
        """The masks that are planes of the source."""
        return [mask for mask in self.masks if isinstance(mask, SourceMask)]

    # Listed masks reach a tile through its source manifest; if the settings held them too, every
    # tile would be redone for a change that touches a few.
    def without_lists(self) -> PreprocessSettings:
        """Return the settings without the masks that sync lists tile by tile."""
        kept = tuple(m for m in self.masks if isinstance(m, SaturationMask | SourceMask))
        return self.model_copy(update={"masks": kept})

    @property
    def listed_masks(self) -> list[TableMask | MapMask]:
        """The masks that sync lists tile by tile: those from tables and files."""
        return [mask for mask in self.masks if not isinstance(mask, SaturationMask | SourceMask)]

    @property
    def margin_arcmin(self) -> float:
        """Margin of the raw image around tile and halo [arcmin].

        A filter that looks around needs its whole reach, or the same sky would come out
        differently in two tiles.
        """
        if isinstance(self.background, HighpassBackground):
            return self.background.reach_arcmin
        return 0.0


def preprocess_fault(
    settings: PreprocessSettings, bands: tuple[str, ...], source: Any
) -> str | None:
    """Return a message if the settings do not fit the bands or the source of a survey."""
    if unknown := sorted(set(settings.saturation) - set(bands)):
        return f"preprocess.masks: saturation names {unknown}, which are not among {list(bands)}"
    if settings.inverse_variance:
        files = source.files if source.kind == "archive" else {}
        lacking = [b for b in bands if b not in files or files[b].weight is None]
        if lacking:
            return (
                "preprocess.inverse_variance: needs source `archive` with a `weight` for "
                f"{', '.join(lacking)}; give them, or leave it out"
            )
    return None
