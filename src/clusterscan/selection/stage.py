"""Stage selection: completeness, null skies and random positions, apart from all else.

`probe_block` puts clusters into a block's tiles, or makes the tiles into null skies, and scans them
with the run's networks. `measure_selection` brings all probes together. Shards, records and
manifests of probes lie below the run's folder ``selection`` and never mix with the run's own.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from clusterscan.config.validation import INJECTED
from clusterscan.core import sky
from clusterscan.core.atomic import write_json
from clusterscan.core.records import records_of
from clusterscan.flow.blocks import BlockJob, TileOutcome, run_block
from clusterscan.flow.job import Job
from clusterscan.flow.products import Products
from clusterscan.flow.stage_settings import ProbeStage, SelectionStage
from clusterscan.formats.tables import read_table, write_table
from clusterscan.formats.tile_image import read_tile
from clusterscan.measure.reliability import sample_thresholds
from clusterscan.merge.objects import Model
from clusterscan.scan.scanners import model_identity, open_scanner
from clusterscan.selection.completeness import Expected, expected_of, write_mass_map
from clusterscan.selection.probe import changed_tile, injected_in, scanned_maps
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


def probe_block(job: Job[ProbeStage], tiles: Sequence[Path]) -> None:
    """Make the probe that the job's key names on the block's probed tiles, and scan it.

    Parameters
    ----------
    job : Job
        The settings, and where to write.
    tiles : sequence of Path
        The block's manifests of `preprocess`, by survey in order.
    """
    settings = job.settings
    block = replace(
        BlockJob.of(job, "probe", "maps", ".parquet"), root=job.folder.selection_run.root
    )
    surveys = sorted(settings.surveys)
    records = {
        survey: records_of([manifest]) for survey, manifest in zip(surveys, tiles, strict=True)
    }
    cards = {key: job.folder.model(*key.split("/")) for key in settings.how}
    scanners = {key: open_scanner(cards[key], how) for key, how in settings.how.items()}
    identities = [model_identity(card) for card in cards.values()]

    def probe(number: int, shard: Path) -> TileOutcome:
        scratch = shard.with_name(f"{shard.stem}.raw.fits")
        shard.parent.mkdir(parents=True, exist_ok=True)
        changed = {}
        for survey in surveys:
            record = records[survey].get(number)
            if record is not None and record.has_shard:
                image = read_tile(record.checked_shard(job.root))
                changed[survey] = changed_tile(
                    job.key, survey, number, block.tile_order, image, settings, scratch
                )
        if not changed:
            return TileOutcome("no_coverage", "no survey has an image of the tile")
        maps = scanned_maps(changed, scanners, number, block.tile_order, settings.map_order)
        write_table(shard, maps)
        return TileOutcome()

    wanted = [t for t in settings.tiles if any(t in found for found in records.values())]
    inputs = {
        tile: [identities, [records[s][tile].identity for s in surveys if tile in records[s]]]
        for tile in wanted
    }
    run_block(block, inputs, probe)


def measure_selection(job: Job[SelectionStage]) -> None:
    """Write the completeness, the null skies and the random positions of a run."""
    stage, settings = job.settings, job.settings.selection
    products, folder = Products.of(job), job.output.parent
    models = list(stage.models)
    record = json.loads(job.folder.combiners.read_text(encoding="utf-8"))["objects"]
    objects = read_table(job.folder.objects)
    for name in OF_INJECTIONS:  # files of earlier settings must not be published
        (folder / name).unlink(missing_ok=True)
    report: dict[str, Any] = {"injection": None, "nulls": {}, "purity": settings.purity}
    steps = len(stage.probes) + 1
    for done, probe in enumerate(stage.probes):
        maps = maps_of(products, probe, stage.probes[probe], models)
        if probe == INJECTED and set(maps) == set(models):
            report["injection"] = injection(products, stage, maps, record, objects, folder)
        elif probe != INJECTED and maps:
            report["nulls"][probe] = null_sky(products, stage, maps, record, objects)
        job.progress(done + 1, steps, probe)
    expected = expected_of(report["injection"] or {}, settings.grid)
    report["randoms"] = randoms(products, stage, objects, expected)
    write_json(job.output, rounded(report))


def maps_of(products: Products, probe: str, tiles: Sequence[int], models: Sequence[Model]) -> Maps:
    """Read every network's maps of a probe, by model and tile.

    Only the manifests of blocks that hold tiles of the probe are read: the folder may hold more,
    of a larger footprint or of other settings.
    """
    run, order = products.folder.selection_run, products.block_order
    blocks = sorted({int(sky.ancestor(tile, products.tile_order, order)) for tile in tiles})
    records = records_of([run.manifest("probe", probe, f"o{order}-{block}") for block in blocks])
    tables = {t: read_table(r.checked_shard(run.root)) for t, r in records.items() if r.has_shard}
    return {
        m: {t: table["/".join(m)].to_numpy() for t, table in tables.items()}
        for m in models
        if all("/".join(m) in table for table in tables.values()) and tables
    }


def searched_sky(
    products: Products, models: Sequence[Model], tiles: Sequence[int]
) -> dict[int, np.ndarray]:
    """Return True for the map pixels of each tile that some network of the run searched."""
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
    stage: SelectionStage,
    maps: Maps,
    record: dict[str, Any],
    objects: pd.DataFrame,
    folder: Path,
) -> dict[str, Any]:
    """Measure which injected clusters are found; write their list and the mass limits."""
    settings, orders = stage.selection, (products.tile_order, products.map_order)
    candidates = {m: candidates_of(maps[m], *orders, stage.detect) for m in maps}
    seen = objects_of(candidates, {m: maps[m].get for m in maps}, record, *orders, stage.merge)
    threshold = float(sample_thresholds(objects["prob"].to_numpy(), [settings.purity])[0])
    if not np.isfinite(threshold):
        return {"threshold": None, "reason": f"no sample has an expected purity {settings.purity}"}
    clusters = recovered(
        injected_in(stage.probes[INJECTED], products.tile_order, settings.grid, stage.seed),
        seen,
        objects,
        threshold=threshold,
        radius_arcmin=stage.radius_arcmin,
    )
    write_table(folder / "injected.parquet", clusters.assign(simulated=True))
    report, tiles = injection_report(
        clusters,
        threshold=threshold,
        settings=settings,
        radius_arcmin=stage.radius_arcmin,
        confidence=stage.confidence,
        tile_order=products.tile_order,
        seed=stage.seed,
        footprint=stage.footprint,
    )
    write_table(folder / "mass_limits.parquet", tiles)
    if len(tiles):
        write_mass_map(
            folder / "mass_limits.fits",
            tiles,
            products.tile_order,
            purity=settings.purity,
            seed=stage.seed,
        )
    return report


def null_sky(
    products: Products,
    stage: SelectionStage,
    maps: Maps,
    record: dict[str, Any],
    objects: pd.DataFrame,
) -> dict[str, Any]:
    """Compare a null sky's candidates with the real ones of the same tiles."""
    orders = products.tile_order, products.map_order
    tiles = sorted({t for found in maps.values() for t in found})
    candidates = {m: candidates_of(maps[m], *orders, stage.detect) for m in maps}
    null = {"/".join(m): alone(table, m, record) for m, table in candidates.items()}
    real = {
        "/".join(m): alone(
            on_tiles(products.table("detect", "/".join(m)), tiles, orders[0]), m, record
        )
        for m in maps
    }
    if set(maps) == set(stage.models):  # the combination needs them all
        seen = objects_of(candidates, {m: maps[m].get for m in maps}, record, *orders, stage.merge)
        null["networks"] = seen["prob"].to_numpy()
        real["networks"] = on_tiles(objects, tiles, orders[0])["prob"].to_numpy()
    some = np.zeros((len(tiles), 4 ** (orders[1] - orders[0])), dtype=bool)
    for found in maps.values():
        some |= np.isfinite(np.stack([found[t] for t in tiles]))
    return null_report(null, real, float(some.sum() * sky.cell_area_deg2(orders[1])))


def on_tiles(table: pd.DataFrame, tiles: list[int], tile_order: int) -> pd.DataFrame:
    """Return the rows whose positions tiles own."""
    own = sky.owning_cell(table["ra_deg"].to_numpy(), table["dec_deg"].to_numpy(), tile_order)
    return table[np.isin(own, tiles)]


def randoms(
    products: Products,
    stage: SelectionStage,
    objects: pd.DataFrame,
    expected: Expected | None,
) -> dict[str, Any]:
    """Write the random positions; test how they and the sample follow the expected density."""
    settings, orders = stage.selection, (products.tile_order, products.map_order)
    searched = searched_sky(products, stage.models, stage.footprint)
    threshold = float(sample_thresholds(objects["prob"].to_numpy(), [settings.purity])[0])
    sample = objects[objects["prob"].to_numpy() >= threshold]
    count = max(settings.min_randoms, settings.randoms_per_object * len(objects))
    count = min(count, settings.max_randoms)
    drawn = random_positions(searched, count, *orders, stage.seed, expected)
    write_table(products.folder.randoms, drawn)
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
