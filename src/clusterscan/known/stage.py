"""Stage known: the reference catalogues in our own form, and the known ones united.

`write_catalogue` reads one reference catalogue. `unite_catalogues` unites the catalogues of role
`known` once for the whole run: `sample` labels examples with the united clusters, `merge` matches
objects with them, `validate` and `publish` read the entries of each catalogue from them.
"""

from __future__ import annotations

import logging

from clusterscan.flow.footprint import footprint_tiles
from clusterscan.flow.job import Job
from clusterscan.flow.stage_settings import CatalogueStage, KnownStage
from clusterscan.formats.tables import read_table, write_table
from clusterscan.known.linking import MatchRule
from clusterscan.known.read import read_any_catalogue
from clusterscan.known.unite import unite_known

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


def unite_catalogues(job: Job[KnownStage]) -> None:
    """Unite the known catalogues and write one row per cluster."""
    rule, names = job.settings.known, job.settings.catalogues
    united = unite_known(
        {name: read_table(job.folder.catalogue(name)) for name in names},
        MatchRule(
            radius_arcmin=rule.radius_arcmin,
            radius_kpc=rule.radius_kpc,
            n_sigma=rule.n_sigma,
            z_window=rule.z_window,
        ),
        duplicate_radius_arcmin=rule.duplicate_radius_arcmin,
        trust=names,
    )
    log.info("%d clusters of %s", len(united), ", ".join(names))
    write_table(job.output, united)
