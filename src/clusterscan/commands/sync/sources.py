"""`clusterscan sync`: every source's manifests, with the network where a source needs it."""

from __future__ import annotations

from pathlib import Path

from clusterscan.commands.sync.catalogues import fetch_catalogues
from clusterscan.commands.sync.listed import listed_surveys, sync_listed
from clusterscan.commands.sync.masks import masked_surveys, sync_masks
from clusterscan.commands.sync.offline import SyncReport, sync_offline
from clusterscan.config.model import Config
from clusterscan.core.progress import Progress


def sync_sources(config: Config) -> str:
    """Bring all source manifests up to date, and return a text about the changes.

    Raises
    ------
    SourceError
        If a source cannot be listed and has not been listed before.
    ProductError
        If the output folder cannot be written to.
    """
    lines = fetch_catalogues(config)
    for survey in listed_surveys(config):
        progress = Progress(Path(config.output, ".progress", f"sync-{survey}.json"), survey)
        try:
            lines.append(str(sync_listed(config, survey, progress)))
        finally:
            progress.close()
    for survey in masked_surveys(config):
        lines.append(str(sync_masks(config, survey)))
    # Last, because it refuses to go on unless all sources above are listed.
    report: SyncReport = sync_offline(config)
    return "\n".join([*lines, str(report)])
