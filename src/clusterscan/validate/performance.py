"""Measure every method on the test region, as one dictionary that is fit for JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from clusterscan.catalogs.matching import match_by_score, passes
from clusterscan.catalogs.pairs import checked_vectors, pairs_within
from clusterscan.config.validation import Binning, ValidateSettings
from clusterscan.core.errors import CatalogueError
from clusterscan.detect.peaks import ra_dec
from clusterscan.measure.intervals import wilson
from clusterscan.validate.recovery import (
    Curve,
    Recovery,
    Region,
    compare,
    completeness_at_purity,
    fraction,
    recovery,
)

DIGITS = 6  # of floats in JSON
DIRECTIONS = 8  # shifts, evenly around each object
HISTOGRAM_BINS = 20
MEDIAN_OF_RAYLEIGH = np.sqrt(2 * np.log(2))


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
        Seed of the bootstrap.

    Returns
    -------
    report : dict
        ``region``, ``methods`` and ``comparisons``; floats have 6 digits, NaN is None.

    Raises
    ------
    CatalogueError
        If a comparison names an unknown method, or a table lacks a column or a position.
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
            completeness_in_bins(found, truth, b, threshold, settings.confidence)
            for b in settings.bins
        ],
        "purity": [
            purity_in_bins(found, objects, truth, b, threshold, settings)
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
        "offsets": offsets(found, threshold, settings),
        "chance_rate": chance_rate(inside, truth, threshold, settings),
        "known": recovered_known(objects, known, threshold, settings, in_region),
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
    # Half the harmonic mean, which has its maximum at the same threshold.
    balance = curve.purity * curve.completeness / np.where(total > 0, total, 1.0)
    return float(curve.threshold[np.argmax(balance)]), False


def thinned(curve: Curve, settings: ValidateSettings) -> dict[str, list]:
    """Return a curve's columns at no more than ``curve_points`` thresholds, including both ends."""
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
    """Return a copy for JSON: floats to six digits, NaN and infinities as None, keys sorted."""
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


def completeness_in_bins(
    found: Recovery, truth: pd.DataFrame, binning: Binning, threshold: float, confidence: float
) -> dict[str, object]:
    """Measure the share of clusters found at or above a threshold, in bins of a truth column."""
    values = truth[binning.column].to_numpy(dtype=np.float64, na_value=np.nan)[found.truth_rows]
    total, _ = np.histogram(values, binning.edges)
    hit, _ = np.histogram(values[found.truth_score >= threshold], binning.edges)
    return _bins(binning, hit, total, confidence)


def purity_in_bins(
    found: Recovery,
    objects: pd.DataFrame,
    catalogue: pd.DataFrame,
    binning: Binning,
    threshold: float,
    settings: ValidateSettings,
) -> dict[str, object]:
    """Measure the share of real objects in bins of a catalogue column.

    A real object has the value of its cluster, any other object that of the nearest row of the
    catalogue. Objects without a row nearby have no bin: ``n_unmatched`` counts them.
    """
    chosen = found.score >= threshold
    rows, match = found.rows[chosen], found.match[chosen].copy()
    nearest = _nearest(objects.iloc[rows], catalogue, settings.radius_arcmin)
    # The nearest row need not be real by the purity cut, nor free: a false object is given the mass
    # or redshift of the group it sits on.
    match = np.where(match >= 0, match, nearest)
    column = catalogue[binning.column].to_numpy(dtype=np.float64, na_value=np.nan)
    known = match >= 0
    values = column[match[known]]
    total, _ = np.histogram(values, binning.edges)
    true, _ = np.histogram(values[found.is_true[chosen][known]], binning.edges)
    unmatched = int((~known).sum())
    return _bins(binning, true, total, settings.confidence) | {"n_unmatched": unmatched}


def chance_rate(
    objects: pd.DataFrame, truth: pd.DataFrame, threshold: float, settings: ValidateSettings
) -> float:
    """Return the share of objects that match a cluster by chance.

    Objects are moved by ``chance_shift_arcmin`` in eight directions and matched again.
    """
    chosen = objects[objects["score"].to_numpy() >= threshold]
    real = truth[passes(truth, settings.purity_cut)]
    if not len(chosen):
        return float("nan")
    hits = 0
    for angle in 2 * np.pi * np.arange(DIRECTIONS) / DIRECTIONS:
        # Eight directions average over structure near the objects; the shifted sample keeps their
        # number and clustering.
        ra, dec = shifted(chosen["ra_deg"], chosen["dec_deg"], settings.chance_shift_arcmin, angle)
        moved = chosen.assign(ra_deg=ra, dec_deg=dec)
        match, _ = match_by_score(moved, real, settings.radius_arcmin)
        hits += int((match >= 0).sum())
    return hits / (DIRECTIONS * len(chosen))


def shifted(
    ra_deg: ArrayLike, dec_deg: ArrayLike, distance_arcmin: float, angle: float
) -> tuple[np.ndarray, np.ndarray]:
    """Move positions along great circles; the angle [rad] runs from north to east."""
    vectors = checked_vectors(ra_deg, dec_deg, "objects")
    ra = np.radians(np.asarray(ra_deg))
    east = np.stack([-np.sin(ra), np.cos(ra), np.zeros_like(ra)], axis=1)
    north = np.cross(vectors, east)
    step = np.radians(distance_arcmin / 60.0)
    towards = np.cos(angle) * north + np.sin(angle) * east
    return ra_dec(np.cos(step) * vectors + np.sin(step) * towards)


def offsets(found: Recovery, threshold: float, settings: ValidateSettings) -> dict[str, object]:
    """Describe the separations of real objects from their clusters [arcsec].

    ``rayleigh_sigma_arcsec`` is the error along one axis whose Rayleigh distribution has the
    measured median; ``tail`` the share beyond 3 of it (1.1 % expected), ``tail_expected``.
    """
    separation = found.sep_arcsec[(found.score >= threshold) & found.is_true]
    edges = np.linspace(0, settings.radius_arcmin * 60, HISTOGRAM_BINS + 1)
    result: dict[str, object] = {
        "n": int(separation.size),
        "edges_arcsec": edges.tolist(),
        "counts": np.histogram(separation, edges)[0].tolist(),
        "tail_expected": float(np.exp(-4.5)),
    }
    if not separation.size:
        nothing = dict.fromkeys(("median_arcsec", "p68_arcsec", "p95_arcsec", "tail"), np.nan)
        return result | nothing | {"rayleigh_sigma_arcsec": np.nan}
    median, p68, p95 = np.quantile(separation, [0.5, 0.68, 0.95])
    # The median ignores the tail: a mean square would be dominated by a few chance matches near the
    # edge of the matching radius.
    sigma = median / MEDIAN_OF_RAYLEIGH
    return result | {
        "median_arcsec": float(median),
        "p68_arcsec": float(p68),
        "p95_arcsec": float(p95),
        "rayleigh_sigma_arcsec": float(sigma),
        "tail": float(np.mean(separation > 3 * sigma)),
    }


def recovered_known(
    objects: pd.DataFrame,
    known: Mapping[str, pd.DataFrame],
    threshold: float,
    settings: ValidateSettings,
    in_region: Region,
) -> dict[str, dict[str, float | int]]:
    """Measure the share of each known catalogue's clusters in the region that are found."""
    chosen = objects[objects["score"].to_numpy() >= threshold]
    result = {}
    for name in sorted(known):
        table = known[name]
        match, _ = match_by_score(chosen, table, settings.radius_arcmin)
        found = np.zeros(len(table), dtype=bool)
        found[match[match >= 0]] = True
        inside = in_region(table["ra_deg"].to_numpy(), table["dec_deg"].to_numpy()).astype(bool)
        result[name] = fraction(int(found[inside].sum()), int(inside.sum()), settings.confidence)
    return result


def _nearest(objects: pd.DataFrame, catalogue: pd.DataFrame, radius_arcmin: float) -> np.ndarray:
    i, j, separation = pairs_within(
        checked_vectors(objects["ra_deg"], objects["dec_deg"], "objects"),
        checked_vectors(catalogue["ra_deg"], catalogue["dec_deg"], "catalogue"),
        radius_arcmin,
    )
    order = np.lexsort((j, separation, i))
    row = np.full(len(objects), -1, dtype=np.int64)
    objects_with_one, first = np.unique(i[order], return_index=True)
    row[objects_with_one] = j[order][first]
    return row


def _bins(
    binning: Binning, successes: np.ndarray, trials: np.ndarray, confidence: float
) -> dict[str, object]:
    low, high = wilson(successes, trials, confidence)
    value = np.where(trials > 0, successes / np.maximum(trials, 1), np.nan)
    return {
        "column": binning.column,
        "edges": list(binning.edges),
        "n": trials.tolist(),
        "k": successes.tolist(),
        "value": value.tolist(),
        "low": low.tolist(),
        "high": high.tolist(),
    }
