"""How well a model tells positives from negatives, and the curves that show it."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

CURVE_POINTS = 200
THRESHOLD = 0.5


def classification_metrics(label: np.ndarray, probability: np.ndarray) -> dict[str, Any]:
    """Return measures of a binary classifier, as plain numbers.

    Parameters
    ----------
    label : int ndarray, shape (n,)
        0 or 1.
    probability : float ndarray, shape (n,)
        Scores in [0, 1].

    Returns
    -------
    dict
        Counts; accuracy, precision, recall and F1 at a probability of 0.5; ROC area, average
        precision, Brier score; confusion matrix [[tn, fp], [fn, tp]]; thinned ROC and
        precision-recall curves. Where a class is missing, what needs both is None.
    """
    from sklearn import metrics as sk

    label = np.asarray(label).astype(int)
    probability = np.asarray(probability, dtype=float)
    predicted = probability >= THRESHOLD
    out: dict[str, Any] = {
        "examples": len(label),
        "positives": int(label.sum()),
        "threshold": THRESHOLD,
    }
    if not len(label):
        return out
    precision, recall, f1, _ = sk.precision_recall_fscore_support(
        label, predicted, average="binary", zero_division=0
    )
    out |= {
        "accuracy": float(sk.accuracy_score(label, predicted)),
        "precision": float(precision),
        "recall": float(recall),
        "f1": float(f1),
        "brier": float(np.mean((probability - label) ** 2)),
        "confusion_matrix": sk.confusion_matrix(label, predicted, labels=[0, 1]).tolist(),
        "roc_auc": None,
        "average_precision": None,
        "roc": None,
        "precision_recall": None,
    }
    if 0 < label.sum() < len(label):
        out |= {
            "roc_auc": float(sk.roc_auc_score(label, probability)),
            "average_precision": float(sk.average_precision_score(label, probability)),
            "roc": _roc(sk, label, probability),
            "precision_recall": _precision_recall(sk, label, probability),
        }
    return out


def recall_by_redshift(
    redshift: np.ndarray, probability: np.ndarray, edges: np.ndarray
) -> list[dict[str, Any]]:
    """Return how many positives of each redshift bin score above 0.5.

    Parameters
    ----------
    redshift, probability : float ndarray, shape (n,)
        Of the positives; NaN redshifts are left out.
    edges : float ndarray, shape (m + 1,)
        Bin edges, rising; the last bin includes its upper edge.
    """
    rows = []
    for low, high in pairwise(edges):
        inside = (redshift >= low) & (
            (redshift < high) | ((high == edges[-1]) & (redshift == high))
        )
        found = int((probability[inside] >= THRESHOLD).sum())
        count = int(inside.sum())
        rows.append(
            {
                "z_low": float(low),
                "z_high": float(high),
                "positives": count,
                "found": found,
                "recall": found / count if count else None,
            }
        )
    return rows


def _roc(sk, label: np.ndarray, probability: np.ndarray) -> dict[str, list[float]]:
    false_positive, true_positive, _ = sk.roc_curve(label, probability)
    kept = _thin(len(false_positive))
    return {
        "false_positive_rate": _rounded(false_positive[kept]),
        "true_positive_rate": _rounded(true_positive[kept]),
    }


def _precision_recall(sk, label: np.ndarray, probability: np.ndarray) -> dict[str, list[float]]:
    precision, recall, _ = sk.precision_recall_curve(label, probability)
    kept = _thin(len(precision))
    return {"recall": _rounded(recall[kept]), "precision": _rounded(precision[kept])}


def _thin(count: int) -> np.ndarray:
    return np.unique(np.linspace(0, count - 1, min(count, CURVE_POINTS)).round().astype(int))


def _rounded(values: np.ndarray) -> list[float]:
    return [round(float(v), 6) for v in values]
