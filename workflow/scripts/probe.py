"""Stage selection, first part: a block's tiles with clusters injected, or as null skies, scanned.

Shards, records and manifests of probes lie below the run's folder ``selection`` and never mix with
the run's own.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

from clusterscan.config.model import FUSION
from clusterscan.core.progress import Progress
from clusterscan.core.records import records_of
from clusterscan.flow.blocks import BlockJob, TileOutcome, run_block
from clusterscan.flow.job import block_arguments, run_stage
from clusterscan.flow.paths import SELECTION
from clusterscan.formats.tables import write_table
from clusterscan.formats.tile_image import read_tile
from clusterscan.scan.scanners import (
    FusionScanner,
    Scanner,
    fusion_scanner,
    model_identity,
    network_scanner,
)
from clusterscan.selection.probe import changed_tile, scanned_maps


def main(args: argparse.Namespace, progress: Progress) -> None:
    """Make and scan the probe that ``--key`` names, on the block's probed tiles."""
    stage = args.settings["stage"]
    job = replace(BlockJob.of(args, "probe", "maps", ".parquet"), root=args.root / SELECTION)
    surveys = sorted(stage["surveys"])
    records = {
        survey: records_of([manifest]) for survey, manifest in zip(surveys, args.tiles, strict=True)
    }
    cards = {
        key: args.root / "models" / key.replace("/", "-") / "model.json" for key in stage["how"]
    }
    scanners = {key: scanner_of(key, cards[key], how) for key, how in stage["how"].items()}
    identities = [model_identity(card) for card in cards.values()]
    wanted = [t for t in stage["tiles"] if any(t in found for found in records.values())]

    def probe(number: int, shard: Path) -> TileOutcome:
        scratch = shard.with_name(f"{shard.stem}.raw.fits")
        shard.parent.mkdir(parents=True, exist_ok=True)
        tiles = {}
        for survey in surveys:
            record = records[survey].get(number)
            if record is not None and record.has_shard:
                image = read_tile(args.root / record.path)
                tiles[survey] = changed_tile(
                    args.key, survey, number, job.tile_order, image, stage, scratch
                )
        if not tiles:
            return TileOutcome("no_coverage", "no survey has an image of the tile")
        maps = scanned_maps(tiles, scanners, number, job.tile_order, stage["map_order"])
        write_table(shard, maps)
        return TileOutcome()

    inputs = {
        tile: [identities, [records[s][tile].identity for s in surveys if tile in records[s]]]
        for tile in wanted
    }
    run_block(
        job,
        inputs,
        probe,
        manifest=args.output,
        max_failed_fraction=args.max_failed_fraction,
        progress=progress,
    )


def scanner_of(key: str, card: Path, how: dict[str, Any]) -> Scanner | FusionScanner:
    """Return what scans with the network that a key names."""
    several = key.partition("/")[0] == FUSION
    return fusion_scanner(card, how) if several else network_scanner(card, how)


if __name__ == "__main__":
    parser = block_arguments("probe", __doc__)
    parser.add_argument("--tiles", type=Path, nargs="+", help="tile manifests, sorted by survey")
    run_stage(parser, main)
