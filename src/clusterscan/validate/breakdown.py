"""What lies behind one number: bins, offsets, chance matches, and known catalogues."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from clusterscan.catalogs.pairs import checked_vectors, pairs_within
from clusterscan.catalogs.reference import match_by_score, passes
from clusterscan.config.validation import Binning, ValidateSettings
from clusterscan.detect.peak_shape import ra_dec
from clusterscan.validate.intervals import fraction, wilson
from clusterscan.validate.recovery import Recovery, Region

DIRECTIONS = 8  # shifts, evenly around each object
HISTOGRAM_BINS = 20
MEDIAN_OF_RAYLEIGH = np.sqrt(2 * np.log(2))


def completeness_in_bins(
    found: Recovery, truth: pd.DataFrame, binning: Binning, threshold: float, confidence: float
) -> dict[str, object]:
    """Return the share of clusters found at or above a threshold, in bins of a truth column."""
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
    """Return the share of real objects in bins of a catalogue column.

    A real object has its cluster's value; another that of the nearest row of the catalogue,
    whatever that is. Objects with no row near have no bin: ``n_unmatched`` counts them.
    """
    chosen = found.score >= threshold
    rows, match = found.rows[chosen], found.match[chosen].copy()
    nearest = _nearest(objects.iloc[rows], catalogue, settings.radius_arcmin)
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
    """Return the share of objects that find a cluster after a shift of their positions.

    Objects are moved by ``chance_shift_arcmin`` in eight directions and matched again.
    """
    chosen = objects[objects["score"].to_numpy() >= threshold]
    real = truth[passes(truth, settings.purity_cut)]
    if not len(chosen):
        return float("nan")
    hits = 0
    for angle in 2 * np.pi * np.arange(DIRECTIONS) / DIRECTIONS:
        ra, dec = shifted(chosen["ra_deg"], chosen["dec_deg"], settings.chance_shift_arcmin, angle)
        moved = chosen.assign(ra_deg=ra, dec_deg=dec)
        match, _ = match_by_score(moved, real, settings.radius_arcmin)
        hits += int((match >= 0).sum())
    return hits / (DIRECTIONS * len(chosen))


def shifted(
    ra_deg: ArrayLike, dec_deg: ArrayLike, distance_arcmin: float, angle: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return positions moved along great circles; the angle [rad] runs from north to east."""
    vectors = checked_vectors(ra_deg, dec_deg, "objects")
    ra = np.radians(np.asarray(ra_deg))
    east = np.stack([-np.sin(ra), np.cos(ra), np.zeros_like(ra)], axis=1)
    north = np.cross(vectors, east)
    step = np.radians(distance_arcmin / 60.0)
    towards = np.cos(angle) * north + np.sin(angle) * east
    return ra_dec(np.cos(step) * vectors + np.sin(step) * towards)


def offsets(found: Recovery, threshold: float, settings: ValidateSettings) -> dict[str, object]:
    """Return the distribution of separations of real objects from their clusters [arcsec].

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
    """Return the share of each known catalogue's clusters of the region that are found."""
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
