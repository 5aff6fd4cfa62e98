"""Stage detect: a block's candidates, seen across the borders of its tiles."""

from __future__ import annotations

import argparse
from functools import lru_cache
from pathlib import Path

import numpy as np

from clusterscan.config.scan import DetectSettings
from clusterscan.core import sky
from clusterscan.core.progress import Progress
from clusterscan.core.records import records_of
from clusterscan.detect.peaks import find_peaks, mask_flags
from clusterscan.flow.blocks import BlockJob, TileOutcome, run_block
from clusterscan.flow.job import block_arguments, run_stage
from clusterscan.formats.map_tile import read_map_flags, read_map_tile
from clusterscan.formats.tables import write_table


def main(args: argparse.Namespace, progress: Progress) -> None:
    """Detect in the block named by the arguments."""
    stage = args.settings["stage"]
    settings = DetectSettings(**stage["detect"])
    job = BlockJob.of(args, "detect", "candidates", ".parquet")
    own = records_of([args.maps])
    maps = records_of([args.maps, *args.around])
    order, map_order = job.tile_order, stage["map_order"]

    @lru_cache(maxsize=16)
    def pixels(tile: int) -> tuple[np.ndarray, ...]:
        ra, dec = sky.map_pixels(tile, order, map_order)
        values = read_map_tile(maps[tile].checked_shard(args.root))
        return values, ra, dec, sky.descendants(tile, order, map_order)

    def seen_from(tile: int) -> list[int]:
        around = [int(t) for t in sky.neighbours(tile, order)]
        return [t for t in [tile, *around] if t in maps and maps[t].has_shard]

    def detect(tile: int, shard: Path) -> TileOutcome:
        if not own[tile].has_shard:
            return TileOutcome("no_coverage", own[tile].reason)
        seen = seen_from(tile)
        columns = [np.concatenate(part) for part in zip(*map(pixels, seen), strict=True)]
        mine = sky.ancestor(columns[3], map_order, order) == tile
        table = find_peaks(
            *columns, mine, map_order=map_order, settings=settings, scale=stage["scale"]
        )
        table["flags"] |= mask_flags(
            table["ipix"].to_numpy() - sky.descendants(tile, order, map_order)[0],
            read_map_flags(maps[tile].checked_shard(args.root)),
        )
        write_table(shard, table)
        return TileOutcome(counts={"candidates": len(table), **table.attrs})

    run_block(
        job,
        {tile: [[t, maps[t].identity] for t in seen_from(tile)] for tile in own},
        detect,
        manifest=args.output,
        max_failed_fraction=args.max_failed_fraction,
        progress=progress,
    )


if __name__ == "__main__":
    parser = block_arguments("detect", __doc__)
    parser.add_argument("--maps", type=Path, required=True, help="the block's scan manifest")
    parser.add_argument("--around", type=Path, nargs="*", default=[], help="touching blocks'")
    run_stage(parser, main)
