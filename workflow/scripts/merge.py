"""Stage merge: candidates of all models and the known catalogues to one list of objects."""

from __future__ import annotations

import argparse

import numpy as np
import pandas as pd
from pydantic import TypeAdapter

from clusterscan.catalogs.unite import match_known, unite_known
from clusterscan.config.merge import MergeSettings
from clusterscan.config.model import FILTER
from clusterscan.config.sample import SplitSettings
from clusterscan.merge.forced import forced
from clusterscan.merge.objects import Model, merge_candidates, score_objects
from clusterscan.products import Products
from clusterscan.progress import Progress
from clusterscan.provenance.atomic import write_json
from clusterscan.provenance.tables import write_table
from clusterscan.sample.split import SkySplit
from clusterscan.stage import arguments, run_stage


def united_objects(
    products: Products,
    models: list[Model],
    known: pd.DataFrame,
    split: SkySplit,
    settings: MergeSettings,
    scale: str,
):
    """Return one kind's objects (networks' or filters') with scores and known matches."""
    candidates = {m: products.table("detect", "/".join(m)) for m in models}
    objects = merge_candidates(candidates, radius_arcmin=settings.radius_arcmin)
    ra, dec = objects["ra_deg"].to_numpy(), objects["dec_deg"].to_numpy()
    values = {
        model: forced(
            products.map_values("/".join(model)),
            ra,
            dec,
            products.tile_order,
            products.map_order,
            radius_arcmin=settings.forced_radius_arcmin,
        )
        for model in models
    }
    matches = match_known(objects, known, settings.known_radius_arcmin)
    part = split.part_of(ra, dec) if len(objects) else np.empty(0, dtype=str)
    scored, combiner = score_objects(
        objects,
        values,
        matches["known_row"].to_numpy() >= 0,
        part == "validation",
        settings=settings,
        scale=scale,
    )
    scored["split"] = part
    return pd.concat([scored, matches], axis=1), combiner


def main(args: argparse.Namespace, progress: Progress) -> None:
    """Merge the run named by the arguments."""
    stage = args.settings["stage"]
    products = Products.of(args)
    settings = MergeSettings(**stage["merge"])
    split = SkySplit(TypeAdapter(SplitSettings).validate_python(stage["regions"]))
    known = unite_known(
        {name: products.catalogue(name) for name in stage["known"]},
        settings.unite_radius_arcmin,
        duplicate_radius_arcmin=settings.duplicate_radius_arcmin,
        trust=stage["known"],
    )
    write_table(args.output.parent / "known.parquet", known)
    models = [tuple(model) for model in stage["models"]]
    combiners = {}
    kinds = {
        "filters": [m for m in models if m[1] == FILTER],
        "objects": [m for m in models if m[1] != FILTER],
    }
    for done, (kind, members) in enumerate(kinds.items()):
        if not members:
            continue
        scale = "snr" if kind == "filters" else "probability"
        objects, combiner = united_objects(products, members, known, split, settings, scale)
        combiners[kind] = combiner.to_dict()
        if kind == "objects":
            write_json(args.output.parent / "combiners.json", combiners)
        write_table(args.output.parent / f"{kind}.parquet", objects)
        progress(done + 1, len(kinds), kind)


if __name__ == "__main__":
    run_stage(arguments("merge", __doc__), main)
