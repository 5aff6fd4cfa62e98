"""Settings of the sky: the footprint, its tiles, and the regions held out of the training."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Field, model_validator

from clusterscan.config.base import Extension, HealpixColumn, HealpixFrame, Settings
from clusterscan.config.catalogs import PublishedKind
from clusterscan.core import sky


class Cells(Settings):
    """A footprint listed as HEALPix cells."""

    kind: Literal["cells"] = "cells"
    order: int = Field(5, ge=0, le=12, description="HEALPix order of the listed cells.")
    ipix: tuple[int, ...] = Field(description="NESTED indices of the cells.", min_length=1)

    @model_validator(mode="after")
    def _cells_exist(self):
        last = 12 * 4**self.order - 1
        for cell in self.ipix:
            if not 0 <= cell <= last:
                raise ValueError(f"cell {cell} does not exist at order {self.order} (0 to {last})")
        return self


class Cone(Settings):
    """Every tile that touches a cone around a position."""

    kind: Literal["cone"] = "cone"
    ra_deg: float = Field(ge=0, lt=360, description="ICRS right ascension of the centre [deg].")
    dec_deg: float = Field(ge=-90, le=90, description="ICRS declination of the centre [deg].")
    radius_deg: float = Field(gt=0, le=180, description="Radius of the cone [deg].")


class AllSky(Settings):
    """The whole sky, optionally without a band around the Galactic plane."""

    kind: Literal["all"] = "all"
    min_galactic_latitude_deg: float = Field(
        0.0,
        ge=0,
        lt=90,
        description="Tiles centred nearer to the Galactic plane than this are left out [deg].",
    )


class MocFile(Settings):
    """The tiles that a multi-order coverage map (MOC) touches."""

    kind: Literal["moc"]
    path: str = Field(
        description="FITS or JSON file of the MOC; may begin with ${CLUSTERSCAN_DATA}."
    )
    min_fraction: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Smallest covered fraction of a tile; 0: every tile that the MOC touches.",
    )


class MaskFile(Settings):
    """The tiles in which a mask is above a threshold: an image or a HEALPix map."""

    kind: Literal["mask"]
    path: str = Field(
        description="FITS image in any celestial projection, or a full or partial HEALPix map; "
        "may begin with ${CLUSTERSCAN_DATA}."
    )
    above: float = Field(0.0, description="Pixels with values above this are inside.")
    extension: Extension = None
    column: HealpixColumn = None
    frame: HealpixFrame = None
    min_fraction: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Smallest fraction of a tile that is inside, tested at 256 points; 0: one "
        "point is enough.",
    )


class CatalogueCells(Settings):
    """The cells in which a published catalogue lists objects."""

    kind: Literal["catalogue"]
    layout: PublishedKind = Field(description="Kind of the catalogue, as in `catalogs`.")
    path: str = Field(description="File of the catalogue; may begin with ${CLUSTERSCAN_DATA}.")
    order: int = Field(
        4,
        ge=0,
        le=12,
        description="HEALPix order of the cells that are searched as a whole if they hold objects.",
    )
    min_objects: int = Field(1, ge=1, description="Smallest number of objects in a cell.")


# An overlap holds any of the others but no further overlap, which keeps the union flat.
_Part = Annotated[
    Cells | Cone | AllSky | MocFile | MaskFile | CatalogueCells, Field(discriminator="kind")
]


class Overlap(Settings):
    """The intersection of several footprints."""

    kind: Literal["overlap"]
    of: tuple[_Part, ...] = Field(
        min_length=2, description="The footprints that must all contain the sky."
    )


Footprint = Annotated[
    Cells | Cone | AllSky | MocFile | MaskFile | CatalogueCells | Overlap,
    Field(discriminator="kind"),
]
AnyFootprint = Cells | Cone | AllSky | MocFile | MaskFile | CatalogueCells | Overlap


def reads_files(footprint: AnyFootprint) -> bool:
    """Return True if a footprint depends on a file."""
    if isinstance(footprint, Overlap):
        return any(reads_files(part) for part in footprint.of)
    return isinstance(footprint, MocFile | MaskFile | CatalogueCells)


# Footprints from files are read in clusterscan.flow.footprint; these are known without any file.
def geometric_tiles(footprint: AnyFootprint, order: int) -> list[int]:
    """Return the sorted tiles of a footprint that does not depend on a file."""
    if isinstance(footprint, Cells):
        if footprint.order >= order:
            cells = {int(sky.ancestor(c, footprint.order, order)) for c in footprint.ipix}
        else:
            cells = {
                int(t) for c in footprint.ipix for t in sky.descendants(c, footprint.order, order)
            }
        return sorted(cells)
    if isinstance(footprint, Cone):
        found = sky.cells_in_cone(footprint.ra_deg, footprint.dec_deg, footprint.radius_deg, order)
        return [int(t) for t in found]
    assert isinstance(footprint, AllSky)
    every = np.arange(12 * 4**order)
    latitude = sky.galactic_latitude_deg(*sky.cell_centres(every, order))
    return [int(t) for t in every[np.abs(latitude) >= footprint.min_galactic_latitude_deg]]


# Regions are whole cells, so that an object and its surroundings are on one side. Examples at the
# border are dropped, because their crops would show sky of two regions.
class CellSplit(Settings):
    """Listed HEALPix cells are the validation and test regions; all other sky is for training."""

    kind: Literal["cells"]
    order: int = Field(ge=0, le=20, description="HEALPix order of the cells (NESTED, ICRS).")
    validation: list[int] = Field(min_length=1, description="Cells of the validation region.")
    test: list[int] = Field(min_length=1, description="Cells of the test region.")
    guard_arcmin: float = Field(
        0.0,
        ge=0,
        description="Examples are dropped if another region is closer than half the diagonal of a "
        "crop plus this distance [arcmin].",
    )

    @model_validator(mode="after")
    def _cells_exist_once(self) -> CellSplit:
        both = set(self.validation) & set(self.test)
        if both:
            raise ValueError(
                f"cells {sorted(both)} are in both validation and test; list each once"
            )
        wrong = [c for c in self.validation + self.test if not 0 <= c < 12 * 4**self.order]
        if wrong:
            raise ValueError(f"cells {wrong} do not exist at order {self.order}")
        return self


# A hash rather than a random draw: a cell keeps its region when the footprint grows, so a test
# region never becomes training sky.
class FractionSplit(Settings):
    """A hash of its number assigns each cell to a region; added sky does not change it."""

    kind: Literal["fractions"]
    order: int = Field(ge=0, le=20, description="HEALPix order of the cells (NESTED, ICRS).")
    validation: float = Field(
        gt=0, lt=1, description="Fraction of the cells in the validation region."
    )
    test: float = Field(gt=0, lt=1, description="Fraction of the cells in the test region.")
    guard_arcmin: float = Field(
        0.0,
        ge=0,
        description="Examples are dropped if another region is closer than half the diagonal of a "
        "crop plus this distance [arcmin].",
    )

    @model_validator(mode="after")
    def _training_is_left(self) -> FractionSplit:
        if self.validation + self.test >= 1:
            raise ValueError(
                f"validation + test = {self.validation + self.test} leaves no sky for training"
            )
        return self


SplitSettings = Annotated[CellSplit | FractionSplit, Field(discriminator="kind")]


class SkySettings(Settings):
    """How the sky is cut, and which part is searched."""

    tile_order: int = Field(
        5, ge=0, le=12, description="HEALPix order of a tile, the unit of images."
    )
    block_order: int = Field(
        3,
        ge=0,
        le=12,
        description="HEALPix order of a block, the unit of jobs; it changes no result.",
    )
    map_order: int = Field(
        12, ge=1, le=20, description="HEALPix order of the pixels of the probability maps."
    )
    footprint: Footprint = Field(description="The sky to search.")
    regions: SplitSettings = Field(
        description="The sky that is held out of the training for validation and test."
    )

    @model_validator(mode="after")
    def _orders_nest(self):
        if self.block_order > self.tile_order:
            raise ValueError(
                f"block_order = {self.block_order} is finer than tile_order = {self.tile_order}; "
                "a block holds whole tiles, so lower it"
            )
        # A map tile is a HiPS tile of 2^width_order pixels a side; viewers expect 512, and small
        # footprints need smaller ones.
        width_order = self.map_order - self.tile_order
        if not 5 <= width_order <= 10:
            raise ValueError(
                f"map_order - tile_order = {width_order} gives map tiles of {2.0**width_order:g} "
                "pixels a side; choose orders 5 to 10 apart (9 is the HiPS standard of 512)"
            )
        if self.regions.order > self.map_order:
            raise ValueError("regions.order is finer than map_order; lower it")
        return self

    @model_validator(mode="after")
    def _regions_lie_in_the_footprint(self):
        # Validation of a configuration must not read files.
        if not isinstance(self.regions, CellSplit) or reads_files(self.footprint):
            return self
        # Compared at the coarser of both orders: a region's cell may be smaller or larger than a
        # tile.
        order = min(self.regions.order, self.tile_order)
        whole = self.footprint
        parts = whole.of if isinstance(whole, Overlap) else (whole,)
        tiles = set.intersection(*(set(geometric_tiles(p, self.tile_order)) for p in parts))
        searched = {int(sky.ancestor(t, self.tile_order, order)) for t in tiles}
        for part in ("validation", "test"):
            cells = getattr(self.regions, part)
            if not any(int(sky.ancestor(c, self.regions.order, order)) in searched for c in cells):
                raise ValueError(
                    f"regions.{part} = {cells}: none of these cells of order {self.regions.order} "
                    "lies in the footprint; choose cells inside"
                )
        return self
