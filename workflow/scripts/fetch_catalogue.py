"""Stage fetch, catalogues: one reference catalogue in clusterscan's own form."""

from __future__ import annotations

import argparse
import logging

from pydantic import TypeAdapter

from clusterscan.config.catalogs import CatalogueSettings
from clusterscan.config.searched_sky import Footprint
from clusterscan.config.simulation import SimulationSettings
from clusterscan.core.progress import Progress
from clusterscan.flow.footprint import footprint_tiles
from clusterscan.flow.job import arguments, run_stage
from clusterscan.formats.tables import write_table
from clusterscan.known.read import read_any_catalogue

log = logging.getLogger(__name__)


def main(args: argparse.Namespace, progress: Progress) -> None:
    """Read and write the catalogue named by the arguments."""
    stage = args.settings["stage"]
    extra = {}
    if "simulation" in stage:
        footprint = TypeAdapter(Footprint).validate_python(stage["footprint"])
        extra = {
            "tiles": footprint_tiles(footprint, stage["tile_order"]),
            "tile_order": stage["tile_order"],
            "seed": stage["seed"],
            "simulation": SimulationSettings(**stage["simulation"]),
        }
    settings = TypeAdapter(CatalogueSettings).validate_python(stage["catalogue"])
    result = read_any_catalogue(settings, **extra)
    log.info("%s: %d rows", settings.name, len(result.table))
    write_table(args.output, result.table)
    progress(1, 1)


if __name__ == "__main__":
    run_stage(arguments("catalogue", __doc__), main)
