"""Stage publish: finished HiPS maps, tables, report, the folder to share, and the summary."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version

import numpy as np
import pandas as pd
from astropy.wcs import WCS

from clusterscan import __version__
from clusterscan.config.model import FILTER, Config
from clusterscan.core import sky
from clusterscan.core.atomic import write_json
from clusterscan.flow.footprint import run_tiles
from clusterscan.flow.job import Job
from clusterscan.flow.paths import RunFolder
from clusterscan.flow.products import Products
from clusterscan.flow.sky_split import SkySplit
from clusterscan.flow.stage_settings import PublishStage
from clusterscan.formats.catalogue_columns import Column, catalogue_columns
from clusterscan.formats.tables import read_table
from clusterscan.merge.forced_values import forced
from clusterscan.publish.catalogue import Truth, build_catalogue, catalogue_rows
from clusterscan.publish.citation import Citation
from clusterscan.publish.crate import run_sources
from clusterscan.publish.hats_catalogue import write_hats
from clusterscan.publish.hips import MapTitle, finish_hips, write_moc
from clusterscan.publish.published import Contents, write_published
from clusterscan.publish.quality import MaskOf, image_quality, moc_flags, read_mask
from clusterscan.publish.release import Release
from clusterscan.publish.report import render_reports
from clusterscan.publish.report_inputs import ReportInputs, read_scores
from clusterscan.publish.report_networks import write_networks_table
from clusterscan.publish.summary import build_summary, read_costs, read_problems
from clusterscan.publish.tables import write_catalogue, write_csv, write_forced, write_regions
from clusterscan.report.document import write_text

LIBRARIES = ("astropy", "healpy", "numpy", "pandas", "scipy", "snakemake", "timm", "torch")


def publish_run(job: Job[PublishStage]) -> None:
    """Write the products of a run from its objects, maps and measures.

    The order matters: the maps give the searched area, which every header carries; the tables give
    the catalogue, which the report shows; the folder ``published`` copies all of them.
    """
    config, run, progress = job.settings.config, job.folder, job.progress
    publish = config.publish
    products = Products.of(job)

    progress(0, 5, "maps")
    # The tiles with a map in this run; the folders may hold more, of a larger footprint.
    map_tiles = {
        (survey, model): [
            tile
            for tile, record in products.records("scan", f"{survey}/{model}").items()
            if record.has_shard
        ]
        for survey, model in config.scanned()
    }
    searched = publish_maps(config, run, map_tiles)
    release = release_of(config, searched.size * sky.cell_area_deg2(config.sky.map_order))
    write_moc(run.products / "searched_moc.fits", searched, config.sky.map_order, release)

    progress(1, 5, "tables")
    validation = json.loads(run.validation.read_text(encoding="utf-8"))
    known = read_table(run.known)
    truths = config.catalogue_names("truth") if config.is_simulated else []
    truth = products.catalogue(truths[0]) if truths else None
    # One specification of the columns serves all formats, the README and docs/catalogue.md, so they
    # cannot disagree.
    columns = catalogue_columns(
        config.scanned(), config.catalogue_names("known"), simulated=truth is not None
    )
    catalogue = build_catalogue(
        rows_of(config, products, known, truth),
        columns,
        tile_order=config.sky.tile_order,
        acronym=publish.acronym,
        name_format=publish.name_format,
        guard_deg=publish.name_guard_deg,
    )
    write_tables(config, run, release, catalogue, columns, read_scores(validation).threshold)

    progress(2, 5, "report")
    footprint = run_tiles(config.sky)
    keys = {*config.surveys, *map("/".join, config.scanned())}
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
        selection=json.loads(run.selection.read_text(encoding="utf-8")),
        costs=read_costs(job.root),
        # Manifests of a larger footprint or of other surveys stay in the folder; their tiles
        # are no part of this catalogue.
        problems=[
            problem
            for problem in read_problems(job.root)
            if problem["tile"] in footprint and problem["key"] in keys
        ],
        versions={
            "clusterscan": __version__,
            "python": platform.python_version(),
            **{name: version(name) for name in LIBRARIES},
        },
        region_of=SkySplit(config.sky.regions).part_of,
    )
    write_networks_table(inputs)
    report, timeless_report = render_reports(inputs, gallery_count=publish.gallery_count)
    write_text(run.report, report)

    progress(3, 5, "folder published")
    citation = Citation(
        config.title, release, publish.creators, publish.license, publish.doi,
        len(catalogue["name"]),
    )  # fmt: skip
    contents = Contents(
        citation=citation,
        columns=columns,
        config=inputs.config,
        models=inputs.models,
        map_tiles=map_tiles,
        sources=run_sources(config, products),
        versions=inputs.versions,
        report=timeless_report,
        # Without times and memory of the jobs, which differ between equal runs.
        summary=build_summary(replace(inputs, costs=())),
    )
    write_published(job.root, contents, maps_max_gib=publish.maps_max_gib)

    # Last, because the summary is the output that tells Snakemake that the stage is complete.
    progress(4, 5, "summary")
    write_json(job.output, build_summary(inputs))


def publish_maps(
    config: Config, run: RunFolder, map_tiles: Mapping[tuple[str, str], Sequence[int]]
) -> np.ndarray:
    """Finish the HiPS tree of every map; return the map pixels searched by at least one network."""
    release = release_of(config, 0.0)  # the area is known only after the maps have been read
    searched: list[np.ndarray] = []
    for (survey, model), tiles in map_tiles.items():
        title = MapTitle(survey, model, model == FILTER)
        folder = run.shards("maps", f"{survey}/{model}")
        cells = finish_hips(folder, tiles, title, release, config.publish.publisher_did)
        # Filters see pixels that networks do not (their windows are smaller), but an object needs a
        # network's value: only networks define the searched sky.
        if model != FILTER:
            searched.append(cells)
    return np.unique(np.concatenate(searched))


def release_of(config: Config, area_deg2: float) -> Release:
    """Collect the facts for the headers of all products."""
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


def rows_of(
    config: Config, products: Products, known: pd.DataFrame, truth: pd.DataFrame | None
) -> pd.DataFrame:
    """Return the merged objects under the catalogue's column names."""
    objects = read_table(products.folder.objects)
    rows = catalogue_rows(
        objects,
        known,
        config.catalogue_names("known"),
        purities=config.merge.calibration.purities,
        truth=None
        if truth is None
        else Truth(truth, config.validate_.radius_arcmin, config.validate_.purity_cut),
        filter_snr=filter_snr(config, products, objects),
        quality=image_and_moc_flags(config, products, objects),
        models=config.scanned(),
    )
    return rows.assign(version=__version__)


def filter_snr(config: Config, products: Products, objects: pd.DataFrame) -> dict[str, np.ndarray]:
    """Return the S/N of each survey's plain filter at the objects."""
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


def image_and_moc_flags(
    config: Config, products: Products, objects: pd.DataFrame
) -> tuple[np.ndarray, np.ndarray]:
    """Return the objects' flags from images and MOCs, and their masked fractions."""

    def masks_of(survey: str) -> MaskOf:
        records = products.records("preprocess", survey)

        def mask_of(tile: int) -> tuple[np.ndarray, WCS] | None:
            record = records.get(tile)
            if record is None or not record.has_shard:
                return None
            return read_mask(record.checked_shard(products.root))

        return mask_of

    ra, dec = objects["ra_deg"].to_numpy(), objects["dec_deg"].to_numpy()
    masks = [masks_of(survey) for survey in config.surveys]
    flags, fraction = image_quality(
        masks, ra, dec, products.tile_order, config.detect.radius_arcmin
    )
    mocs = {str(name): path for name, path in config.publish.flag_mocs.items()}
    return flags | moc_flags(mocs, ra, dec), fraction


def write_tables(
    config: Config,
    run: RunFolder,
    release: Release,
    catalogue: dict[str, np.ndarray],
    columns: tuple[Column, ...],
    threshold: float,
) -> None:
    """Write the catalogue in all formats, and the forced measurements."""
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
    write_forced(folder, read_table(run.forced), catalogue, config.scanned(), release)
