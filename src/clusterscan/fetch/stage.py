"""Stage fetch: bring a block's raw images to this disk."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

from clusterscan.config.execution import DownloadSettings
from clusterscan.fetch.download.store import Access
from clusterscan.fetch.registry import open_source
from clusterscan.fetch.source import PreparedSource, Source
from clusterscan.flow.blocks import BlockJob, TileOutcome, run_block, tiles_to_compute
from clusterscan.flow.job import Job
from clusterscan.flow.stage_settings import FetchStage


def fetch_block(job: Job[FetchStage], sources: Path, download: DownloadSettings) -> None:
    """Write the raw image of each tile of a block that the source covers.

    Parameters
    ----------
    job : Job
        The settings, and where to write.
    sources : Path
        The block's source manifest: each tile's source objects with their version tokens.
    download : DownloadSettings
        How to download; it changes no result.
    """
    manifest = json.loads(sources.read_text(encoding="utf-8"))
    offered = {int(tile): tokens for tile, tokens in manifest["tiles"].items()}
    source = open_source(
        job.settings.source,
        job.settings.spec,
        seed=job.settings.seed,
        simulation=job.settings.simulation,
        access=Access.of(download, job.root),
    )
    block = BlockJob.of(job, "fetch", "raw", ".fits")
    if isinstance(source, PreparedSource):
        # Downloads come first, in one place: worker processes never ask a server.
        todo = tiles_to_compute(block, offered)
        source = source.prepare({tile: offered[tile] for tile in todo}, job.progress)
    run_block(block, offered, partial(fetch_tile, source, offered))


def fetch_tile(
    source: Source, offered: dict[int, list[str]], tile: int, shard: Path
) -> TileOutcome:
    """Fetch one tile's raw image, if the source offers any."""
    if not offered[tile]:
        return TileOutcome("no_coverage", "the source has nothing here")
    return source.fetch_tile(tile, shard)
