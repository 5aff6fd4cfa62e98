"""Stage validate: completeness and purity of networks and plain filters on the test region."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import pandas as pd

from clusterscan.config.model import FILTER
from clusterscan.core import sky
from clusterscan.core.atomic import write_json
from clusterscan.flow.job import Job
from clusterscan.flow.products import Products
from clusterscan.flow.sky_split import SkySplit
from clusterscan.flow.stage_settings import Model, ValidateStage
from clusterscan.formats.tables import read_table
from clusterscan.formats.tile_image import read_tile
from clusterscan.known.unite import entries_of
from clusterscan.merge.forced_values import forced
from clusterscan.validate.performance import rounded, validate
from clusterscan.validate.positions import pixel_noise, position_report
from clusterscan.validate.probability import probability_report
from clusterscan.validate.recovery import recovery

NETWORKS, FILTERS = "networks", "filters"
MOST_NOISE_TILES = 100


def validate_run(job: Job[ValidateStage]) -> None:
    """Write the run's completeness, purity, calibration and positions on the test region."""
    stage, settings, models = job.settings, job.settings.validate_, job.settings.models
    products = Products.of(job)
    split = SkySplit(stage.regions)
    known = read_table(job.folder.known)
    truth = pd.concat([products.catalogue(n) for n in stage.truth or stage.known])

    def in_test(ra_deg: np.ndarray, dec_deg: np.ndarray) -> np.ndarray:
        # Truth on sky that was not searched, because of masks or missing images, is no loss of the
        # networks.
        return (split.part_of(ra_deg, dec_deg) == "test") & searched(
            products, models, ra_deg, dec_deg
        )

    truth = truth.reset_index(drop=True)
    methods = methods_of(products, models)
    report = validate(
        methods,
        truth,
        settings=settings,
        in_region=in_test,
        known={name: entries_of(known, name) for name in stage.known},
        comparisons=comparisons_of(models),
        seed=stage.seed,
    )
    record = json.loads(job.folder.combiners.read_text(encoding="utf-8"))["objects"]
    report["probability"] = rounded(
        probability_report(
            methods[NETWORKS],
            truth,
            settings=settings,
            in_region=in_test,
            purities=stage.purities,
            record=record,
        )
    )
    networks = recovery(methods[NETWORKS], truth, settings=settings, in_region=in_test)
    report["positions"] = rounded(
        position_report(
            networks,
            methods[NETWORKS],
            truth,
            threshold=report["methods"][NETWORKS]["reference"]["threshold"],
            radius_arcmin=settings.radius_arcmin,
            tile_order=products.tile_order,
            noise=noise_of(products, models, networks.ra_deg, networks.dec_deg),
            peaks={f"{s}/{m}": methods[f"{s}/{m}"] for s, m in models if m != FILTER},
        )
    )
    write_json(job.output, report)


def methods_of(products: Products, models: Sequence[Model]) -> dict[str, pd.DataFrame]:
    """Read every method's objects with their scores: merged ones, then each model alone."""
    methods = {}
    merged = {NETWORKS: products.folder.objects, FILTERS: products.folder.filter_objects}
    for name, path in merged.items():
        if name == NETWORKS or any(model == FILTER for _, model in models):
            table = read_table(path)
            methods[name] = table.assign(score=table["prob"])
    for survey, model in models:
        methods[f"{survey}/{model}"] = products.table("detect", f"{survey}/{model}")
    return methods


def comparisons_of(models: Sequence[Model]) -> list[tuple[str, str]]:
    """Return the pairs to compare: networks with filters, merged and survey by survey."""
    filtered = {survey for survey, model in models if model == FILTER}
    pairs = [(NETWORKS, FILTERS)] if filtered else []
    pairs += [
        (f"{survey}/{model}", f"{survey}/{FILTER}")
        for survey, model in models
        if survey in filtered and model != FILTER
    ]
    return pairs


def noise_of(
    products: Products,
    models: Sequence[Model],
    ra_deg: np.ndarray,
    dec_deg: np.ndarray,
) -> dict[str, dict[int, float]]:
    """Measure the pixel noise of each survey's first band on the tiles that own positions.

    At most a hundred tiles are read, evenly chosen: reading them all would take hours.
    """
    noise: dict[str, dict[int, float]] = {}
    tiles = np.unique(sky.owning_cell(ra_deg, dec_deg, products.tile_order))
    chosen = tiles[np.unique(np.linspace(0, max(tiles.size - 1, 0), MOST_NOISE_TILES).astype(int))]
    for survey in sorted({survey for survey, _ in models}):
        records = products.records("preprocess", survey)
        for tile in chosen.tolist() if tiles.size else []:
            record = records.get(tile)
            if record is not None and record.has_shard:
                image = read_tile(record.checked_shard(products.root))
                level = pixel_noise(image.image[0], image.covered)
                noise.setdefault(survey, {})[tile] = level
    return noise


def searched(
    products: Products, models: Sequence[Model], ra_deg: np.ndarray, dec_deg: np.ndarray
) -> np.ndarray:
    """Return True for searched positions, where some model's map has a value."""
    found = np.zeros(len(ra_deg), dtype=bool)
    for survey, model in models:
        values = forced(
            products.map_values(f"{survey}/{model}"),
            ra_deg,
            dec_deg,
            products.tile_order,
            products.map_order,
        )
        # One network with a value is enough: a cluster seen by one survey alone can still be found,
        # so it counts for the completeness.
        found |= np.isfinite(values)
    return found
