"""Measures that follow from a confusion matrix, for any number of matrices at once.

A matrix counts examples by true class (row) and predicted class (column). A class without
examples has no recall (NaN) and is left out of averages; a class that has examples but is never
predicted has the precision 0, as in scikit-learn with ``zero_division=0``.
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
    """Return each true class's shares of the predicted ones, NaN for a class without examples."""
    return _ratio(counts, counts.sum(axis=-1, keepdims=True))


def accuracy(counts: np.ndarray) -> np.ndarray:
    """Return the share of right answers, shape (...,)."""
    return _ratio(_diagonal(counts).sum(axis=-1), counts.sum(axis=(-2, -1)))


def class_measures(counts: np.ndarray, beta: float) -> dict[str, np.ndarray]:
    """Return the measures of each class against the rest.

    Parameters
    ----------
    counts : float ndarray, shape (..., K, K)
        Confusion matrices.
    beta : float
        How many times more recall counts than precision in F-beta.

    Returns
    -------
    dict of float ndarray, shape (..., K)
        precision, recall, f1, f_beta and fall_out; NaN where a class has no examples (fall_out:
        where there are no others).

    References
    ----------
    van Rijsbergen 1979, Information Retrieval, chapter 7 (F-beta).
    """
    hits = _diagonal(counts)
    true, said = counts.sum(axis=-1), counts.sum(axis=-2)
    total = counts.sum(axis=(-2, -1))[..., None]
    none = true <= 0
    precision = np.where(none, np.nan, _ratio(hits, said, empty=0.0))
    return {
        "precision": precision,
        "recall": _ratio(hits, true),
        "f1": np.where(none, np.nan, _ratio(2 * hits, true + said)),
        "f_beta": np.where(none, np.nan, _ratio((1 + beta**2) * hits, beta**2 * true + said)),
        "fall_out": _ratio(said - hits, total - true),
    }


def mean_over_classes(values: np.ndarray) -> np.ndarray:
    """Return the mean over the last axis of what is not NaN, NaN where nothing is left."""
    there = np.isfinite(values)
    return _ratio(np.where(there, values, 0.0).sum(axis=-1), there.sum(axis=-1))


def _diagonal(counts: np.ndarray) -> np.ndarray:
    return np.diagonal(counts, axis1=-2, axis2=-1)


def _ratio(upper: np.ndarray, lower: np.ndarray, empty: float = np.nan) -> np.ndarray:
    lower = np.broadcast_to(np.asarray(lower, dtype=np.float64), np.shape(upper))
    out = np.full(lower.shape, empty)
    return np.divide(upper, lower, out=out, where=lower > 0)
