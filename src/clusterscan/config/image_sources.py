"""Settings of image sources: where a survey's images come from."""

from __future__ import annotations

import re
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from clusterscan.config.base import (
    Extension,
    HealpixColumn,
    HealpixFrame,
    HealpixOrdering,
    Settings,
)


class BandSettings(Settings):
    """Settings that all sources with one file or tree per band share.

    Attributes
    ----------
    BANDS : str
        Name of the setting that has one entry per band.
    """

    BANDS: ClassVar[str]

    scale_by: dict[str, float] = Field(
        {},
        description="Factor for the values of each band that converts them to the survey's unit.",
    )
    no_data: float | None = Field(
        None, description="A value that means no data, besides NaN and the BLANK of the files."
    )

    @model_validator(mode="after")
    def _scaled_bands_exist(self):
        self.require_bands("scale_by")
        return self

    def require_bands(self, key: str) -> None:
        """Check that a setting with entries by band names only bands of this source.

        Raises
        ------
        ValueError
            If it names another band.
        """
        bands = getattr(self, self.BANDS)
        if extra := sorted(set(getattr(self, key)) - set(bands)):
            raise ValueError(
                f"{key}: {extra} are not among the bands of {self.BANDS} {sorted(bands)}"
            )


# `listed_by_sync`: listing the source sends requests or reads many files, so only sync does it, and
# the class in `clusterscan.fetch` has `listing` and `prepare`.
# Sources that need no network: the simulated sky and files on this machine.
class SimulatedSource(Settings):
    """Images of the simulated sky, made offline, tile by tile."""

    kind: Literal["simulated"]
    listed_by_sync: ClassVar[bool] = False
    sky: Literal["infrared", "microwave", "xray", "optical"] = Field(
        description="The simulated survey: `infrared` (W1 and W2 as in unWISE), `microwave` "
        "(f090, f150, f220 as in ACT), `xray` (0.5-2 keV as in XMM-Newton, one band "
        "of any name) or `optical` (any of g, r, i at the depth of photographic "
        "plates)."
    )


class MosaicSource(Settings):
    """One local FITS file of the whole survey, with one image extension per band."""

    kind: Literal["mosaic"]
    listed_by_sync: ClassVar[bool] = False
    path: str = Field(
        description="FITS file of the whole survey; may begin with ${CLUSTERSCAN_DATA}. Relative "
        "paths start at the project's folder."
    )
    extensions: dict[str, str] = Field(
        min_length=1,
        description="Name of the image extension of each band.",
    )
    coverage: str | None = Field(
        None,
        description="Name of the extension that is 0 where the mosaic has no data; null: it has "
        "data everywhere.",
    )


# Trees and folders: sync lists what they offer now, fetch reads what it listed.
class HipsSource(BandSettings):
    """HiPS trees of FITS tiles, one per band, on a server or in a folder."""

    BANDS: ClassVar[str] = "trees"

    kind: Literal["hips"]
    listed_by_sync: ClassVar[bool] = True
    trees: dict[str, str] = Field(
        min_length=1,
        description="HiPS tree of each band: an http(s) URL or a folder, which may begin with "
        "${CLUSTERSCAN_DATA}.",
    )
    order: int | None = Field(
        None,
        ge=0,
        le=20,
        description="HiPS order of the tiles that are read; null: the coarsest whose pixels are "
        "not larger than pixel_scale_arcsec, or the finest in the tree.",
    )
    resampling: Literal["bilinear", "nearest"] = Field(
        "bilinear", description="Interpolation between HiPS pixels."
    )
    versions: Literal["tiles", "release"] = Field(
        "tiles",
        description="How sync detects changes: `tiles` asks the server for the header of each "
        "tile, `release` reads only the release date of each tree and misses tiles "
        "that changed without a new release.",
    )


class LocalSource(BandSettings):
    """A folder of FITS images of any tiling and celestial projection, coadded on each tile."""

    BANDS: ClassVar[str] = "files"

    kind: Literal["local"]
    listed_by_sync: ClassVar[bool] = True
    path: str = Field(description="Folder of the images; may begin with ${CLUSTERSCAN_DATA}.")
    files: dict[str, str] = Field(
        min_length=1,
        description="Pattern of the files of each band below the folder, such as "
        "`**/*-w1-img-m.fits` (** matches any number of folders).",
    )
    extension: str | int | None = Field(
        None, description="Name or number of the image extension; null: the first image."
    )
    resampling: Literal["bilinear", "nearest", "adaptive"] = Field(
        "bilinear",
        description="Interpolation; `adaptive` averages, and suits pixels that are finer than "
        "those of the survey.",
    )
    quantity: Literal["surface_brightness", "flux"] = Field(
        "surface_brightness",
        description="Meaning of a pixel value: `surface_brightness` does not depend on the pixel "
        "size, `flux` is the flux in the pixel and needs `resampling: adaptive`.",
    )
    versions: Literal["sha256", "mtime"] = Field(
        "sha256",
        description="How a changed file is detected: by its checksum, or by its size and "
        "modification time, which is faster but less certain.",
    )

    # Interpolation conserves surface brightness. The flux in a pixel changes with the pixel size,
    # and only the adaptive resampling conserves it.
    @model_validator(mode="after")
    def _parts_fit(self) -> LocalSource:
        if self.quantity == "flux" and self.resampling != "adaptive":
            raise ValueError(
                "quantity: flux needs `resampling: adaptive`, which conserves it; set that"
            )
        for band, pattern in self.files.items():
            if pattern.startswith("/") or ".." in pattern.split("/"):
                raise ValueError(
                    f"files.{band} = {pattern!r} leaves the folder; give a pattern inside it"
                )
        return self


# An atlas has one file per tile, whose address contains the name of the tile. unWISE sorts its
# folders by the first three characters of the name, eROSITA by the last three.
_PLACES = ("{tile}", "{tile3}", "{end3}")


class AtlasSettings(Settings):
    """The table of a survey's tiling into square images with north up, such as that of unWISE."""

    table: str = Field(
        description="FITS or CSV table of the tiling: an http(s) URL or a path, which may begin "
        "with ${CLUSTERSCAN_DATA}."
    )
    name: str = Field("coadd_id", description="Column with the names of the atlas tiles.")
    digits: int = Field(
        0, ge=0, le=20, description="Number of digits to which numeric names are padded with zeros."
    )
    ra: str = Field("ra", description="Column with the right ascension of the centres [deg].")
    dec: str = Field("dec", description="Column with the declination of the centres [deg].")
    size_px: int = Field(2048, gt=0, description="Side of the image of an atlas tile [pixels].")
    pixel_scale_arcsec: float = Field(2.75, gt=0, description="Pixel size of the images [arcsec].")


class ArchiveBand(Settings):
    """The files of one band, each an http(s) URL or a path.

    In an atlas {tile} stands for a tile's name, {tile3} for its first three characters, {end3}
    for its last three.
    """

    image: str = Field(min_length=1, description="The image, or the HEALPix map.")
    weight: str | None = Field(
        None,
        description="Inverse variance on the grid of the image. Pixels where it is not positive "
        "have no data; it is the weight where images overlap.",
    )
    exposure: str | None = Field(
        None,
        description="Exposure on the grid of the image. The image is divided by it, pixels where "
        "it is not positive have no data, and it is the weight where images overlap.",
    )
    background: str | None = Field(
        None, description="Background on the grid of the image; it is subtracted first."
    )
    mask: str | None = Field(None, description="Integer image whose bits mark bad pixels.")
    # Surveys number their mask bits in their own ways; this maps them to the planes of a tile.
    mask_bits: dict[Literal["saturated", "bright_star", "survey_mask"], list[int]] = Field(
        default_factory=dict,
        description="Plane of the tile's mask -> numbers of the bits that set it, counted from 0.",
    )
    mask_extension: str | int | None = Field(
        None, description="Name or number of the extension of the mask; null: the first image."
    )
    extension: Extension = None
    plane: int = Field(0, ge=0, description="Plane of a cube; 0 is I in a map of Stokes I, Q, U.")
    column: HealpixColumn = None
    unit: str | None = Field(
        None,
        description="Unit of the values; null: the unit in the header, or the survey's if the "
        "header has none.",
    )
    channel: Literal["HFI100", "HFI143", "HFI217", "HFI353", "HFI545", "HFI857"] | None = Field(
        None, description="Planck channel whose factor converts between MJy/sr and K_CMB."
    )
    scale_by: float | None = Field(
        None, description="Factor for the values, which replaces the conversion of units."
    )
    megabytes: dict[Literal["image", "weight", "exposure", "background"], float] = Field(
        {},
        exclude=True,  # it changes no image, so no fingerprint may contain it
        description="Sizes of the files on the server, which only `clusterscan plan` uses [10^6 "
        "bytes]; the default is 4 bytes per pixel of the atlas.",
    )

    def files(self) -> dict[str, str]:
        """Return the address of each file of the band, by its role."""
        parts = ("image", "weight", "exposure", "background", "mask")
        return {part: value for part in parts if (value := getattr(self, part)) is not None}

    @model_serializer(mode="wrap")
    def _only_masks_that_are_used(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # Settings that are not used must not change a fingerprint.
        values = handler(self)
        for name in ("mask", "mask_bits", "mask_extension"):
            if self.mask is None:
                values.pop(name, None)
        return values

    @model_validator(mode="after")
    def _mask_and_bits_belong_together(self) -> ArchiveBand:
        if (self.mask is None) != (not self.mask_bits):
            raise ValueError("mask and mask_bits belong together: give both or neither")
        if any(not 0 <= bit < 63 for bits in self.mask_bits.values() for bit in bits):
            raise ValueError("mask_bits: bits are numbered from 0 to 62")
        return self

    @model_validator(mode="after")
    def _places_are_sound(self) -> ArchiveBand:
        for part, text in self.files().items():
            unknown = [p for p in re.findall(r"\{[^}]*\}", text) if p not in _PLACES]
            # ${CLUSTERSCAN_DATA} has braces too, but is no placeholder.
            unknown = [p for p in unknown if not text.startswith("$" + p)]
            if unknown:
                raise ValueError(
                    f"{part}: {unknown[0]} is not a placeholder; use {{tile}}, {{tile3}}, {{end3}}"
                )
        return self


# Published maps: one file for the sky, or one per tile of an atlas.
class ArchiveSource(Settings):
    """Survey maps and images as their archives publish them, by URL or path."""

    kind: Literal["archive"]
    listed_by_sync: ClassVar[bool] = True
    files: dict[str, ArchiveBand] = Field(min_length=1, description="Files of each band.")
    format: Literal["image", "healpix"] = Field(
        "image",
        description="`image`: FITS images in any celestial projection, such as the full sky in "
        "CAR or a field in TAN; `healpix`: a full or partial HEALPix map in a FITS "
        "table.",
    )
    atlas: AtlasSettings | None = Field(
        None, description="Tiling of the survey, if a band has one file per atlas tile."
    )
    frame: HealpixFrame = None
    ordering: HealpixOrdering = None
    resampling: Literal["bilinear", "nearest", "adaptive"] = Field(
        "bilinear",
        description="Interpolation; `adaptive` averages, and suits pixels that are finer than "
        "those of the survey.",
    )
    quantity: Literal["surface_brightness", "flux"] = Field(
        "surface_brightness",
        description="Meaning of a pixel value: `surface_brightness` does not depend on the pixel "
        "size; `flux` is the flux or the counts in the pixel and is rescaled to the "
        "survey's pixel.",
    )
    no_data: float | None = Field(
        None,
        description="A value that means no data, besides NaN, BLANK and the HEALPix value for "
        "unseen pixels.",
    )
    versions: Literal["sha256", "mtime", "release"] = Field(
        "sha256",
        description="How a changed file is detected. On disk: by its checksum (`sha256`), or by "
        "its size and modification time (`mtime`), which is faster but less certain. "
        "On a server: by the best validator that it sends, with one request per file. "
        "`release`: the addresses belong to a fixed release, so nothing is asked.",
    )

    @model_validator(mode="after")
    def _parts_fit(self) -> ArchiveSource:
        for band, files in self.files.items():
            places = files.files().items()
            placed = [part for part, text in places if any(p in text for p in _PLACES)]
            if self.atlas is None and placed:
                raise ValueError(f"files.{band}.{placed[0]} names a tile, so `atlas` is needed")
            if self.atlas is not None and "image" not in placed:
                raise ValueError(f"files.{band}.image must name {{tile}}: `atlas` is given")
            if self.format == "healpix" and len(files.files()) > 1:
                raise ValueError(
                    f"files.{band}: a HEALPix map has no further files; give `image` only"
                )
        if self.format == "healpix" and self.atlas is not None:
            raise ValueError("a HEALPix map has no atlas; remove the setting")
        if self.format == "healpix" and self.resampling == "adaptive":
            raise ValueError("a HEALPix map needs resampling `bilinear` or `nearest`")
        if self.format == "healpix" and self.quantity == "flux":
            raise ValueError(
                "a HEALPix map holds surface brightness; remove quantity, or give scale_by"
            )
        return self


# The viewer's headers do not tell whether it has resampled, so known layers are listed here.
NATIVE_SCALES_ARCSEC = {
    "ls-dr8": 0.262,
    "ls-dr9": 0.262,
    "ls-dr9-north": 0.262,
    "ls-dr9-south": 0.262,
    "ls-dr10": 0.262,
    "ls-dr10-grz": 0.262,
    "unwise-neo6": 2.75,
    "unwise-neo7": 2.75,
}
"""Known pixel sizes of layers of the viewer [arcsec]."""

LAYER_BANDS = {
    "ls-dr8": "grz",
    "ls-dr9": "grz",
    "ls-dr9-north": "grz",
    "ls-dr9-south": "grz",
    "ls-dr10": "griz",
    "ls-dr10-grz": "grz",
    "unwise-neo6": "12",
    "unwise-neo7": "12",
}
"""Bands of the layers of the viewer."""


# Services that cut images on request.
class Hips2fitsSource(BandSettings):
    """The service hips2fits, which resamples any public HiPS to the image of a tile."""

    BANDS: ClassVar[str] = "hips"

    kind: Literal["hips2fits"]
    listed_by_sync: ClassVar[bool] = True
    hips: dict[str, str] = Field(
        min_length=1,
        description="Identifier of the HiPS of each band, such as CDS/P/DSS2/red.",
    )
    server: str = Field(
        "https://alasky.cds.unistra.fr/hips-image-services/hips2fits",
        pattern=r"^https?://[^\s]+$",
        description="Address of the service; "
        "https://alaskybis.cds.unistra.fr/hips-image-services/hips2fits is a mirror.",
    )
    properties: dict[str, str] = Field(
        {},
        description="URL of the `properties` file of each band's tree, from which sync reads the "
        "release date; changes of other trees are not detected.",
    )

    @model_validator(mode="after")
    def _bands_agree(self) -> Hips2fitsSource:
        self.require_bands("properties")
        return self


class CutoutsSource(BandSettings):
    """The viewer of the Legacy Surveys: small images of a layer at its own pixel size."""

    BANDS: ClassVar[str] = "bands"

    kind: Literal["cutouts"]
    listed_by_sync: ClassVar[bool] = True
    layer: str = Field(
        pattern=r"^[\w.+-]+$", description="Layer of the viewer, such as ls-dr10 or unwise-neo7."
    )
    bands: dict[str, str] = Field(
        min_length=1,
        description="Band of the layer for each band of the survey, as one character: g, r, i, z, "
        "or 1 and 2 for W1 and W2.",
    )
    server: str = Field(
        "https://www.legacysurvey.org/viewer/fits-cutout",
        pattern=r"^https?://[^\s]+$",
        description="Address of the service.",
    )
    native_scale_arcsec: float | None = Field(
        None,
        gt=0,
        description="Pixel size of the layer, at which images are requested [arcsec]; null: the "
        f"known size of {', '.join(NATIVE_SCALES_ARCSEC)}. At another size the viewer "
        "would resample without notice.",
    )
    max_px: int = Field(
        3000,
        ge=64,
        le=3000,
        description="Largest side of one request [pixels]; the viewer truncates larger ones "
        "without notice.",
    )
    resampling: Literal["bilinear", "nearest", "adaptive"] = Field(
        "adaptive",
        description="Interpolation; `adaptive` averages, and suits pixels that are finer than "
        "those of the survey.",
    )
    quantity: Literal["surface_brightness", "flux"] = Field(
        "flux",
        description="Meaning of a pixel value: `surface_brightness` does not depend on the pixel "
        "size; `flux` is the flux in the pixel and is rescaled to the survey's pixel.",
    )
    no_data: float | None = Field(
        0.0, description="A value that means no data, besides NaN; the viewer fills gaps with 0."
    )

    @model_validator(mode="after")
    def _layer_is_known(self) -> CutoutsSource:
        if self.native_scale_arcsec is None and self.layer not in NATIVE_SCALES_ARCSEC:
            raise ValueError(
                f"layer {self.layer!r}: its pixel size is not known; give native_scale_arcsec"
            )
        for band, name in self.bands.items():
            if len(name) != 1:
                raise ValueError(f"bands.{band} = {name!r}: a band of the viewer is one character")
            if name not in LAYER_BANDS.get(self.layer, name):
                raise ValueError(
                    f"bands.{band} = {name!r}: layer {self.layer} has "
                    f"{', '.join(LAYER_BANDS[self.layer])}"
                )
        if len(set(self.bands.values())) < len(self.bands):
            raise ValueError("bands: two bands of the survey name the same one of the layer")
        return self

    # Images are requested at the layer's own pixel size and resampled here, because the viewer
    # resamples without saying so.
    @property
    def scale_arcsec(self) -> float:
        """The layer's own pixel size [arcsec]."""
        return self.native_scale_arcsec or NATIVE_SCALES_ARCSEC[self.layer]


SourceSettings = Annotated[
    SimulatedSource
    | MosaicSource
    | HipsSource
    | LocalSource
    | ArchiveSource
    | Hips2fitsSource
    | CutoutsSource,
    Field(discriminator="kind"),
]


# Stamps of listed objects, which are examples rather than a source of tiles.
class StampsSource(Settings):
    """A zip file or folder of small images of listed objects: JPEG, PNG or FITS."""

    path: str = Field(
        description="Zip file or folder of the stamps; may begin with ${CLUSTERSCAN_DATA}."
    )
    pixel_scale_arcsec: float = Field(gt=0, description="Pixel size of the stamps [arcsec].")
    size_px: int | None = Field(
        None,
        gt=0,
        le=4096,
        description="Side of the square stamps [pixels]; null: stamps may differ in size and need "
        "not be square.",
    )
    bands: list[str] = Field(
        min_length=1,
        max_length=64,
        description="Bands of the survey in the order of the image channels or of the planes of a "
        "FITS cube.",
    )
    extensions: dict[str, str] | None = Field(
        None,
        description="Image extension of each band in FITS stamps; null: the first image.",
    )
    row_0: Literal["north", "south"] = Field(
        "north",
        description="The side of the sky that the first row of a JPEG or PNG shows; FITS stamps "
        "are read as stored.",
    )
    max_member_bytes: int = Field(
        8_000_000, gt=0, description="Largest file in the zip that is accepted [bytes, unpacked]."
    )
    max_members: int = Field(
        1_000_000, gt=0, description="Largest number of files in the zip that is accepted."
    )

    @model_validator(mode="after")
    def _bands_are_distinct(self) -> StampsSource:
        if len(set(self.bands)) < len(self.bands):
            raise ValueError(f"bands = {self.bands} lists a band twice")
        if self.extensions is not None and set(self.extensions) != set(self.bands):
            raise ValueError(
                f"extensions names {sorted(self.extensions)}, but bands = {self.bands}; give one "
                "extension for each band"
            )
        return self
