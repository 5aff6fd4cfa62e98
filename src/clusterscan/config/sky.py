"""Settings of the sky: how it is cut into tiles and blocks, what is searched, what is held out."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Field, model_validator

from clusterscan import sky
from clusterscan.config.base import Settings
from clusterscan.config.sample import CellSplit, SplitSettings


class Cells(Settings):
    """A footprint listed as HEALPix cells."""

    kind: Literal["cells"] = "cells"
    order: int = Field(5, ge=0, le=12, description="HEALPix order of the listed cells")
    ipix: tuple[int, ...] = Field(description="NESTED indices", min_length=1)

    @model_validator(mode="after")
    def _cells_exist(self):
        last = 12 * 4**self.order - 1
        for cell in self.ipix:
            if not 0 <= cell <= last:
                raise ValueError(f"cell {cell} does not exist at order {self.order} (0 to {last})")
        return self


class Cone(Settings):
    """A footprint around a position: every tile that touches the cone."""

    kind: Literal["cone"] = "cone"
    ra_deg: float = Field(ge=0, lt=360, description="ICRS right ascension of the centre [deg]")
    dec_deg: float = Field(ge=-90, le=90, description="ICRS declination of the centre [deg]")
    radius_deg: float = Field(gt=0, le=180, description="radius [deg]")


class AllSky(Settings):
    """The whole sky, outside a band around the Galactic plane if wanted."""

    kind: Literal["all"] = "all"
    min_galactic_latitude_deg: float = Field(
        0.0, ge=0, lt=90, description="leave out tiles centred nearer to the Galactic plane [deg]"
    )


Footprint = Annotated[Cells | Cone | AllSky, Field(discriminator="kind")]


class SkySettings(Settings):
    """How the sky is cut, and which part is searched."""

    tile_order: int = Field(
        5, ge=0, le=12, description="HEALPix order of a tile, the unit of images and ownership"
    )
    block_order: int = Field(
        3, ge=0, le=12, description="order of a block, the unit of jobs; changing it moves no data"
    )
    map_order: int = Field(12, ge=1, le=20, description="order of the probability maps' pixels")
    footprint: Footprint = Field(description="the sky to search")
    regions: SplitSettings = Field(description="the sky held out of training: whole cells")

    @model_validator(mode="after")
    def _orders_nest(self):
        if self.block_order > self.tile_order:
            raise ValueError(
                f"block_order = {self.block_order} is finer than tile_order = {self.tile_order}; "
                "a block holds whole tiles, so lower it"
            )
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
        if not isinstance(self.regions, CellSplit):
            return self
        order = min(self.regions.order, self.tile_order)
        searched = {int(sky.ancestor(t, self.tile_order, order)) for t in self.tiles()}
        for part in ("validation", "test"):
            cells = getattr(self.regions, part)
            if not any(int(sky.ancestor(c, self.regions.order, order)) in searched for c in cells):
                raise ValueError(
                    f"regions.{part} = {cells}: none of these cells of order {self.regions.order} "
                    "lies in the footprint; choose cells inside"
                )
        return self

    def tiles(self) -> list[int]:
        """Return the sorted tiles of the footprint."""
        return footprint_tiles(self.footprint, self.tile_order)

    def blocks(self) -> list[int]:
        """Return the sorted blocks that hold tiles of the footprint."""
        return sorted(
            {int(sky.ancestor(t, self.tile_order, self.block_order)) for t in self.tiles()}
        )


def footprint_tiles(footprint: Cells | Cone | AllSky, order: int) -> list[int]:
    """Return the sorted tiles of a footprint at an order."""
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
    every = np.arange(12 * 4**order)
    latitude = sky.galactic_latitude_deg(*sky.cell_centres(every, order))
    return [int(t) for t in every[np.abs(latitude) >= footprint.min_galactic_latitude_deg]]
