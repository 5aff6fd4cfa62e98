"""Stage selection, second part: completeness, null skies and random positions from the probes."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from clusterscan.config.merge import MergeSettings
from clusterscan.config.scan import DetectSettings
from clusterscan.config.validation import INJECTED, SelectionSettings
from clusterscan.core import sky
from clusterscan.core.atomic import write_json
from clusterscan.core.progress import Progress
from clusterscan.core.records import records_of
from clusterscan.flow.job import arguments, run_stage
from clusterscan.flow.paths import SELECTION
from clusterscan.flow.products import Products
from clusterscan.formats.tables import read_table, write_table
from clusterscan.measure.reliability import sample_thresholds
from clusterscan.merge.objects import Model
from clusterscan.selection.completeness import Expected, expected_of, write_mass_map
from clusterscan.selection.probe import injected_in
from clusterscan.selection.probe_report import (
    alone,
    candidates_of,
    injection_report,
    null_report,
    objects_of,
    recovered,
)
from clusterscan.selection.randoms import follows_coverage, random_positions, tile_weights
from clusterscan.validate.performance import rounded

Maps = dict[Model, dict[int, np.ndarray]]

OF_INJECTIONS = ("injected.parquet", "mass_limits.parquet", "mass_limits.fits")


def maps_of(products: Products, probe: str, models: list[Model]) -> Maps:
    """Return every scanned network's maps of a probe, by tile."""
    root = products.root / SELECTION
    folder = root / "manifests" / "probe" / probe
    records = records_of([p for p in sorted(folder.glob(f"o{products.block_order}-*.json"))])
    tables = {t: read_table(root / r.path) for t, r in records.items() if r.has_shard}
    return {
        m: {t: table["/".join(m)].to_numpy() for t, table in tables.items()}
        for m in models
        if all("/".join(m) in table for table in tables.values()) and tables
    }


def searched_sky(
    products: Products, models: list[Model], tiles: list[int]
) -> dict[int, np.ndarray]:
    """Return which map pixels of each tile some network of the run searched."""
    searched: dict[int, np.ndarray] = {}
    for model in models:
        values = products.map_values("/".join(model))
        for tile in tiles:
            found = values(tile)
            if found is not None:
                searched[tile] = searched.get(tile, False) | np.isfinite(found)
    return searched


def injection(
    products: Products,
    stage: dict[str, Any],
    maps: Maps,
    record: dict[str, Any],
    objects: pd.DataFrame,
    settings: SelectionSettings,
    folder: Path,
) -> dict[str, Any]:
    """Return what was found of the injected clusters, and write the list of them."""
    orders = products.tile_order, products.map_order
    candidates = {
        m: candidates_of(maps[m], *orders, DetectSettings(**stage["detect"])) for m in maps
    }
    merge = MergeSettings(**stage["merge"])
    seen = objects_of(candidates, {m: maps[m].get for m in maps}, record, *orders, merge)
    threshold = float(sample_thresholds(objects["prob"].to_numpy(), [settings.purity])[0])
    if not np.isfinite(threshold):
        return {"threshold": None, "reason": f"no sample has an expected purity {settings.purity}"}
    clusters = recovered(
        injected_in(stage["probes"][INJECTED], products.tile_order, settings.grid, stage["seed"]),
        seen,
        objects,
        threshold=threshold,
        radius_arcmin=stage["radius_arcmin"],
    )
    write_table(folder / "injected.parquet", clusters.assign(simulated=True))
    report, tiles = injection_report(
        clusters,
        threshold=threshold,
        settings=settings,
        radius_arcmin=stage["radius_arcmin"],
        confidence=stage["confidence"],
        tile_order=products.tile_order,
        seed=stage["seed"],
        footprint=stage["footprint"],
    )
    write_table(folder / "mass_limits.parquet", tiles)
    if len(tiles):
        write_mass_map(
            folder / "mass_limits.fits",
            tiles,
            products.tile_order,
            purity=settings.purity,
            seed=stage["seed"],
        )
    return report


def null_sky(
    products: Products,
    stage: dict[str, Any],
    maps: Maps,
    record: dict[str, Any],
    objects: pd.DataFrame,
    models: list[Model],
) -> dict[str, Any]:
    """Return a null sky's candidates beside the real ones of the same tiles."""
    orders = products.tile_order, products.map_order
    detect = DetectSettings(**stage["detect"])
    tiles = sorted({t for found in maps.values() for t in found})
    candidates = {m: candidates_of(maps[m], *orders, detect) for m in maps}
    null = {"/".join(m): alone(table, m, record) for m, table in candidates.items()}
    real = {
        "/".join(m): alone(
            on_tiles(products.table("detect", "/".join(m)), tiles, orders[0]), m, record
        )
        for m in maps
    }
    if set(maps) == set(models):  # the combination needs them all
        merge = MergeSettings(**stage["merge"])
        seen = objects_of(candidates, {m: maps[m].get for m in maps}, record, *orders, merge)
        null["networks"] = seen["prob"].to_numpy()
        real["networks"] = on_tiles(objects, tiles, orders[0])["prob"].to_numpy()
    some = np.zeros((len(tiles), 4 ** (orders[1] - orders[0])), dtype=bool)
    for found in maps.values():
        some |= np.isfinite(np.stack([found[t] for t in tiles]))
    return null_report(null, real, float(some.sum() * sky.cell_area_deg2(orders[1])))


def on_tiles(table: pd.DataFrame, tiles: list[int], tile_order: int) -> pd.DataFrame:
    """Return the rows that tiles own."""
    own = sky.owning_cell(table["ra_deg"].to_numpy(), table["dec_deg"].to_numpy(), tile_order)
    return table[np.isin(own, tiles)]


def randoms(
    products: Products,
    stage: dict[str, Any],
    models: list[Model],
    objects: pd.DataFrame,
    settings: SelectionSettings,
    folder: Path,
    expected: Expected | None,
) -> dict[str, Any]:
    """Write the random positions; return how they, and the sample, follow what is expected."""
    orders = products.tile_order, products.map_order
    searched = searched_sky(products, models, stage["footprint"])
    threshold = float(sample_thresholds(objects["prob"].to_numpy(), [settings.purity])[0])
    sample = objects[objects["prob"].to_numpy() >= threshold]
    count = max(settings.min_randoms, settings.randoms_per_object * len(objects))
    count = min(count, settings.max_randoms)
    drawn = random_positions(searched, count, *orders, stage["seed"], expected)
    write_table(folder / "randoms.parquet", drawn)
    cell = sky.cell_area_deg2(orders[1])

    def test(table: pd.DataFrame, order: int) -> dict[str, float | int]:
        ra, dec = table["ra_deg"].to_numpy(), table["dec_deg"].to_numpy()
        return follows_coverage(ra, dec, searched, *orders, order, expected)

    return {
        "n": len(drawn),
        "n_objects": len(objects),
        "n_sample": len(sample),
        "follows": "selection function" if expected else "mask",
        "n_expected": cell * sum(tile_weights(searched, expected).values()) if expected else None,
        "threshold": threshold,
        "area_deg2": float(sum(int(s.sum()) for s in searched.values()) * cell),
        "randoms": test(drawn, orders[0] + 2),
        "sample": test(sample, orders[0]),
    }


def main(args: argparse.Namespace, progress: Progress) -> None:
    """Bring the probes of the run named by the arguments together."""
    stage = args.settings["stage"]
    products = Products.of(args)
    settings = SelectionSettings(**stage["selection"])
    models = [(survey, model) for survey, model in stage["models"]]
    merged = args.root / "merged"
    record = json.loads((merged / "combiners.json").read_text(encoding="utf-8"))["objects"]
    objects = read_table(merged / "objects.parquet")
    for name in OF_INJECTIONS:  # of other settings: `publish` would hand them on
        (args.output.parent / name).unlink(missing_ok=True)
    report: dict[str, Any] = {"injection": None, "nulls": {}, "purity": settings.purity}
    steps = len(stage["probes"]) + 1
    for done, probe in enumerate(stage["probes"]):
        maps = maps_of(products, probe, models)
        if probe == INJECTED and set(maps) == set(models):
            report["injection"] = injection(
                products, stage, maps, record, objects, settings, args.output.parent
            )
        elif probe != INJECTED and maps:
            report["nulls"][probe] = null_sky(products, stage, maps, record, objects, models)
        progress(done + 1, steps, probe)
    expected = expected_of(report["injection"] or {}, settings.grid)
    report["randoms"] = randoms(
        products, stage, models, objects, settings, args.output.parent, expected
    )
    write_json(args.output, rounded(report))


if __name__ == "__main__":
    run_stage(arguments("selection", __doc__), main)
