"""Everything that is measured on the test region, as one dictionary fit for JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from clusterscan.catalogs.reference import passes
from clusterscan.config.validation import ValidateSettings
from clusterscan.core.errors import CatalogueError
from clusterscan.validate import breakdown
from clusterscan.validate.bootstrap import compare
from clusterscan.validate.intervals import fraction
from clusterscan.validate.recovery import Curve, Recovery, Region, completeness_at_purity, recovery

DIGITS = 6


def validate(
    methods: Mapping[str, pd.DataFrame],
    truth: pd.DataFrame,
    *,
    settings: ValidateSettings,
    in_region: Region,
    known: Mapping[str, pd.DataFrame] | None = None,
    comparisons: Sequence[tuple[str, str]] = (),
    seed: int = 0,
) -> dict[str, Any]:
    """Measure every method on the region.

    Parameters
    ----------
    methods : mapping of name to DataFrame
        Each method's objects: ra_deg, dec_deg, score. Networks and filters, single and merged.
    truth : DataFrame
        Name, position and the columns that settings cut and bin on. For real images, the
        reference catalogue with *all* its rows; the cuts say which are wanted.
    settings : ValidateSettings
        Radius, cuts, purities, bins.
    in_region : callable
        (ra_deg, dec_deg) -> bool ndarray: the test region.
    known : mapping of name to DataFrame, optional
        Known catalogues whose recovered share is wanted.
    comparisons : sequence of (name, name)
        Methods whose completeness is compared at equal purity, first minus second.
    seed : int
        Of the bootstrap.

    Returns
    -------
    report : dict
        ``region``, ``methods`` and ``comparisons``; floats have 6 digits, NaN is None.

    Raises
    ------
    CatalogueError
        If a comparison names a method that is not there, or a table is not what it should be.
    """
    unknown = sorted({n for pair in comparisons for n in pair} - set(methods))
    if unknown:
        raise CatalogueError(f"cannot compare {unknown}; methods are {sorted(methods)}")
    recoveries = {
        name: recovery(table, truth, settings=settings, in_region=in_region)
        for name, table in methods.items()
    }
    described = {
        name: _describe(found, methods[name], truth, known or {}, settings, in_region)
        for name, found in recoveries.items()
    }
    purities = sorted({*settings.purities, settings.reference_purity})
    compared = [
        compare(
            recoveries,
            comparisons,
            purity,
            cell_order=settings.bootstrap_order,
            n_bootstrap=settings.n_bootstrap,
            confidence=settings.confidence,
            min_objects=settings.min_objects,
            rng=np.random.default_rng([seed, number]),
        )
        for number, purity in enumerate(purities)
    ]
    report = {
        "region": _region(truth, settings, in_region),
        "methods": described,
        "comparisons": compared,
        "radius_arcmin": settings.radius_arcmin,
        "reference_purity": settings.reference_purity,
        "confidence": settings.confidence,
        "completeness_cut": {k: list(v) for k, v in settings.completeness_cut.items()},
        "purity_cut": {k: list(v) for k, v in settings.purity_cut.items()},
    }
    return rounded(report)


def _region(truth: pd.DataFrame, settings: ValidateSettings, in_region: Region) -> dict[str, int]:
    inside = in_region(truth["ra_deg"].to_numpy(), truth["dec_deg"].to_numpy()).astype(bool)
    return {
        "n_truth": int(inside.sum()),
        "n_completeness": int((inside & passes(truth, settings.completeness_cut)).sum()),
        "n_purity": int((inside & passes(truth, settings.purity_cut)).sum()),
    }


def _describe(
    found: Recovery,
    objects: pd.DataFrame,
    truth: pd.DataFrame,
    known: Mapping[str, pd.DataFrame],
    settings: ValidateSettings,
    in_region: Region,
) -> dict[str, Any]:
    curve = found.curve
    threshold, reached = reference_threshold(
        curve, settings.reference_purity, min_objects=settings.min_objects
    )
    inside = objects.iloc[found.rows]
    chosen = found.score >= threshold
    n_true = int(found.is_true[chosen].sum())
    n_found = int((found.truth_score >= threshold).sum())
    bins = {
        "completeness": [
            breakdown.completeness_in_bins(found, truth, b, threshold, settings.confidence)
            for b in settings.bins
        ],
        "purity": [
            breakdown.purity_in_bins(found, objects, truth, b, threshold, settings)
            for b in settings.bins
            # In bins of a column that makes an object real, purity is one by construction.
            if b.column not in settings.purity_cut
        ],
    }
    return {
        "n_objects": int(found.rows.size),
        "average_precision": curve.average_precision,
        "at_purity": [_at_purity(curve, p, settings) for p in settings.purities],
        "reference": {
            "threshold": threshold,
            "reached": reached,
            "purity": fraction(n_true, int(chosen.sum()), settings.confidence),
            "completeness": fraction(n_found, curve.n_truth, settings.confidence),
        },
        "bins": bins,
        "offsets": breakdown.offsets(found, threshold, settings),
        "chance_rate": breakdown.chance_rate(inside, truth, threshold, settings),
        "known": breakdown.recovered_known(objects, known, threshold, settings, in_region),
        "curve": thinned(curve, settings),
    }


def reference_threshold(curve: Curve, purity: float, *, min_objects: int = 1) -> tuple[float, bool]:
    """Return the lowest score that reaches a purity, or the best balance where none does.

    The best balance is the largest harmonic mean of purity and completeness.
    """
    at = completeness_at_purity(curve, purity, min_objects=min_objects)
    if at["threshold"] is not None:
        return float(at["threshold"]), True
    if not curve.threshold.size:
        return math.inf, False
    total = curve.purity + curve.completeness
    balance = curve.purity * curve.completeness / np.where(total > 0, total, 1.0)
    return float(curve.threshold[np.argmax(balance)]), False


def thinned(curve: Curve, settings: ValidateSettings) -> dict[str, list]:
    """Return a curve's columns at no more than ``curve_points`` thresholds, ends included."""
    size = curve.threshold.size
    at = np.unique(np.linspace(0, max(size - 1, 0), min(size, settings.curve_points)).astype(int))
    columns = {
        "threshold": curve.threshold,
        "n": curve.n,
        "n_true": curve.n_true,
        "purity": curve.purity,
        "n_found": curve.n_found,
        "completeness": curve.completeness,
        **curve.intervals(settings.confidence),
    }
    return {name: values[at].tolist() for name, values in columns.items()}


def rounded(value: Any) -> Any:
    """Return a JSON-able copy: floats to six digits, NaN and infinities None, keys sorted."""
    if isinstance(value, Mapping):
        return {str(k): rounded(value[k]) for k in sorted(value, key=str)}
    if isinstance(value, list | tuple | np.ndarray):
        return [rounded(v) for v in value]
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, int | np.integer):
        return int(value)
    if isinstance(value, float | np.floating):
        return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None
    return value


def _at_purity(curve: Curve, purity: float, settings: ValidateSettings) -> dict[str, Any]:
    at = completeness_at_purity(curve, purity, min_objects=settings.min_objects)
    interval = fraction(int(at["n_found"] or 0), curve.n_truth, settings.confidence)
    return {**at, "completeness_low": interval["low"], "completeness_high": interval["high"]}
