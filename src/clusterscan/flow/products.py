"""A run's finished products, read back for the stages that look at the whole sky."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from clusterscan.core.records import TileRecord, records_of
from clusterscan.flow.job import Job
from clusterscan.flow.paths import RunFolder
from clusterscan.formats.tables import read_table


@dataclass(frozen=True)
class Products:
    """The finished products of a run's blocks.

    Attributes
    ----------
    root : Path
        The run's folder.
    blocks : tuple of int
        The footprint's blocks.
    block_order, tile_order, map_order : int
        The sky.
    """

    root: Path
    blocks: tuple[int, ...]
    block_order: int
    tile_order: int
    map_order: int

    @classmethod
    def of(cls, job: Job[Any]) -> Products:
        """Return the products of a job's run."""
        sky = job.sky
        return cls(job.root, sky.blocks, sky.block_order, sky.tile_order, sky.map_order)

    @property
    def folder(self) -> RunFolder:
        """Return the run's files."""
        return RunFolder(self.root)

    def records(self, stage: str, key: str) -> dict[int, TileRecord]:
        """Return the records of a stage, by tile in order."""
        names = [f"o{self.block_order}-{block}" for block in self.blocks]
        return records_of([self.folder.manifest(stage, key, name) for name in names])

    def table(self, stage: str, key: str) -> pd.DataFrame:
        """Return the rows of all shards of a stage, tile by tile.

        Raises
        ------
        ProductError
            If a shard is missing or damaged.
        """
        records = self.records(stage, key).values()
        parts = [read_table(r.checked_shard(self.root)) for r in records if r.has_shard]
        # Empty tables may have columns of other types, which pandas would spread over the result.
        filled = [part for part in parts if len(part)] or parts[:1]
        return pd.concat(filled, ignore_index=True) if filled else pd.DataFrame()

    def catalogue(self, name: str) -> pd.DataFrame:
        """Return a reference catalogue."""
        return read_table(self.folder.catalogue(name))

    def map_values(self, key: str) -> Callable[[int], np.ndarray | None]:
        """Return a function that reads a tile's map values in nested order (None without a map)."""
        from clusterscan.formats.map_tile import read_map_tile

        records = self.records("scan", key)

        # Tiles are large, so only a few are kept in memory.
        @lru_cache(maxsize=4)
        def values(tile: int) -> np.ndarray | None:
            record = records.get(tile)
            if record is None or not record.has_shard:
                return None
            return read_map_tile(record.checked_shard(self.root))

        return values
