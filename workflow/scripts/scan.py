"""Stage scan: slide a network, or the survey's plain filter, over a block's tiles."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from clusterscan import sky
from clusterscan.blocks import BlockJob, TileOutcome, run_block
from clusterscan.preprocess.tile_image import read_tile
from clusterscan.progress import Progress
from clusterscan.provenance.records import records_of
from clusterscan.publish.hips import write_map_tile
from clusterscan.scan.scanners import filter_scanner, model_identity, network_scanner
from clusterscan.scan.validity import flags_at
from clusterscan.stage import block_arguments, run_stage


def main(args: argparse.Namespace, progress: Progress) -> None:
    """Scan the block named by the arguments."""
    stage = args.settings["stage"]
    job = BlockJob.of(args, "scan", "maps", ".fits")
    tiles = records_of([args.tiles])
    if args.model:
        model = model_identity(args.model[0])
        scanner = network_scanner(args.model[0], stage["how"])
    else:
        model, scanner = "", filter_scanner(stage["how"])

    def scan(number: int, shard: Path) -> TileOutcome:
        record = tiles[number]
        if not record.has_shard:
            return TileOutcome("no_coverage", record.reason)
        tile = read_tile(record.checked_shard(args.root))
        ra, dec = sky.map_pixels(number, job.tile_order, stage["map_order"])
        place = tile.to_pixel(ra, dec)
        values, reason = scanner(tile, *place)
        if not np.isfinite(values).any():
            return TileOutcome("no_coverage", "no map pixel has a window of good image")
        header = {"TTYPE": "S/N" if stage["kind"] == "filter" else "probability"}
        write_map_tile(shard, values, reason, header, flags_at(tile.mask, *place))
        counts = np.bincount(reason, minlength=4)
        return TileOutcome(counts={f"reason_{code}": int(n) for code, n in enumerate(counts)})

    run_block(
        job,
        {n: [r.identity, model] for n, r in tiles.items()},
        scan,
        manifest=args.output,
        max_failed_fraction=args.max_failed_fraction,
        progress=progress,
    )


if __name__ == "__main__":
    parser = block_arguments("scan", __doc__)
    parser.add_argument("--tiles", type=Path, required=True, help="the block's tile manifest")
    parser.add_argument("--model", type=Path, nargs="*", default=[], help="a network's card")
    run_stage(parser, main)
