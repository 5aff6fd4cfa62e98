"""Stage publish: the tables, the finished HiPS maps, the report and the summary."""

from __future__ import annotations

import argparse
import json
import platform
from importlib.metadata import version
from typing import Any

import numpy as np
import pandas as pd

from clusterscan import __version__, sky
from clusterscan.config.model import FILTER, Config
from clusterscan.merge.forced import forced
from clusterscan.products import Products
from clusterscan.progress import Progress
from clusterscan.provenance.tables import read_table
from clusterscan.publish.catalogue import build_catalogue
from clusterscan.publish.columns import catalogue_columns
from clusterscan.publish.forced import write_forced
from clusterscan.publish.hips import MapTitle, finish_hips
from clusterscan.publish.inputs import ReportInputs
from clusterscan.publish.release import Release
from clusterscan.publish.report import write_report
from clusterscan.publish.rows import catalogue_rows
from clusterscan.publish.scores import read_scores
from clusterscan.publish.summary import build_summary, read_costs, read_problems, write_summary
from clusterscan.publish.tables import write_catalogue
from clusterscan.publish.training_plots import write_networks_table
from clusterscan.sample.split import SkySplit
from clusterscan.stage import arguments, run_stage

LIBRARIES = ("astropy", "healpy", "numpy", "pandas", "scipy", "snakemake", "timm", "torch")


def publish_maps(config: Config, args: argparse.Namespace, release: Release) -> float:
    """Finish every map's HiPS tree; return the sky that at least one network searched [deg2]."""
    searched: list[np.ndarray] = []
    for survey, model in config.scanned():
        title = MapTitle(survey, model, model == FILTER)
        folder = args.root / "maps" / survey / model
        cells = finish_hips(folder, title, release, config.publish.publisher_did)
        if model != FILTER:
            searched.append(cells)
    return np.unique(np.concatenate(searched)).size * sky.cell_area_deg2(config.sky.map_order)


def release_of(config: Config, area_deg2: float) -> Release:
    """Return what every product's header says."""
    return Release(
        version=__version__,
        config_name=config.title,
        seed=config.seed,
        area_deg2=area_deg2,
        simulated=config.is_simulated,
        tile_order=config.sky.tile_order,
        map_order=config.sky.map_order,
        release_date=config.publish.release_date,
    )


def filter_snr(config: Config, products: Products, objects: pd.DataFrame) -> dict[str, np.ndarray]:
    """Return every plain filter's S/N at the objects, by survey."""
    return {
        survey: forced(
            products.map_values(f"{survey}/{model}"),
            objects["ra_deg"].to_numpy(),
            objects["dec_deg"].to_numpy(),
            products.tile_order,
            products.map_order,
            radius_arcmin=config.merge.forced_radius_arcmin,
        )
        for survey, model in config.scanned()
        if model == FILTER
    }


def main(args: argparse.Namespace, progress: Progress) -> None:
    """Publish the run named by the arguments."""
    stage: dict[str, Any] = args.settings["stage"]["config"]
    config = Config.model_validate(stage)
    products = Products.of(args)
    progress(0, 4, "maps")
    release = release_of(config, publish_maps(config, args, release_of(config, 0.0)))
    progress(1, 4, "tables")
    known_names = config.catalogue_names("known")
    truths = config.catalogue_names("truth") if config.is_simulated else []
    truth = products.catalogue(truths[0]) if truths else None
    known = read_table(args.root / "merged/known.parquet")
    objects = read_table(args.root / "merged/objects.parquet")
    rows = catalogue_rows(
        objects,
        known,
        known_names=known_names,
        catalogues={name: products.catalogue(name) for name in known_names},
        purities=config.merge.calibration.purities,
        truth=truth,
        truth_radius_arcmin=config.validate_.radius_arcmin,
        truth_cut=config.validate_.purity_cut,
        filter_snr=filter_snr(config, products, objects),
    )
    columns = catalogue_columns(config.scanned(), known_names, simulated=truth is not None)
    catalogue = build_catalogue(
        rows,
        columns,
        tile_order=config.sky.tile_order,
        acronym=config.publish.acronym,
        name_format=config.publish.name_format,
        guard_deg=config.publish.name_guard_deg,
    )
    write_catalogue(args.root / "catalogue", catalogue, columns, release)
    measured = read_table(args.root / "merged/forced.parquet")
    write_forced(args.root / "catalogue", measured, catalogue, config.scanned(), release)
    progress(2, 4, "report")
    validation = json.loads((args.root / "validation/validation.json").read_text(encoding="utf-8"))
    selection = json.loads((args.root / "selection/selection.json").read_text(encoding="utf-8"))
    split = SkySplit(config.sky.regions)
    inputs = ReportInputs(
        root=args.root,
        release=release,
        title=config.title,
        config=stage,
        catalogue=catalogue,
        models=config.scanned(),
        tiles=config.sky.tiles(),
        known=known,
        truth=truth,
        validation=validation,
        selection=selection,
        costs=read_costs(args.root),
        problems=read_problems(args.root),
        versions={
            "clusterscan": __version__,
            "python": platform.python_version(),
            **{name: version(name) for name in LIBRARIES},
        },
        region_of=split.part_of,
    )
    write_networks_table(inputs)
    write_report(args.root / "report.html", inputs, gallery_count=config.publish.gallery_count)
    progress(3, 4, "summary")
    write_summary(args.output, summary_of(inputs, known))


def summary_of(inputs: ReportInputs, known) -> dict[str, Any]:
    """Return the content of summary.json."""
    order = inputs.release.tile_order
    inside = np.isin(
        sky.owning_cell(known["ra_deg"].to_numpy(), known["dec_deg"].to_numpy(), order),
        list(inputs.tiles),
    )
    return build_summary(
        release=inputs.release,
        title=inputs.title,
        catalogue=inputs.catalogue,
        models=inputs.models,
        scores=read_scores(inputs.validation),
        n_tiles=len(inputs.tiles),
        n_known=int(inside.sum()),
        costs=inputs.costs,
        problems=inputs.problems,
        versions=inputs.versions,
        probability=inputs.validation.get("probability"),
        selection=inputs.selection,
        positions=inputs.validation.get("positions"),
    )


if __name__ == "__main__":
    run_stage(arguments("publish", __doc__), main)
