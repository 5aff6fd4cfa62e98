"""Stage scan: slide a network, or the survey's plain filter, over a block's tiles."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter

from clusterscan import sky
from clusterscan.blocks import BlockJob, TileOutcome, run_block
from clusterscan.config.filter import FilterSettings
from clusterscan.config.scan import ScanSettings
from clusterscan.preprocess.tile_image import TileImage, read_tile
from clusterscan.progress import Progress
from clusterscan.provenance.fingerprint import fingerprint
from clusterscan.provenance.records import records_of
from clusterscan.publish.hips import write_map_tile
from clusterscan.stage import block_arguments, run_stage

Values = tuple[np.ndarray, np.ndarray]
Scanner = Callable[[TileImage, np.ndarray, np.ndarray], Values]


def network_scanner(card_path: Path, how: dict[str, Any]) -> Scanner:
    """Return what slides a trained network over a tile."""
    from clusterscan.networks.card import load_model
    from clusterscan.scan.finer import finer
    from clusterscan.scan.fused import fused
    from clusterscan.scan.memory import keep_freed_memory
    from clusterscan.scan.tile import scan_tile

    keep_freed_memory()

    network, card = load_model(card_path.parent)
    settings = ScanSettings(**how)
    coarse = fused(network) if settings.coarse_step_px else None
    network = fused(finer(network, settings.step_px))
    return lambda tile, x, y: scan_tile(
        network, card, tile.image, tile.mask, x, y, settings, coarse=coarse
    )


def filter_scanner(how: dict[str, Any]) -> Scanner:
    """Return what runs the plain filter over a tile."""
    from clusterscan.scan.plain_filter import filter_tile

    settings = TypeAdapter(FilterSettings).validate_python(how)
    return lambda tile, x, y: filter_tile(
        tile.image, tile.mask, tile.pixel_scale_arcsec, x, y, settings
    )


def main(args: argparse.Namespace, progress: Progress) -> None:
    """Scan the block named by the arguments."""
    stage = args.settings["stage"]
    job = BlockJob.of(args, "scan", "maps", ".fits")
    tiles = records_of([args.tiles])
    if args.model:
        from clusterscan.networks.card import read_card  # brings torch, so only where needed

        card = read_card(args.model[0].parent)
        model = fingerprint({key: card[key] for key in ("weights", "network", "views")})
        scanner = network_scanner(args.model[0], stage["how"])
    else:
        model, scanner = "", filter_scanner(stage["how"])

    def scan(number: int, shard: Path) -> TileOutcome:
        record = tiles[number]
        if not record.has_shard:
            return TileOutcome("no_coverage", record.reason)
        tile = read_tile(record.checked_shard(args.root))
        ra, dec = sky.map_pixels(number, job.tile_order, stage["map_order"])
        values, reason = scanner(tile, *tile.to_pixel(ra, dec))
        if not np.isfinite(values).any():
            return TileOutcome("no_coverage", "no map pixel has a window of good image")
        header = {"TTYPE": "S/N" if stage["kind"] == "filter" else "probability"}
        write_map_tile(shard, values, reason, header)
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
