"""Compare nemo, the plain matched filter, the networks and the merged catalogue at equal purity.

    python benchmarks/against_nemo/compare.py RESULTS nemo.json --output compare.json

Runs in clusterscan's environment, on the folder of a finished run whose images are simulated and on
what run_nemo.py wrote. Everything found and missed is SIMULATED truth. Networks and what is fitted
are judged on the test region alone; nemo and the matched filter learn nothing, so they are also
compared with each other on the whole footprint. Prints one table for each region and purity.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pydantic import TypeAdapter

from clusterscan.config.load import load_config
from clusterscan.config.merge import MergeSettings
from clusterscan.config.searched_sky import SplitSettings
from clusterscan.config.validation import ValidateSettings
from clusterscan.core import sky
from clusterscan.flow.products import Products
from clusterscan.flow.sky_split import SkySplit
from clusterscan.formats.tables import read_table
from clusterscan.merge.forced_values import forced
from clusterscan.merge.objects import Model, features_of, merge_candidates
from clusterscan.validate.performance import rounded
from clusterscan.validate.recovery import Region, compare, completeness_at_purity, recovery

PURITIES = (0.5, 0.8, 0.9)
FEWEST = 1  # objects whose purity counts: one is enough, which favours finders of few clusters
N_BOOTSTRAP = 2000
NEMO, NEMO_FIXED = "nemo, S/N", "nemo, S/N of the reference template"
MERGED = "merged catalogue"
LABELS = {"filter": "plain filter"}


def joined(products: Products, models: list[Model], merge: MergeSettings) -> pd.DataFrame:
    """Return the objects of some networks of one survey, scored by their mean logit.

    Nothing is fitted: a survey's networks by themselves, as one would join them without a truth.
    """
    candidates = {m: products.table("detect", "/".join(m)) for m in models}
    objects = merge_candidates(candidates, radius_arcmin=merge.radius_arcmin)
    ra, dec = objects["ra_deg"].to_numpy(), objects["dec_deg"].to_numpy()
    values = [
        forced(
            products.map_values("/".join(m)), ra, dec, products.tile_order, products.map_order,
            radius_arcmin=merge.forced_radius_arcmin,
        )
        for m in models
    ]  # fmt: skip
    logits = features_of(np.stack(values, axis=1), "probability")
    known = np.isfinite(logits)
    mean = np.where(known, logits, 0).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
    return objects[["ra_deg", "dec_deg"]].assign(score=mean)[known.any(axis=1)]


def joined_parts(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """Return nemo's reports of different tiles as one: nemo searches each tile by itself."""
    tiles = [tile for part in parts for tile in part["tiles"]]
    if len(set(tiles)) < len(tiles):
        raise SystemExit("nemo's reports share tiles; give each tile once")
    return {
        "tiles": sorted(tiles),
        "cpu_s": sum(part["cpu_s"] for part in parts),
        "candidates": [row for part in parts for row in part["candidates"]],
    }


def methods_of(products: Products, nemo: dict[str, Any], merge: MergeSettings) -> dict:
    """Return every method's objects: ra_deg, dec_deg, score."""
    found = pd.DataFrame(nemo["candidates"])
    found = found[found["flags"] == 0]  # as in the catalogues that nemo's authors publish
    merged = read_table(products.root / "merged" / "objects.parquet")
    methods = {
        NEMO: found.assign(score=found["snr"]),
        NEMO_FIXED: found.assign(score=found["fixed_snr"]),
        MERGED: merged.assign(score=merged["prob"]),
    }
    by_survey: dict[str, list[Model]] = {}
    for path in sorted((products.root / "manifests" / "detect").glob("*/*")):
        survey, model = path.parts[-2:]
        table = products.table("detect", f"{survey}/{model}")
        methods[f"{survey}, {LABELS.get(model, model)}"] = table
        if model != "filter":
            by_survey.setdefault(survey, []).append((survey, model))
    for survey, models in by_survey.items():
        methods[f"{survey}, networks together"] = joined(products, models, merge)
    return methods


def measured(
    methods: dict[str, pd.DataFrame],
    truth: pd.DataFrame,
    settings: ValidateSettings,
    in_region: Region,
) -> dict[str, Any]:
    """Compute each method's completeness at each purity, with intervals and ratios to the merge."""
    recoveries = {
        name: recovery(table, truth, settings=settings, in_region=in_region)
        for name, table in methods.items()
    }
    first = MERGED if MERGED in methods else NEMO
    pairs = [(first, name) for name in methods if name != first]
    report: dict[str, Any] = {"n_truth": len(next(iter(recoveries.values())).truth_rows)}
    report["average_precision"] = {n: r.curve.average_precision for n, r in recoveries.items()}
    for purity in PURITIES:
        compared = compare(
            recoveries, pairs, purity, cell_order=settings.bootstrap_order,
            n_bootstrap=N_BOOTSTRAP, confidence=settings.confidence,
            rng=np.random.default_rng(1), min_objects=FEWEST,
        )  # fmt: skip
        at = {
            name: completeness_at_purity(r.curve, purity, min_objects=FEWEST)
            for name, r in recoveries.items()
        }
        report[f"purity_{purity}"] = compared | {"at": at}
    return report


def cpu_of(root: Path, *stages: str) -> float:
    """Return the CPU seconds of a run's jobs whose names start so."""
    names = [p for stage in stages for p in (root / "costs").glob(f"{stage}-*.json")]
    return sum(json.loads(p.read_text())["cpu_s"] for p in names)


def costs(root: Path, surveys: list[str], nemo: dict[str, Any]) -> dict[str, float]:
    """Return CPU seconds of the whole footprint: from maps to candidates, training apart."""
    rows = {"nemo: sources, two passes of clusters": float(nemo["cpu_s"])}
    for survey in surveys:
        networks = [p.name.split("-")[2] for p in (root / "costs").glob(f"train-{survey}-*.json")]
        rows[f"{survey}: images to the network's tiles"] = cpu_of(root, f"preprocess-{survey}")
        rows[f"{survey}: plain filter"] = cpu_of(
            root, f"scan-{survey}-filter", f"detect-{survey}-filter"
        )
        for name in networks:
            rows[f"{survey}: {name}, search"] = cpu_of(
                root, f"scan-{survey}-{name}", f"detect-{survey}-{name}"
            )
            rows[f"{survey}: {name}, training (once)"] = cpu_of(root, f"train-{survey}-{name}")
    return rows | {"merging all": cpu_of(root, "merge")}


def table_of(name: str, region: dict[str, Any], purity: float) -> str:
    """Return a Markdown table of one region and purity, best first."""
    part = region[f"purity_{purity}"]
    ratio = {d["second"]: d for d in part["differences"]}
    lines = [
        f"{name}, purity {purity:.0%}, {region['n_truth']} clusters (SIMULATED)", "",
        "| method | objects | clusters found | completeness (68 %) | ratio of the first to it |",
        "|---|---|---|---|---|",
    ]  # fmt: skip
    for method, row in sorted(part["at"].items(), key=lambda item: -item[1]["n_found"]):
        span = part["methods"][method]
        shown = f"{span['completeness']:.1%} ({span['low']:.1%} to {span['high']:.1%})"
        other = ratio.get(method)
        times = "–" if other is None else _times(other)
        reached = f"{row['n']} | {row['n_found']}" if row["n"] else "not reached | 0"
        lines.append(f"| {method} | {reached} | {shown} | {times} |")
    return "\n".join(lines) + "\n"


def _times(row: dict[str, Any]) -> str:
    low, high = (
        "∞" if value is None else f"{value:.2f}" for value in (row["ratio_low"], row["ratio_high"])
    )
    return f"{'∞' if row['ratio'] is None else format(row['ratio'], '.2f')} ({low} to {high})"


def main() -> None:
    """Compare, print the tables, and write all figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", type=Path, help="folder of a finished run")
    parser.add_argument(
        "nemo", type=Path, nargs="+", help="what run_nemo.py wrote; parts are joined"
    )
    parser.add_argument("--config", type=Path, default=Path("config.yaml"))
    parser.add_argument("--survey", default="act", help="the survey that nemo searched")
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()
    config = load_config([args.config])
    cut = config.sky
    products = Products(
        args.results, tuple(cut.blocks()), cut.block_order, cut.tile_order, cut.map_order
    )
    nemo = joined_parts([json.loads(path.read_text()) for path in args.nemo])
    truth = read_table(args.results / "catalogs" / "truth.parquet")
    split = SkySplit(TypeAdapter(SplitSettings).validate_python(config.sky.regions))
    searched = np.array(nemo["tiles"])

    def on_tiles(ra: np.ndarray, dec: np.ndarray) -> np.ndarray:
        return np.isin(sky.owning_cell(ra, dec, cut.tile_order), searched)

    def in_test(ra: np.ndarray, dec: np.ndarray) -> np.ndarray:
        return on_tiles(ra, dec) & (split.part_of(ra, dec) == "test")

    methods = methods_of(products, nemo, config.merge)
    untrained = [NEMO, NEMO_FIXED, f"{args.survey}, {LABELS['filter']}"]
    strict = {"m500c_msun": config.validate_.completeness_cut["m500c_msun"]}
    settings = {
        "as the run judges": config.validate_,
        "real only as a match of the clusters that count": config.validate_.model_copy(
            update={"purity_cut": strict}
        ),
    }
    report: dict[str, Any] = {
        "simulated": True,
        "costs_cpu_s": costs(args.results, sorted(config.surveys), nemo),
    }
    for judged, how in settings.items():
        report[judged] = {
            "test region": measured(methods, truth, how, in_test),
            "footprint, nothing trained": measured(
                {name: methods[name] for name in untrained}, truth, how, on_tiles
            ),
        }
        for name, region in rounded(report[judged]).items():
            for purity in PURITIES:
                print(f"{judged}: {table_of(name, region, purity)}")
    args.output.write_text(json.dumps(rounded(report), indent=1, sort_keys=True) + "\n")
    print(json.dumps(report["costs_cpu_s"], indent=1))


if __name__ == "__main__":
    main()
