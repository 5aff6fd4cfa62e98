"""Measures of a classifier without errors: from confusion matrices, and from ranked scores.

A confusion matrix counts examples by true class (row) and predicted class (column). All functions
take any number of matrices at once, shape (..., K, K). A class without examples has no recall
(NaN) and is left out of averages; a class that has examples but is never predicted has the
precision 0, as in scikit-learn with ``zero_division=0``.

ROC and precision-recall curves are thinned to the points that a figure can show. Their areas are
computed for many weightings of the same scores, which is what the bootstrap needs.
"""

from __future__ import annotations

import numpy as np

PER_CLASS = ("precision", "recall", "f1", "f_beta", "fall_out")


def confusion(
    label: np.ndarray, predicted: np.ndarray, weight: np.ndarray, classes: int
) -> np.ndarray:
    """Return the weighted confusion matrix, float ndarray, shape (K, K)."""
    from sklearn.metrics import confusion_matrix

    if not len(label):
        return np.zeros((classes, classes))
    found = confusion_matrix(label, predicted, labels=np.arange(classes), sample_weight=weight)
    return found.astype(np.float64)


def normalised(counts: np.ndarray) -> np.ndarray:
    """Return the rows as shares of each true class, NaN for a class without examples."""
    return _ratio(counts, counts.sum(axis=-1, keepdims=True))


def accuracy(counts: np.ndarray) -> np.ndarray:
    """Return the share of correct predictions, shape (...,)."""
    return _ratio(_diagonal(counts).sum(axis=-1), counts.sum(axis=(-2, -1)))


def class_measures(counts: np.ndarray, beta: float) -> dict[str, np.ndarray]:
    """Return the measures of each class against the rest.

    Parameters
    ----------
    counts : float ndarray, shape (..., K, K)
        Confusion matrices.
    beta : float
        Weight of recall relative to precision in F-beta.

    Returns
    -------
    dict of float ndarray, shape (..., K)
        precision, recall, f1, f_beta and fall_out; NaN if the class has no examples (fall_out:
        if there are no others).

    References
    ----------
    van Rijsbergen 1979, Information Retrieval, chapter 7 (F-beta).
    """
    hits = _diagonal(counts)
    true, said = counts.sum(axis=-1), counts.sum(axis=-2)
    total = counts.sum(axis=(-2, -1))[..., None]
    none = true <= 0
    # Never predicted is a precision of 0, but a class that does not occur has none at all.
    precision = np.where(none, np.nan, _ratio(hits, said, empty=0.0))
    return {
        "precision": precision,
        "recall": _ratio(hits, true),
        "f1": np.where(none, np.nan, _ratio(2 * hits, true + said)),
        "f_beta": np.where(none, np.nan, _ratio((1 + beta**2) * hits, beta**2 * true + said)),
        "fall_out": _ratio(said - hits, total - true),
    }


def mean_over_classes(values: np.ndarray) -> np.ndarray:
    """Return the mean of the finite values along the last axis, NaN if there are none."""
    there = np.isfinite(values)
    return _ratio(np.where(there, values, 0.0).sum(axis=-1), there.sum(axis=-1))


def _diagonal(counts: np.ndarray) -> np.ndarray:
    return np.diagonal(counts, axis1=-2, axis2=-1)


def _ratio(upper: np.ndarray, lower: np.ndarray, empty: float = np.nan) -> np.ndarray:
    lower = np.broadcast_to(np.asarray(lower, dtype=np.float64), np.shape(upper))
    out = np.full(lower.shape, empty)
    return np.divide(upper, lower, out=out, where=lower > 0)


class Ranking:
    """Scores in descending order, ready to be weighted many times.

    Parameters
    ----------
    is_positive : bool ndarray, shape (n,)
        True for examples of the class.
    score : float ndarray, shape (n,)
        Equal scores are one threshold, as in scikit-learn.
    """

    def __init__(self, is_positive: np.ndarray, score: np.ndarray):
        self.order = np.argsort(-score, kind="stable")
        self.is_positive = is_positive[self.order]
        falling = score[self.order]
        # Where a new score begins. Examples of equal score pass a threshold together, so their
        # order, which is arbitrary, must not count.
        self.first = np.flatnonzero(np.append(True, np.diff(falling) != 0)[: len(falling)])

    def areas(self, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return ROC area and average precision under each row of weights.

        Parameters
        ----------
        weight : float ndarray, shape (draws, n)
            In the order of the given scores.

        Returns
        -------
        roc_auc, average_precision : float ndarray, shape (draws,)
            NaN if the positives (or, for the ROC area, the others) have no weight.

        Notes
        -----
        The ROC area is the chance that a positive scores above a negative, ties one half;
        average precision is the sum over thresholds of (gain in recall) x precision.
        """
        if not self.first.size:
            nothing = np.full(len(weight), np.nan)
            return nothing, nothing.copy()
        # Sorted once, weighted many times: a bootstrap draw only changes the weights.
        weight = weight[:, self.order]
        # Weight of the positives and of all examples at each threshold, then at or above it.
        gained = self._per_threshold(weight * self.is_positive)
        all_gained = self._per_threshold(weight)
        true, said = gained.cumsum(axis=1), all_gained.cumsum(axis=1)
        positives, total = true[:, -1], said[:, -1]
        precision = np.divide(true, said, out=np.zeros_like(true), where=said > 0)
        # Each threshold's negatives score below all positives above it, and tie with its own
        # positives, which count one half.
        below_and_half = (true - gained / 2) * (all_gained - gained)
        with np.errstate(invalid="ignore", divide="ignore"):
            area = below_and_half.sum(axis=1) / (positives * (total - positives))
            average = (gained * precision).sum(axis=1) / positives
        defined = positives > 0
        both = defined & (total - positives > 0)
        return np.where(both, area, np.nan), np.where(defined, average, np.nan)

    def _per_threshold(self, values: np.ndarray) -> np.ndarray:
        if len(self.first) == values.shape[1]:
            return values
        return np.add.reduceat(values, self.first, axis=1)


CURVE_POINTS = 200

Curve = dict[str, list[float]]


def roc(
    is_positive: np.ndarray, score: np.ndarray, weight: np.ndarray | None = None
) -> Curve | None:
    """Return the ROC curve, or None unless there are both positives and others.

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
    """Return the precision-recall curve by falling recall, or None as for `roc`.

    Parameters
    ----------
    is_positive, score, weight
        As for `roc`.

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
    """Return the indices of the points to keep: half evenly spaced in x, half along the curve.

    Evenly spaced thresholds would put nearly all points where nearly all examples are: on the
    flat tail if positives are rare.
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
    # Both ends always stay, so that the curve's corners are those of the full curve.
    picked = np.unique(np.clip(np.concatenate([*kept, ends]), 0, len(x) - 1))
    return picked if len(picked) <= CURVE_POINTS else np.delete(picked, [1, -2])


def _rounded(values: np.ndarray) -> list[float]:
    return [round(float(v), 6) for v in values]
