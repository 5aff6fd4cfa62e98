"""Settings of the source `archive`: files by URL or path, as surveys publish them."""

from __future__ import annotations

import re
from typing import Any, Literal

from pydantic import (
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from clusterscan.config.base import Settings
from clusterscan.config.map_file import Extension, HealpixColumn, HealpixFrame, HealpixOrdering

_PLACES = ("{tile}", "{tile3}", "{end3}")


class AtlasSettings(Settings):
    """The table of a survey's tiling: square images, north up, as those of unWISE."""

    table: str = Field(
        description="FITS or CSV table: an http(s) URL or a path, which may begin with "
        "${CLUSTERSCAN_DATA}."
    )
    name: str = Field("coadd_id", description="Its column of the tiles' names.")
    digits: int = Field(
        0, ge=0, le=20, description="Names that are numbers are filled up with zeros to this many."
    )
    ra: str = Field("ra", description="Its column of the centres' right ascension [deg].")
    dec: str = Field("dec", description="Its column of the centres' declination [deg].")
    size_px: int = Field(2048, gt=0, description="Side of a tile's image [pixels].")
    pixel_scale_arcsec: float = Field(2.75, gt=0, description="Its pixel size [arcsec].")


class ArchiveBand(Settings):
    """The files of one band, each an http(s) URL or a path.

    In an atlas {tile} stands for a tile's name, {tile3} for its first three characters, {end3}
    for its last three.
    """

    image: str = Field(min_length=1, description="The image, or the HEALPix map.")
    weight: str | None = Field(
        None,
        description="Inverse variance on the image's grid: no data where it is not above 0, and "
        "the weight where images overlap.",
    )
    exposure: str | None = Field(
        None,
        description="Exposure on the image's grid: the image is divided by it, it is the weight "
        "where images overlap, and where it is not above 0 there are no data.",
    )
    background: str | None = Field(
        None, description="Background on the image's grid, subtracted before anything else."
    )
    mask: str | None = Field(
        None, description="Image of integers whose bits say what is wrong with a pixel."
    )
    mask_bits: dict[Literal["saturated", "bright_star", "survey_mask"], list[int]] = Field(
        default_factory=dict,
        description="Plane of the tile's mask -> numbers of the mask's bits, from 0.",
    )
    mask_extension: str | int | None = Field(
        None, description="Name or number of the mask's extension; null: the first image."
    )
    extension: Extension = None
    plane: int = Field(0, ge=0, description="Plane of a cube: 0 is I of a map of Stokes I, Q, U.")
    column: HealpixColumn = None
    unit: str | None = Field(
        None,
        description="Unit of the values; null: the header's, or the survey's where it names none.",
    )
    channel: Literal["HFI100", "HFI143", "HFI217", "HFI353", "HFI545", "HFI857"] | None = Field(
        None, description="Planck channel whose factor turns MJy/sr into K_CMB and back."
    )
    scale_by: float | None = Field(
        None, description="What values are multiplied by, instead of a conversion by units."
    )
    megabytes: dict[Literal["image", "weight", "exposure", "background"], float] = Field(
        {},
        exclude=True,  # it changes no image, so it belongs to no fingerprint
        description="Sizes of the files on the server, for `clusterscan plan` alone [10^6 bytes]; "
        "those not named are taken as 4 bytes a pixel of the atlas.",
    )

    def files(self) -> dict[str, str]:
        """Return what is needed of each place, by its part."""
        parts = ("image", "weight", "exposure", "background", "mask")
        return {part: value for part in parts if (value := getattr(self, part)) is not None}

    @model_serializer(mode="wrap")
    def _only_masks_that_are_used(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # What is not asked for is in no fingerprint.
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
            unknown = [p for p in unknown if not text.startswith("$" + p)]
            if unknown:
                raise ValueError(
                    f"{part}: {unknown[0]} means nothing here; use {{tile}}, {{tile3}}, {{end3}}"
                )
        return self


class ArchiveSource(Settings):
    """Survey maps and images as their archives publish them, by URL or path."""

    kind: Literal["archive"]
    files: dict[str, ArchiveBand] = Field(
        min_length=1, description="For each of the survey's bands, its files."
    )
    format: Literal["image", "healpix"] = Field(
        "image",
        description="image: FITS images of any celestial projection (the full sky in CAR, a field "
        "in TAN); healpix: a HEALPix map, of the whole sky or a part of it, in a FITS table.",
    )
    atlas: AtlasSettings | None = Field(
        None, description="The tiling, where a band has one file for each of its tiles."
    )
    frame: HealpixFrame = None
    ordering: HealpixOrdering = None
    resampling: Literal["bilinear", "nearest", "adaptive"] = Field(
        "bilinear",
        description="Interpolation; `adaptive` averages, for pixels finer than the survey's.",
    )
    quantity: Literal["surface_brightness", "flux"] = Field(
        "surface_brightness",
        description="Whether a value holds for any pixel size, or is the flux or counts in its "
        "pixel, and then becomes that in the survey's pixel.",
    )
    no_data: float | None = Field(
        None, description="A value that means no data, besides NaN, BLANK and HEALPix' own."
    )
    versions: Literal["sha256", "mtime", "release"] = Field(
        "sha256",
        description="What tells a changed file on disk: its checksum, or (quick, weak) size and "
        "time. Of files on servers it is the strongest that the server tells, with a request for "
        "each; `release`: their addresses name a release that never changes, so nobody is asked.",
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
                raise ValueError(f"files.{band}: a HEALPix map is taken by itself, as `image`")
        if self.format == "healpix" and self.atlas is not None:
            raise ValueError("a HEALPix map of the whole sky has no atlas")
        if self.format == "healpix" and self.resampling == "adaptive":
            raise ValueError("a HEALPix map is read by `bilinear` or `nearest`")
        if self.format == "healpix" and self.quantity == "flux":
            raise ValueError("a HEALPix map is taken for surface brightness; give scale_by")
        return self
