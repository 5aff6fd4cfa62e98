"""Stage scan: slide a network, or the survey's plain filter, over a block's tiles."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from clusterscan import sky
from clusterscan.blocks import BlockJob, TileOutcome, run_block
from clusterscan.preprocess.tile_image import read_tile
from clusterscan.progress import Progress
from clusterscan.provenance.records import records_of
from clusterscan.publish.hips import write_map_tile
from clusterscan.scan.read_ahead import ReadAhead
from clusterscan.scan.scanners import filter_scanner, model_identity, network_scanner
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

    def prepared(number: int) -> Any:
        tile = read_tile(tiles[number].checked_shard(args.root))
        ra, dec = sky.map_pixels(number, job.tile_order, stage["map_order"])
        return scanner.prepare(tile, *tile.to_pixel(ra, dec))

    def scan(number: int, shard: Path) -> TileOutcome:
        record = tiles[number]
        if not record.has_shard:
            return TileOutcome("no_coverage", record.reason)
        values, reason = scanner.scan(ready(number))
        if not np.isfinite(values).any():
            return TileOutcome("no_coverage", "no map pixel has a window of good image")
        header = {"TTYPE": "S/N" if stage["kind"] == "filter" else "probability"}
        write_map_tile(shard, values, reason, header)
        counts = np.bincount(reason, minlength=4)
        return TileOutcome(counts={f"reason_{code}": int(n) for code, n in enumerate(counts)})

    with_images = [number for number, record in sorted(tiles.items()) if record.has_shard]
    with ReadAhead(prepared, with_images, args.read_ahead) as ready:
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
    parser.add_argument("--read-ahead", type=int, default=0, help="tiles read while one is scanned")
    run_stage(parser, main)
