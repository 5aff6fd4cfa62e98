"""Stage detect: find the candidates of a block, across the borders of its tiles.

The search for a tile's peaks uses its own map and the maps of its neighbours, and the tile keeps
the peaks whose map pixel it owns. So no candidate is lost or doubled at a border.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from clusterscan.core import sky
from clusterscan.core.records import records_of
from clusterscan.detect.peaks import find_peaks, mask_flags
from clusterscan.flow.blocks import BlockJob, TileOutcome, run_block
from clusterscan.flow.job import Job
from clusterscan.flow.stage_settings import DetectStage
from clusterscan.formats.map_tile import read_map_flags, read_map_tile
from clusterscan.formats.tables import write_table


def detect_block(job: Job[DetectStage], maps: Path, around: Sequence[Path]) -> None:
    """Write the candidates of each tile of a block.

    Parameters
    ----------
    job : Job
        The settings, and where to write.
    maps : Path
        The block's manifest of `scan`.
    around : sequence of Path
        The manifests of the blocks that touch it.
    """
    settings, root = job.settings, job.root
    order, map_order = job.sky.tile_order, settings.map_order
    own = records_of([maps])
    scanned = records_of([maps, *around])

    @lru_cache(maxsize=16)  # a tile's map is read again for each of its neighbours
    def pixels(tile: int) -> tuple[np.ndarray, ...]:
        ra, dec = sky.map_pixels(tile, order, map_order)
        values = read_map_tile(scanned[tile].checked_shard(root))
        return values, ra, dec, sky.descendants(tile, order, map_order)

    def seen_from(tile: int) -> list[int]:
        near = [int(t) for t in sky.neighbours(tile, order)]
        return [t for t in [tile, *near] if t in scanned and scanned[t].has_shard]

    def detect(tile: int, shard: Path) -> TileOutcome:
        if not own[tile].has_shard:
            return TileOutcome("no_coverage", own[tile].reason)
        seen = seen_from(tile)
        parts = zip(*map(pixels, seen), strict=True)
        values, ra, dec, ipix = (np.concatenate(part) for part in parts)
        table = find_peaks(
            values,
            ra,
            dec,
            ipix,
            sky.ancestor(ipix, map_order, order) == tile,
            map_order=map_order,
            settings=settings.detect,
            scale=settings.scale,
        )
        table["flags"] |= mask_flags(
            table["ipix"].to_numpy() - sky.descendants(tile, order, map_order)[0],
            read_map_flags(scanned[tile].checked_shard(root)),
        )
        write_table(shard, table)
        return TileOutcome(
            counts={"candidates": len(table), **{str(key): n for key, n in table.attrs.items()}}
        )

    # Candidates depend on the neighbours' maps too, so these are among a tile's inputs.
    inputs = {tile: [[t, scanned[t].identity] for t in seen_from(tile)] for tile in own}
    run_block(BlockJob.of(job, "detect", "candidates", ".parquet"), inputs, detect)
