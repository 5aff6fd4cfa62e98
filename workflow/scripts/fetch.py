"""Stage fetch: bring a block's raw images to this disk."""

from __future__ import annotations

import argparse
import json
from functools import partial
from pathlib import Path

from pydantic import TypeAdapter

from clusterscan.config.execution import DownloadSettings
from clusterscan.config.image_sources import SourceSettings
from clusterscan.config.simulation import SimulationSettings
from clusterscan.core.progress import Progress
from clusterscan.fetch.download.store import Access
from clusterscan.fetch.registry import open_source
from clusterscan.fetch.source import ImageSpec, PreparedSource, Source
from clusterscan.flow.blocks import BlockJob, TileOutcome, run_block, tiles_to_compute
from clusterscan.flow.job import block_arguments, run_stage


def fetch_tile(
    source: Source, offered: dict[int, list[str]], tile: int, shard: Path
) -> TileOutcome:
    """Fetch one tile's raw image, where the source offers any."""
    if not offered[tile]:
        return TileOutcome("no_coverage", "the source has nothing here")
    return source.fetch_tile(tile, shard)


def main(args: argparse.Namespace, progress: Progress) -> None:
    """Fetch the block named by the arguments."""
    settings = args.settings["stage"]
    manifest = json.loads(args.sources.read_text(encoding="utf-8"))
    offered = {int(tile): tokens for tile, tokens in manifest["tiles"].items()}
    spec = settings["spec"]
    source = open_source(
        TypeAdapter(SourceSettings).validate_python(settings["source"]),
        ImageSpec(**{**spec, "bands": tuple(spec["bands"])}),
        seed=settings.get("seed", 0),
        simulation=SimulationSettings(**settings["simulation"])
        if "simulation" in settings
        else None,
        access=Access.of(args.download, args.root),
    )
    job = BlockJob.of(args, "fetch", "raw", ".fits")
    if isinstance(source, PreparedSource):
        # Downloads come first, in one place: worker processes never ask a server.
        todo = tiles_to_compute(job, offered)
        source = source.prepare({tile: offered[tile] for tile in todo}, progress)
    run_block(
        job,
        offered,
        partial(fetch_tile, source, offered),
        manifest=args.output,
        workers=args.workers,
        max_failed_fraction=args.max_failed_fraction,
        progress=progress,
    )


if __name__ == "__main__":
    parser = block_arguments("fetch", __doc__)
    parser.add_argument(
        "--download",
        type=DownloadSettings.model_validate_json,
        default=DownloadSettings(),
        help="settings of downloads as JSON",
    )
    parser.add_argument("--sources", type=Path, required=True, help="the block's source manifest")
    run_stage(parser, main)
