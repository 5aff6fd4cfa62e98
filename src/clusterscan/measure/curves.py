"""ROC and precision-recall curves, thinned to what a figure can show."""

from __future__ import annotations

import numpy as np

CURVE_POINTS = 200

Curve = dict[str, list[float]]


def roc(
    is_positive: np.ndarray, score: np.ndarray, weight: np.ndarray | None = None
) -> Curve | None:
    """Return the ROC curve, None unless there are positives and others.

    Parameters
    ----------
    is_positive : bool ndarray, shape (n,)
    score : float ndarray, shape (n,)
    weight : float ndarray, shape (n,), optional

    Returns
    -------
    dict or None
        false_positive_rate, true_positive_rate: at most 200 points from (0, 0) to (1, 1).
    """
    from sklearn.metrics import roc_curve

    if not 0 < np.count_nonzero(is_positive) < len(is_positive):
        return None
    false_positive, true_positive, _ = roc_curve(is_positive, score, sample_weight=weight)
    kept = _thin(false_positive, true_positive)
    return {
        "false_positive_rate": _rounded(false_positive[kept]),
        "true_positive_rate": _rounded(true_positive[kept]),
    }


def precision_recall(
    is_positive: np.ndarray, score: np.ndarray, weight: np.ndarray | None = None
) -> Curve | None:
    """Return the precision-recall curve by falling recall, None unless both kinds are there.

    Parameters
    ----------
    is_positive, score, weight
        As of `roc`.

    Returns
    -------
    dict or None
        recall, precision: at most 200 points, the last (0, 1) by convention.
    """
    from sklearn.metrics import precision_recall_curve

    if not 0 < np.count_nonzero(is_positive) < len(is_positive):
        return None
    precision, recall, _ = precision_recall_curve(
        is_positive, score, sample_weight=weight, drop_intermediate=True
    )
    kept = _thin(recall, precision)
    return {"recall": _rounded(recall[kept]), "precision": _rounded(precision[kept])}


def _thin(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the points to keep: evenly spread along x, half of them, and along the curve.

    Evenly spread thresholds would put nearly all points where nearly all examples are: with
    rare positives, on the flat tail.
    """
    if len(x) <= CURVE_POINTS:
        return np.arange(len(x))
    half = CURVE_POINTS // 2
    kept = [
        np.searchsorted(way, np.linspace(0, way[-1], half))
        for step in (np.abs(np.diff(x)), np.hypot(np.diff(x), np.diff(y)))
        for way in [np.append(0.0, step.cumsum())]
    ]
    ends = np.array([0, len(x) - 1])
    picked = np.unique(np.clip(np.concatenate([*kept, ends]), 0, len(x) - 1))
    return picked if len(picked) <= CURVE_POINTS else np.delete(picked, [1, -2])


def _rounded(values: np.ndarray) -> list[float]:
    return [round(float(v), 6) for v in values]
