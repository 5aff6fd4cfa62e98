"""Settings of the sky: how it is cut into tiles and blocks, what is searched, what is held out."""

from __future__ import annotations

from pydantic import Field, model_validator

from clusterscan.config.base import Settings
from clusterscan.config.footprint import Footprint, Overlap, geometric_tiles, reads_files
from clusterscan.config.sample import CellSplit, SplitSettings
from clusterscan.core import sky


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
        # Checking a configuration reads no file.
        if not isinstance(self.regions, CellSplit) or reads_files(self.footprint):
            return self
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
