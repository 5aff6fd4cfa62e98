"""Errors from the sky itself: cells resampled, the same for all methods that are compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from clusterscan.validate.recovery import Recovery, cells, completeness_at_purity


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
    """Return completeness at a purity with errors, and differences of methods.

    Cells of the sky are drawn with replacement; every method sees the same draws, so what they
    share cancels from their difference.

    Parameters
    ----------
    recoveries : mapping of name to Recovery
        Of the same region.
    pairs : sequence of (name, name)
        Differences (first - second) to measure.
    purity : float
        At which completeness is compared.
    cell_order : int
        HEALPix order of the cells.
    n_bootstrap : int
        Draws; 0: no errors.
    confidence : float
        Content of the intervals.
    rng : numpy.random.Generator
    min_objects : int
        Fewer objects measure no purity.

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
    """Return difference and ratio of two methods' completeness, from theirs and their draws."""
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
    # One of the draws, no mean of two: an infinite ratio has no mean with another.
    low, high = np.quantile(values, levels, method="nearest")
    return float(low), float(high)


def _ratio(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return first / second of draws, infinite where the second is 0; both 0: 1."""
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
        total = np.cumsum(weight[cell])[last]
        true = np.cumsum(weight[cell] * is_true)[last]
        reached = np.flatnonzero((true >= purity * total) & (total >= min_objects))
        truths = weight[truth_cell]
        if reached.size and truths.sum() > 0:
            threshold = score[last[reached[-1]]]
            result[draw] = truths[found.truth_score >= threshold].sum() / truths.sum()
    return result
