"""Stage known: one reference catalogue in clusterscan's own form."""

from __future__ import annotations

import logging

from clusterscan.flow.footprint import footprint_tiles
from clusterscan.flow.job import Job
from clusterscan.flow.stage_settings import CatalogueStage
from clusterscan.formats.tables import write_table
from clusterscan.known.read import read_any_catalogue

log = logging.getLogger(__name__)


def write_catalogue(job: Job[CatalogueStage]) -> None:
    """Read, check and write the job's catalogue."""
    settings, simulated = job.settings.catalogue, job.settings.simulated
    if simulated is None:
        result = read_any_catalogue(settings)
    else:
        result = read_any_catalogue(
            settings,
            tiles=footprint_tiles(simulated.footprint, simulated.tile_order),
            tile_order=simulated.tile_order,
            seed=simulated.seed,
            simulation=simulated.simulation,
        )
    log.info("%s: %d rows", settings.name, len(result.table))
    write_table(job.output, result.table)
