"""summary.json: the figures of a run for machines, and its headline as text."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from clusterscan.publish.release import Release
from clusterscan.publish.report_inputs import (
    AtPurity,
    Binned,
    Finder,
    ReportInputs,
    Scores,
    read_scores,
)


def read_costs(root: Path) -> list[dict[str, Any]]:
    """Read the costs of all jobs (``costs/*.json``), sorted by stage, key and block."""
    costs = []
    for path in sorted((Path(root) / "costs").glob("*.json")):
        try:
            costs.append(json.loads(path.read_text(encoding="utf-8")))
        except ValueError:
            continue  # a job was killed while writing; its next run replaces the file
    return costs


def read_problems(root: Path) -> list[dict[str, Any]]:
    """Read the failed and partial tiles from the block manifests of the run."""
    problems = []
    for path in sorted((Path(root) / "manifests").rglob("*.json")):
        try:
            manifest = json.loads(path.read_text(encoding="utf-8"))
            problems += [
                {
                    "stage": manifest["stage"],
                    "key": manifest["key"],
                    **{k: record.get(k, "") for k in ("tile", "status", "reason")},
                }
                for record in manifest["records"]
                if record["status"] in ("failed", "partial")
            ]
        except (ValueError, KeyError, TypeError):
            continue  # `clusterscan verify` reports damaged manifests
    return problems


def stage_costs(costs: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Return for each stage the number of jobs, summed wall and CPU seconds, and peak memory.

    Jobs run side by side, so their wall seconds add up to more than the elapsed time.
    """
    stages: dict[str, dict[str, float]] = {}
    for cost in costs:
        stage = stages.setdefault(
            str(cost.get("stage", "")), {"jobs": 0, "wall_s": 0.0, "cpu_s": 0.0, "peak_mib": 0.0}
        )
        stage["jobs"] += 1
        stage["wall_s"] = round(stage["wall_s"] + float(cost.get("wall_s", 0)), 2)
        stage["cpu_s"] = round(stage["cpu_s"] + float(cost.get("cpu_s", 0)), 2)
        # Times of jobs add up, memory does not: the largest job decides what machine is needed.
        stage["peak_mib"] = max(stage["peak_mib"], float(cost.get("peak_mib", 0)))
    return stages


def build_summary(inputs: ReportInputs) -> dict[str, Any]:
    """Return the content of summary.json (JSON-able, without NaN)."""
    release, catalogue, validation = inputs.release, inputs.catalogue, inputs.validation
    scores = read_scores(validation)
    above = np.asarray(catalogue["prob"]) >= scores.threshold
    new = np.asarray(catalogue["class"]) == "new"
    known = None if inputs.known is None else len(inputs.in_footprint(inputs.known))
    counts: dict[str, Any] = {
        "objects": int(above.size),
        "above_threshold": int(above.sum()),
        "new_above_threshold": int((above & new).sum()),
        "known_above_threshold": int((above & ~new).sum()),
        "known_clusters_in_footprint": known,
        "tiles": len(inputs.tiles),
        "problem_tiles": len(inputs.problems),
    }
    finders = {f.name: _finder(f) for f in scores.finders}
    combined, baseline = scores.combined, scores.best_filter
    summary = {
        "title": inputs.title,
        "config": release.config_name,
        "version": release.version,
        "seed": release.seed,
        "simulated": release.simulated,
        "area_deg2": round(release.area_deg2, 6),
        "threshold": _rounded(scores.threshold),
        "reference_purity": scores.reference_purity,
        "region": scores.region,
        "counts": counts,
        "models": [f"{survey}/{model}" for survey, model in inputs.models],
        "completeness_and_purity": finders,
        "probability": _probability(validation.get("probability") or {}),
        "selection": _selection(inputs.selection),
        "positions": {key: (validation.get("positions") or {}).get(key) for key in ("fit", "by")},
        "networks": _at_reference(combined, scores),
        "filter_baseline": _at_reference(baseline, scores),
        "stages": stage_costs(inputs.costs),
        "versions": dict(sorted(inputs.versions.items())),
    }
    return summary | {"headline": _headline(release, scores, counts)}


def _probability(measured: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the test of the probability on the test region, without the curves."""
    record = measured.get("record") or {}
    if not measured.get("n"):
        return None
    plain = ("n", "n_real", "mean_prob", "ece", "ece_floor", "brier", "brier_base_rate")
    return {
        **{key: measured[key] for key in plain},
        "combination": record.get("combination"),
        "calibration": record.get("method"),
        "combinations": record.get("combinations", []),
        "calibrations": record.get("methods", []),
        "listed": {key: (measured.get("listed") or {}).get(key) for key in plain},
        "purity_above": measured["purity"],
        "samples": measured["samples"],
    }


def _selection(measured: Mapping[str, Any]) -> dict[str, Any]:
    """Return limits from injected (simulated) clusters, null skies and random positions."""
    injection = measured.get("injection") or {}
    plain = ("threshold", "n_injected", "n", "n_found", "chance_rate", "limits", "tiles", "offsets")
    return {
        "injection_simulated": {k: injection.get(k) for k in plain} if injection else None,
        "nulls": measured.get("nulls") or {},
        "randoms": measured.get("randoms"),
    }


def _finder(finder: Finder) -> dict[str, Any]:
    return {
        "label": finder.label,
        "kind": finder.kind,
        "at_purity": {f"{a.purity:.2f}": _at(a) for a in finder.at_purity},
        "threshold": _rounded(finder.threshold),
        "completeness_in_bins": {b.column: _bins(b) for b in finder.completeness_bins},
        "purity_in_bins": {b.column: _bins(b) for b in finder.purity_bins},
    }


def _bins(binned: Binned) -> list[dict[str, Any]]:
    """Return the fraction in each bin at the finder's threshold; None in empty bins."""
    return [
        {
            "from": _rounded(low),
            "to": _rounded(high),
            "n": f.n,
            **{key: _rounded(getattr(f, key)) for key in ("value", "low", "high")},
        }
        for (low, high), f in zip(pairwise(binned.edges), binned.fractions, strict=False)
    ]


def _at_reference(finder: Finder | None, scores: Scores) -> dict[str, Any] | None:
    found = finder.at(scores.reference_purity) if finder else None
    if finder is None or found is None:
        return None
    return {"finder": finder.name, "purity": found.purity, **_at(found)}


def _at(found: AtPurity) -> dict[str, Any]:
    return {
        "threshold": _rounded(found.threshold),
        "completeness": _rounded(found.completeness.value),
        "completeness_low": _rounded(found.completeness.low),
        "completeness_high": _rounded(found.completeness.high),
        "n_objects": found.n_objects,
    }


def _rounded(value: float) -> float | None:
    return round(float(value), 6) if np.isfinite(value) else None


def _headline(release: Release, scores: Scores, counts: Mapping[str, Any]) -> list[str]:
    kind = "SIMULATED sky" if release.simulated else "real (observed) sky"
    lines = [
        f"{release.area_text} deg² of {kind} searched: {counts['objects']:,} objects, "
        f"{counts['above_threshold']:,} with probability ≥ {scores.threshold:.2f}, "
        f"{counts['new_above_threshold']:,} of them new"
    ]
    combined, baseline = scores.combined, scores.best_filter
    parts = []
    for finder, name in ((combined, "networks"), (baseline, "plain filter")):
        found = finder.at(scores.reference_purity) if finder else None
        if found is not None and found.reached:
            parts.append(f"{name} {found.completeness.value:.1%}")
    if parts:
        lines.append(
            f"completeness at purity {scores.reference_purity:.0%} on the {scores.region} "
            f"region: {', '.join(parts)}"
        )
    if counts["problem_tiles"]:
        lines.append(f"{counts['problem_tiles']} tiles failed or are partial: see the report")
    return lines
