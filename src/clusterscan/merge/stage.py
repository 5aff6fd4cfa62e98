"""Stage merge: candidates of all models and the known catalogues to one list of objects."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd

from clusterscan.catalogs.matching import match_by_score, match_known, passes
from clusterscan.config.merge import MergeSettings
from clusterscan.config.model import FILTER
from clusterscan.core.atomic import write_json
from clusterscan.flow.job import Job
from clusterscan.flow.products import Products
from clusterscan.flow.sky_split import SkySplit
from clusterscan.flow.stage_settings import MergeStage, RealObjects
from clusterscan.formats.tables import read_table, write_table
from clusterscan.merge.calibrate import IsReal, training_rate
from clusterscan.merge.forced_values import KNOWN, forced, measure_list
from clusterscan.merge.objects import Model, merge_candidates, model_tag, score_objects


def merge_run(job: Job[MergeStage]) -> None:
    """Write the run's objects and the forced measurements."""
    stage, folder = job.settings, job.folder
    products, settings = Products.of(job), stage.merge
    split = SkySplit(stage.regions)
    known = read_table(folder.known)
    kinds = {
        "filters": [m for m in stage.models if m[1] == FILTER],
        "objects": [m for m in stage.models if m[1] != FILTER],
    }
    records = {}
    for done, (kind, members) in enumerate(kinds.items()):
        if not members:
            continue
        objects, records[kind] = united_objects(products, members, known, split, stage)
        if kind == "objects":
            write_json(folder.combiners, records)
            lists = {KNOWN: known} | {name: products.catalogue(name) for name in stage.lists}
            measured = measured_lists(
                products, members, lists, objects, records[kind], split, settings
            )
            write_table(folder.forced, measured)
        write_table(folder.objects if kind == "objects" else folder.filter_objects, objects)
        job.progress(done + 1, len(kinds), kind)


def united_objects(
    products: Products,
    models: list[Model],
    known: pd.DataFrame,
    split: SkySplit,
    stage: MergeStage,
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Merge the candidates of networks or filters, score the objects, match known clusters."""
    settings = stage.merge
    candidates = {m: products.table("detect", "/".join(m)) for m in models}
    objects = merge_candidates(candidates, radius_arcmin=settings.radius_arcmin)
    ra, dec = objects["ra_deg"].to_numpy(), objects["dec_deg"].to_numpy()
    values = forced_values(products, models, ra, dec, settings)
    matches = match_known(objects, known, settings.known_radius_arcmin)
    part = split.part_of(ra, dec) if len(objects) else np.empty(0, dtype=str)
    filters = all(model == FILTER for _, model in models)
    scored, record = score_objects(
        objects,
        values,
        is_real=reality(products, objects, stage.reference),
        is_listed=matches["known_row"].to_numpy() >= 0,
        in_validation=part == "validation",
        settings=settings,
        scale="snr" if filters else "probability",
        rates={} if filters else training_rates(products, models),
        seed=stage.seed,
    )
    scored["split"] = part
    return pd.concat([scored, matches], axis=1), record


def forced_values(
    products: Products,
    models: list[Model],
    ra_deg: np.ndarray,
    dec_deg: np.ndarray,
    settings: MergeSettings,
) -> dict[Model, np.ndarray]:
    """Read every model's map at positions."""
    return {
        model: forced(
            products.map_values("/".join(model)),
            ra_deg,
            dec_deg,
            products.tile_order,
            products.map_order,
            radius_arcmin=settings.forced_radius_arcmin,
        )
        for model in models
    }


def measured_lists(
    products: Products,
    models: list[Model],
    lists: dict[str, pd.DataFrame],
    objects: pd.DataFrame,
    record: dict[str, Any],
    split: SkySplit,
    settings: MergeSettings,
) -> pd.DataFrame:
    """Measure every network at every listed position, list after list."""
    tables = []
    for name, table in lists.items():
        ra, dec = (table[c].to_numpy(dtype=np.float64) for c in ("ra_deg", "dec_deg"))
        part = split.part_of(ra, dec) if len(table) else np.empty(0, dtype=str)
        values = forced_values(products, models, ra, dec, settings)
        tables.append(
            measure_list(name, table, values, objects, record, part, settings.known_radius_arcmin)
        )
    return pd.concat(tables, ignore_index=True)


def reality(products: Products, objects: pd.DataFrame, reference: RealObjects) -> IsReal:
    """Return the function that judges which objects are real, as the validation does."""
    listed = pd.concat([products.catalogue(name) for name in reference.catalogues])
    real = listed[passes(listed, reference.cut)].reset_index(drop=True)

    def is_real(score: np.ndarray) -> np.ndarray:
        ranked = objects[["ra_deg", "dec_deg"]].assign(score=score)
        return match_by_score(ranked, real, reference.radius_arcmin)[0] >= 0

    return is_real


def training_rates(products: Products, models: list[Model]) -> dict[str, float]:
    """Return the share of positives in each network's training, from the model cards."""
    rates = {}
    for survey, model in models:
        card = products.folder.model(survey, model)
        rates[model_tag((survey, model))] = training_rate(json.loads(card.read_text("utf-8")))
    return rates
