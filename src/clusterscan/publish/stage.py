"""Stage publish: the tables, the finished HiPS maps, the report and the summary."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from typing import Any

import numpy as np
import pandas as pd

from clusterscan import __version__
from clusterscan.config.model import FILTER, Config
from clusterscan.core import sky
from clusterscan.flow.footprint import run_tiles
from clusterscan.flow.job import Job
from clusterscan.flow.paths import RunFolder
from clusterscan.flow.products import Products
from clusterscan.flow.sky_split import SkySplit
from clusterscan.flow.stage_settings import PublishStage
from clusterscan.formats.catalogue_columns import Column, catalogue_columns
from clusterscan.formats.tables import read_table
from clusterscan.merge.forced_values import forced
from clusterscan.publish.catalogue import build_catalogue, catalogue_rows
from clusterscan.publish.citation import Citation
from clusterscan.publish.crate import run_sources
from clusterscan.publish.hats_catalogue import write_hats
from clusterscan.publish.hips import MapTitle, finish_hips, write_moc
from clusterscan.publish.published import Contents, write_published
from clusterscan.publish.quality import image_quality, moc_flags, read_mask
from clusterscan.publish.release import Release
from clusterscan.publish.report import render_reports
from clusterscan.publish.report_inputs import ReportInputs, read_scores
from clusterscan.publish.report_networks import write_networks_table
from clusterscan.publish.summary import build_summary, read_costs, read_problems, write_summary
from clusterscan.publish.tables import write_catalogue, write_csv, write_forced, write_regions
from clusterscan.report.document import write_text

LIBRARIES = ("astropy", "healpy", "numpy", "pandas", "scipy", "snakemake", "timm", "torch")


def publish_run(job: Job[PublishStage]) -> None:
    """Write the run's products from its objects, maps and measures."""
    config, run, progress = job.settings.config, job.folder, job.progress
    products = Products.of(job)
    progress(0, 5, "maps")
    map_tiles = {
        (survey, model): [
            tile
            for tile, record in products.records("scan", f"{survey}/{model}").items()
            if record.has_shard
        ]
        for survey, model in config.scanned()
    }
    searched = publish_maps(config, run, map_tiles, release_of(config, 0.0))
    release = release_of(config, searched.size * sky.cell_area_deg2(config.sky.map_order))
    moc = run.products / "searched_moc.fits"
    write_moc(moc, searched, config.sky.map_order, release)
    progress(1, 5, "tables")
    validation = json.loads(run.validation.read_text(encoding="utf-8"))
    selection = json.loads(run.selection.read_text(encoding="utf-8"))
    truths = config.catalogue_names("truth") if config.is_simulated else []
    truth = products.catalogue(truths[0]) if truths else None
    known = read_table(run.known)
    columns = catalogue_columns(
        config.scanned(), config.catalogue_names("known"), simulated=truth is not None
    )
    catalogue = build_catalogue(
        rows_of(config, products, known, truth),
        columns,
        tile_order=config.sky.tile_order,
        acronym=config.publish.acronym,
        name_format=config.publish.name_format,
        guard_deg=config.publish.name_guard_deg,
    )
    threshold = read_scores(validation).threshold
    write_tables(config, run, release, catalogue, columns, threshold)
    progress(2, 5, "report")
    footprint = run_tiles(config.sky)
    inputs = ReportInputs(
        root=job.root,
        release=release,
        title=config.title,
        config=job.settings.plain()["config"],
        catalogue=catalogue,
        models=config.scanned(),
        tiles=footprint,
        known=known,
        truth=truth,
        validation=validation,
        selection=selection,
        costs=read_costs(job.root),
        problems=[p for p in read_problems(job.root) if p["tile"] in footprint],
        versions={
            "clusterscan": __version__,
            "python": platform.python_version(),
            **{name: version(name) for name in LIBRARIES},
        },
        region_of=SkySplit(config.sky.regions).part_of,
    )
    write_networks_table(inputs)
    report, timeless = render_reports(inputs, gallery_count=config.publish.gallery_count)
    write_text(run.report, report)
    progress(3, 5, "folder to hand on")
    contents = contents_of(config, products, map_tiles, inputs, columns, timeless)
    write_published(job.root, contents, maps_max_gib=config.publish.maps_max_gib)
    progress(4, 5, "summary")
    write_summary(job.output, summary_of(inputs, known))


def publish_maps(
    config: Config,
    run: RunFolder,
    map_tiles: Mapping[tuple[str, str], Sequence[int]],
    release: Release,
) -> np.ndarray:
    """Finish every map's HiPS tree; return the map pixels that at least one network searched."""
    searched: list[np.ndarray] = []
    for (survey, model), tiles in map_tiles.items():
        title = MapTitle(survey, model, model == FILTER)
        folder = run.shards("maps", f"{survey}/{model}")
        cells = finish_hips(folder, tiles, title, release, config.publish.publisher_did)
        if model != FILTER:
            searched.append(cells)
    return np.unique(np.concatenate(searched))


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


def quality(
    config: Config, products: Products, objects: pd.DataFrame
) -> tuple[np.ndarray, np.ndarray]:
    """Return the objects' flags from images and MOCs, and their masked fractions."""

    def masks_of(survey: str):
        records = products.records("preprocess", survey)

        def mask_of(tile: int):
            record = records.get(tile)
            if record is None or not record.has_shard:
                return None
            return read_mask(products.root / record.path)

        return mask_of

    ra, dec = objects["ra_deg"].to_numpy(), objects["dec_deg"].to_numpy()
    masks = [masks_of(survey) for survey in config.surveys]
    flags, fraction = image_quality(
        masks, ra, dec, products.tile_order, config.detect.radius_arcmin
    )
    return flags | moc_flags(
        {str(k): v for k, v in config.publish.flag_mocs.items()}, ra, dec
    ), fraction


def rows_of(
    config: Config, products: Products, known: pd.DataFrame, truth: pd.DataFrame | None
) -> pd.DataFrame:
    """Return the merged objects under the catalogue's column names."""
    known_names = config.catalogue_names("known")
    objects = read_table(products.folder.objects)
    return catalogue_rows(
        objects,
        known,
        known_names=known_names,
        purities=config.merge.calibration.purities,
        truth=truth,
        truth_radius_arcmin=config.validate_.radius_arcmin,
        truth_cut=config.validate_.purity_cut,
        filter_snr=filter_snr(config, products, objects),
        quality=quality(config, products, objects),
        models=config.scanned(),
        version=__version__,
    )


def write_tables(
    config: Config,
    run: RunFolder,
    release: Release,
    catalogue: dict[str, np.ndarray],
    columns: tuple[Column, ...],
    threshold: float,
) -> None:
    """Write the catalogue in all its forms, and the forced measurements."""
    folder = run.products
    write_catalogue(folder, catalogue, columns, release)
    write_csv(folder / "clusters.csv", catalogue, columns)
    write_regions(
        folder / "clusters.reg",
        catalogue,
        release,
        radius_arcmin=config.detect.radius_arcmin,
        threshold=threshold,
    )
    write_hats(
        folder / "hats",
        catalogue,
        columns,
        release,
        partition_rows=config.publish.hats_partition_rows,
        margin_arcsec=config.publish.hats_margin_arcsec,
    )
    measured = read_table(run.forced)
    write_forced(folder, measured, catalogue, config.scanned(), release)


def contents_of(
    config: Config,
    products: Products,
    map_tiles: Mapping[tuple[str, str], Sequence[int]],
    inputs: ReportInputs,
    columns: tuple[Column, ...],
    report: str,
) -> Contents:
    """Return what the folder ``published`` holds besides the products."""
    citation = Citation(
        config.title,
        inputs.release,
        config.publish.creators,
        config.publish.license,
        config.publish.doi,
        len(inputs.catalogue["name"]),
    )
    return Contents(
        citation=citation,
        columns=columns,
        config=inputs.config,
        models=inputs.models,
        map_tiles=map_tiles,
        sources=run_sources(config, products),
        versions=inputs.versions,
        report=report,
        summary=summary_of(replace(inputs, costs=()), inputs.known),
    )


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
