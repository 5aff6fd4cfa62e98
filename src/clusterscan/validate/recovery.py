"""Decide which objects are real and which clusters are found, and derive the curves.

Objects and clusters are matched in the order of the objects' scores
(`clusterscan.catalogs.matching`). A second object on the same cluster counts as false. Errors come
from the sky itself: cells of sky are resampled, and every method sees the same draws.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from clusterscan.catalogs.matching import match_by_score, passes
from clusterscan.config.validation import ValidateSettings
from clusterscan.core import sky
from clusterscan.core.errors import CatalogueError
from clusterscan.measure.intervals import wilson


def fraction(successes: int, trials: int, confidence: float) -> dict[str, float | int]:
    """Return a fraction with its counts and interval."""
    low, high = wilson(successes, trials, confidence)
    return {
        "n": int(trials),
        "k": int(successes),
        "value": successes / trials if trials else float("nan"),
        "low": low,
        "high": high,
    }


Region = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Curve:
    """Counts and fractions of all objects at or above each score, best score first."""

    threshold: np.ndarray
    n: np.ndarray
    n_true: np.ndarray
    purity: np.ndarray
    n_found: np.ndarray
    n_truth: int
    completeness: np.ndarray

    def intervals(self, confidence: float) -> dict[str, np.ndarray]:
        """Return Wilson intervals of purity and completeness, by column name."""
        names = ("purity_low", "purity_high", "completeness_low", "completeness_high")
        truth = np.full(self.n_found.shape, self.n_truth)
        found = (*wilson(self.n_true, self.n, confidence), *wilson(self.n_found, truth, confidence))
        return dict(zip(names, found, strict=True))

    @property
    def average_precision(self) -> float:
        """Mean purity over completeness, each step weighted by the completeness it adds."""
        steps = np.diff(self.completeness, prepend=0.0)
        return float(np.sum(steps * self.purity))


@dataclass(frozen=True)
class Recovery:
    """The verdict on every object of a region, and the fate of every cluster in it.

    Attributes
    ----------
    rows : int ndarray, shape (n,)
        Rows of the region's objects in the input.
    score, is_true : ndarray, shape (n,)
        Their scores, and True for those matched with a cluster of the purity cut.
    match : int ndarray, shape (n,)
        The matched row of the truth, -1: none.
    sep_arcsec : float ndarray, shape (n,)
        Separation from it, NaN: none.
    ra_deg, dec_deg : float ndarray, shape (n,)
    truth_rows : int ndarray, shape (m,)
        Truth rows of the completeness cut in the region.
    truth_score : float ndarray, shape (m,)
        Score of the object that found each, -inf: none did.
    truth_ra_deg, truth_dec_deg : float ndarray, shape (m,)
    """

    rows: np.ndarray
    score: np.ndarray
    is_true: np.ndarray
    match: np.ndarray
    sep_arcsec: np.ndarray
    ra_deg: np.ndarray
    dec_deg: np.ndarray
    truth_rows: np.ndarray
    truth_score: np.ndarray
    truth_ra_deg: np.ndarray
    truth_dec_deg: np.ndarray

    @cached_property
    def curve(self) -> Curve:
        """The curve over all thresholds."""
        order = np.argsort(-self.score, kind="stable")
        score = self.score[order]
        last = np.flatnonzero(np.diff(score, append=-np.inf) != 0)  # equal scores enter together
        n_true = np.cumsum(self.is_true[order])[last]
        n = last + 1
        found = np.sort(self.truth_score)
        # Number of clusters whose object has at least this score; clusters without an object have
        # -inf and never count.
        n_found = found.size - np.searchsorted(found, score[last], side="left")
        return Curve(
            threshold=score[last],
            n=n,
            n_true=n_true,
            purity=n_true / n,
            n_found=n_found,
            n_truth=found.size,
            completeness=n_found / max(found.size, 1),
        )


def recovery(
    objects: pd.DataFrame,
    truth: pd.DataFrame,
    *,
    settings: ValidateSettings,
    in_region: Region,
) -> Recovery:
    """Judge a list of objects against a truth catalogue.

    Parameters
    ----------
    objects : DataFrame
        ra_deg, dec_deg and score (higher is better), of the region and a margin around it.
    truth : DataFrame
        ra_deg, dec_deg and the columns of the cuts; likewise. A NaN fails a cut.
    settings : ValidateSettings
        Radius and cuts.
    in_region : callable
        (ra_deg, dec_deg) -> bool ndarray. Objects and clusters are counted if they lie in it;
        they may be matched across its border.

    Returns
    -------
    Recovery

    Raises
    ------
    CatalogueError
        If a position is not on the sky, a score is NaN, or a cut's column is missing.
    """
    score = objects["score"].to_numpy(dtype=np.float64)
    if np.isnan(score).any():
        row = int(np.flatnonzero(np.isnan(score))[0])
        raise CatalogueError(f"objects: row {row} has no score; drop objects without one")
    ra, dec = (objects[c].to_numpy(dtype=np.float64) for c in ("ra_deg", "dec_deg"))
    radius = settings.radius_arcmin
    real = np.flatnonzero(passes(truth, settings.purity_cut))
    match, separation = match_by_score(objects, truth.iloc[real], radius)
    match = np.where(match >= 0, real[np.maximum(match, 0)] if real.size else -1, -1)
    # A second matching for completeness: its cut is narrower, and a cluster outside the cut must
    # not take the object that finds one inside.
    wanted = np.flatnonzero(passes(truth, settings.completeness_cut))
    found_by, _ = match_by_score(objects, truth.iloc[wanted], radius)
    truth_score = np.full(wanted.size, -np.inf)
    truth_score[found_by[found_by >= 0]] = score[found_by >= 0]
    inside = in_region(ra, dec).astype(bool)
    truth_ra, truth_dec = (
        truth[c].to_numpy(dtype=np.float64)[wanted] for c in ("ra_deg", "dec_deg")
    )
    # Matched first, counted afterwards: an object just outside the region may be the detection of a
    # cluster just inside.
    looked_up = in_region(truth_ra, truth_dec).astype(bool)
    return Recovery(
        rows=np.flatnonzero(inside),
        score=score[inside],
        is_true=(match >= 0)[inside],
        match=match[inside],
        sep_arcsec=60 * separation[inside],
        ra_deg=ra[inside],
        dec_deg=dec[inside],
        truth_rows=wanted[looked_up],
        truth_score=truth_score[looked_up],
        truth_ra_deg=truth_ra[looked_up],
        truth_dec_deg=truth_dec[looked_up],
    )


def completeness_at_purity(
    curve: Curve, purity: float, *, min_objects: int = 1
) -> dict[str, float | int | None]:
    """Return the best completeness of a threshold whose objects reach a purity.

    Completeness only grows as the threshold falls, so it is that of the lowest such threshold;
    dips of the purity on the way do not matter. Thresholds with fewer than ``min_objects``
    objects are left out: a purity cannot be measured on a handful of objects.

    Returns
    -------
    dict
        purity asked for, threshold, n, n_true, n_found, n_truth, completeness; where no
        threshold reaches the purity, threshold is None and the counts and completeness are 0.
    """
    reached = np.flatnonzero((curve.purity >= purity) & (curve.n >= min_objects))
    result: dict[str, float | int | None] = {"purity": purity, "n_truth": curve.n_truth}
    if not reached.size:
        return result | {"threshold": None, "n": 0, "n_true": 0, "n_found": 0, "completeness": 0.0}
    at = reached[-1]
    return result | {
        "threshold": float(curve.threshold[at]),
        "n": int(curve.n[at]),
        "n_true": int(curve.n_true[at]),
        "n_found": int(curve.n_found[at]),
        "completeness": float(curve.completeness[at]),
    }


def cells(found: Recovery, order: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the HEALPix cells of the region's objects and of its clusters."""
    return (
        sky.owning_cell(found.ra_deg, found.dec_deg, order),
        sky.owning_cell(found.truth_ra_deg, found.truth_dec_deg, order),
    )


def compare(
    recoveries: Mapping[str, Recovery],
    pairs: Sequence[tuple[str, str]],
    purity: float,
    *,
    cell_order: int,
    n_bootstrap: int,
    confidence: float,
    rng: np.random.Generator,
    min_objects: int = 1,
) -> dict[str, object]:
    """Compare methods by their completeness at a purity, with errors.

    Cells of the sky are drawn with replacement. Every method sees the same draws, so what they
    have in common cancels from their difference.

    Parameters
    ----------
    recoveries : mapping of name to Recovery
        Of the same region.
    pairs : sequence of (name, name)
        Differences (first - second) to measure.
    purity : float
        Compare completeness at this purity.
    cell_order : int
        HEALPix order of the cells.
    n_bootstrap : int
        Draws; 0: no errors.
    confidence : float
        Probability content of the intervals.
    rng : numpy.random.Generator
    min_objects : int
        A purity measured on fewer objects counts as not reached.

    Returns
    -------
    dict
        purity; methods: name -> {completeness, low, high}; differences: list of {first,
        second, difference, ratio, low, high, ratio_low, ratio_high, p_better} (low and high: of
        the difference, p_better: share of draws in which the first finds more, ties half; a draw
        in which the second finds nothing has an infinite ratio).
    """
    names = sorted(recoveries)
    value = {
        name: float(
            completeness_at_purity(recovery.curve, purity, min_objects=min_objects)["completeness"]
            or 0.0
        )
        for name, recovery in sorted(recoveries.items())
    }
    drawn = _draw(recoveries, names, purity, cell_order, n_bootstrap, rng, min_objects)
    levels = [0.5 - confidence / 2, 0.5 + confidence / 2]
    methods = {}
    for name in names:
        low, high = _interval(drawn[name], levels)
        methods[name] = {"completeness": value[name], "low": low, "high": high}
    differences = [
        {"first": first, "second": second}
        | _difference((value[first], value[second]), (drawn[first], drawn[second]), levels)
        for first, second in pairs
    ]
    return {"purity": purity, "methods": methods, "differences": differences}


def _difference(
    value: tuple[float, float], drawn: tuple[np.ndarray, np.ndarray], levels: list[float]
) -> dict[str, float]:
    """Return the difference and the ratio of two methods' completeness with intervals."""
    change = drawn[0] - drawn[1]
    low, high = _interval(change, levels)
    better = np.mean(change > 0) + 0.5 * np.mean(change == 0) if change.size else np.nan
    ratio_low, ratio_high = _interval(_ratio(*drawn), levels)
    return {
        "difference": value[0] - value[1],
        "ratio": value[0] / value[1] if value[1] > 0 else np.nan,
        "low": low,
        "high": high,
        "ratio_low": ratio_low,
        "ratio_high": ratio_high,
        "p_better": float(better),
    }


def _interval(values: np.ndarray, levels: list[float]) -> tuple[float, float]:
    if not values.size:
        return np.nan, np.nan
    # Take one of the draws, not the mean of two: an infinite ratio has no mean with another.
    low, high = np.quantile(values, levels, method="nearest")
    return float(low), float(high)


def _ratio(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return first / second of draws: infinite if the second is 0, 1 if both are 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where((first == 0) & (second == 0), 1.0, first / second)


def _draw(
    recoveries: Mapping[str, Recovery],
    names: Sequence[str],
    purity: float,
    cell_order: int,
    n_bootstrap: int,
    rng: np.random.Generator,
    min_objects: int,
) -> dict[str, np.ndarray]:
    where = {name: cells(recoveries[name], cell_order) for name in names}
    present = [c for pair in where.values() for c in pair]
    all_cells = np.unique(np.concatenate([np.empty(0, dtype=np.int64), *present]))
    if not all_cells.size:
        return {name: np.empty(0) for name in names}
    even = np.full(all_cells.size, 1.0 / all_cells.size)
    # A multinomial draw is the number of times each cell occurs in a bootstrap sample. One set of
    # weights serves all methods, so that their differences are paired.
    weights = rng.multinomial(all_cells.size, even, size=n_bootstrap)
    drawn = {}
    for name in names:
        objects, truth = (np.searchsorted(all_cells, c) for c in where[name])
        drawn[name] = _resampled(recoveries[name], objects, truth, purity, weights, min_objects)
    return drawn


def _resampled(
    found: Recovery,
    cell: np.ndarray,
    truth_cell: np.ndarray,
    purity: float,
    weights: np.ndarray,
    min_objects: int,
) -> np.ndarray:
    """Return completeness at the purity under each row of cell weights (n_draws, n_cells)."""
    order = np.argsort(-found.score, kind="stable")
    score, cell, is_true = found.score[order], cell[order], found.is_true[order]
    last = np.flatnonzero(np.diff(score, append=-np.inf) != 0)
    result = np.zeros(len(weights))
    for draw, weight in enumerate(weights):
        # A cell drawn k times counts k times: cumulative weights replace counts of objects.
        total = np.cumsum(weight[cell])[last]
        true = np.cumsum(weight[cell] * is_true)[last]
        reached = np.flatnonzero((true >= purity * total) & (total >= min_objects))
        truths = weight[truth_cell]
        if reached.size and truths.sum() > 0:
            threshold = score[last[reached[-1]]]
            result[draw] = truths[found.truth_score >= threshold].sum() / truths.sum()
    return result
