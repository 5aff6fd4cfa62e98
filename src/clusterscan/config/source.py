"""Settings of a survey's source: where its images come from."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from clusterscan.config.base import Settings
from clusterscan.config.source_archive import ArchiveSource
from clusterscan.config.source_bands import BandSettings
from clusterscan.config.source_service import CutoutsSource, Hips2fitsSource


class SimulatedSource(Settings):
    """Images of the simulated sky, made offline, tile by tile."""

    kind: Literal["simulated"]
    sky: Literal["infrared", "microwave", "xray", "optical"] = Field(
        description="Which simulated survey: unWISE-like W1 and W2, ACT-like f090, f150, f220, "
        "XMM-like 0.5-2 keV (one band of any name), or any of g, r, i of photographic depth."
    )


class MosaicSource(Settings):
    """One local FITS file that holds the whole survey, one image extension a band."""

    kind: Literal["mosaic"]
    path: str = Field(
        description="The FITS file; may begin with ${CLUSTERSCAN_DATA}. Relative paths start at "
        "the project's folder."
    )
    extensions: dict[str, str] = Field(
        min_length=1,
        description="For each of the survey's bands, the name of its image extension.",
    )
    coverage: str | None = Field(
        None, description="Extension that is 0 where the mosaic has no data; none: all is covered."
    )


class HipsSource(BandSettings):
    """Static HiPS trees of FITS tiles, one a band, on a server or in a folder."""

    BANDS: ClassVar[str] = "trees"

    kind: Literal["hips"]
    trees: dict[str, str] = Field(
        min_length=1,
        description="For each of the survey's bands, its tree: an http(s) URL or a folder, which "
        "may begin with ${CLUSTERSCAN_DATA}.",
    )
    order: int | None = Field(
        None,
        ge=0,
        le=20,
        description="HiPS order of the tiles that are read; null: the coarsest whose pixels are "
        "no larger than pixel_scale_arcsec, or the finest that a tree has.",
    )
    resampling: Literal["bilinear", "nearest"] = Field(
        "bilinear", description="Interpolation between HiPS pixels."
    )
    versions: Literal["tiles", "release"] = Field(
        "tiles",
        description="What sync looks at: `tiles` each tile (a request without data each), "
        "`release` only the trees' release dates, so a tile changed in between goes unseen.",
    )


class LocalSource(BandSettings):
    """A folder of FITS images of any tiling and celestial projection, coadded on each tile."""

    BANDS: ClassVar[str] = "files"

    kind: Literal["local"]
    path: str = Field(description="The folder; may begin with ${CLUSTERSCAN_DATA}.")
    files: dict[str, str] = Field(
        min_length=1,
        description="For each of the survey's bands, a pattern of its files below the folder, "
        "such as `**/*-w1-img-m.fits` (** stands for any folders).",
    )
    extension: str | int | None = Field(
        None, description="Name or number of the image extension; null: the first image."
    )
    resampling: Literal["bilinear", "nearest", "adaptive"] = Field(
        "bilinear",
        description="Interpolation; `adaptive` averages, for pixels finer than the survey's.",
    )
    quantity: Literal["surface_brightness", "flux"] = Field(
        "surface_brightness",
        description="Whether a value holds for any pixel size, or is the flux in its pixel (which "
        "needs `adaptive`).",
    )
    versions: Literal["sha256", "mtime"] = Field(
        "sha256",
        description="What tells a changed file: its checksum, or (quick, weak) size and time.",
    )

    @model_validator(mode="after")
    def _parts_fit(self) -> LocalSource:
        if self.quantity == "flux" and self.resampling != "adaptive":
            raise ValueError("quantity: flux is kept only by `resampling: adaptive`; choose that")
        for band, pattern in self.files.items():
            if pattern.startswith("/") or ".." in pattern.split("/"):
                raise ValueError(f"files.{band} = {pattern!r} leads out of the folder")
        return self


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


class StampsSource(Settings):
    """A zip file or folder of small images of listed objects: JPEG, PNG or FITS."""

    path: str = Field(description="The zip file or folder; may begin with ${CLUSTERSCAN_DATA}.")
    pixel_scale_arcsec: float = Field(gt=0, description="Pixel size of the stamps [arcsec].")
    size_px: int | None = Field(
        None,
        gt=0,
        le=4096,
        description="Side of the square stamps [pixels]; null: stamps may differ, and be oblong.",
    )
    bands: list[str] = Field(
        min_length=1,
        max_length=64,
        description="The survey's bands in the order of the channels, or of a FITS cube's planes.",
    )
    extensions: dict[str, str] | None = Field(
        None,
        description="For each band, the image extension of FITS stamps; null: their first image.",
    )
    row_0: Literal["north", "south"] = Field(
        "north",
        description="Which side of the sky the first row of a JPEG or PNG shows (FITS: as stored).",
    )
    max_member_bytes: int = Field(
        8_000_000, gt=0, description="Larger files in the zip are refused [bytes, unpacked]."
    )
    max_members: int = Field(1_000_000, gt=0, description="A zip with more files is refused.")

    @model_validator(mode="after")
    def _bands_are_distinct(self) -> StampsSource:
        if len(set(self.bands)) < len(self.bands):
            raise ValueError(f"bands = {self.bands} names a band twice")
        if self.extensions is not None and set(self.extensions) != set(self.bands):
            raise ValueError(
                f"extensions names {sorted(self.extensions)}, but bands = {self.bands}; give one "
                "extension for each band"
            )
        return self
