"""metrics.json of a model: the scores as plain numbers by name, their intervals beside them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from clusterscan.measure.arrays import THRESHOLD, Labelled, labelled
from clusterscan.measure.curves import precision_recall, roc
from clusterscan.measure.reliability import reliability
from clusterscan.measure.scores import BETA, CLASS_MEASURES, OVERALL, scores_of

BINARY = ("negative", "positive")


def classification_metrics(
    label: np.ndarray,
    probability: np.ndarray,
    classes: Sequence[str] = BINARY,
    positive: int = 1,
    *,
    weight: np.ndarray | None = None,
    bootstrap: int = 1000,
    seed: int = 0,
    groups: np.ndarray | None = None,
    threshold: float = THRESHOLD,
    beta: float = BETA,
) -> dict[str, Any]:
    """Return measures of a classifier as plain numbers, with intervals and curves.

    Parameters are those of `clusterscan.measure.scores.classification_scores`.

    Returns
    -------
    dict
        Plain numbers (None where undefined): accuracy, balanced_accuracy, precision, recall,
        f1, f_beta, fall_out, roc_auc, average_precision, brier, ece - of the positive class
        where there are two, macro averages where there are more - and macro_<measure>.
        ``intervals``: name -> [low, high], 68 %. ``per_class``: class -> measure -> {value, low,
        high}. ``confusion_matrix`` (counts) and ``confusion_normalised``. Two classes:
        ``positives``, and the curves ``roc`` and ``precision_recall``; more: those by class in
        ``curves``. ``reliability``: the rows of the diagram. Counts and settings besides.

    Raises
    ------
    ProductError
        As `classification_scores`.
    """
    data = labelled(
        label, probability, classes, positive, weight=weight, groups=groups, threshold=threshold
    )
    return metrics_of(data, bootstrap=bootstrap, seed=seed, beta=beta)


def metrics_of(
    data: Labelled, *, bootstrap: int = 1000, seed: int = 0, beta: float = BETA
) -> dict[str, Any]:
    """Return the measures of checked examples; see `classification_metrics`."""
    scores = scores_of(data, bootstrap=bootstrap, seed=seed, beta=beta)
    return {**plain(scores), **_curves(data), "reliability": reliability(data)}


def plain(scores: dict[str, Any]) -> dict[str, Any]:
    """Return nested scores as plain numbers by name with their intervals."""
    headline = (
        scores["macro"] if scores["positive"] is None else scores["per_class"][scores["positive"]]
    )
    named = {
        **{key: scores[key] for key in OVERALL},
        **{key: headline[key] for key in CLASS_MEASURES},
        **{f"macro_{key}": scores["macro"][key] for key in CLASS_MEASURES},
    }
    kept = ("examples", "objects", "classes", "positive", "support", "threshold", "beta",
            "bootstrap", "ece_floor", "per_class")  # fmt: skip
    out: dict[str, Any] = {key: scores[key] for key in kept}
    if scores["positive"] is not None:
        out["positives"] = scores["support"][scores["positive"]]
    out |= {key: entry["value"] for key, entry in named.items()}
    out["intervals"] = {
        key: [entry["low"], entry["high"]]
        for key, entry in named.items()
        if entry["low"] is not None
    }
    out["confusion_matrix"] = scores["confusion"]["counts"]
    out["confusion_normalised"] = {
        key: scores["confusion"][key] for key in ("normalised", "low", "high")
    }
    return out


def _curves(data: Labelled) -> dict[str, Any]:
    if data.is_binary:
        is_positive, score = data.label == data.positive, data.probability[:, data.positive]
        return {
            "roc": roc(is_positive, score, data.weight),
            "precision_recall": precision_recall(is_positive, score, data.weight),
        }
    return {
        "curves": {
            name: {
                "roc": roc(data.label == c, data.probability[:, c], data.weight),
                "precision_recall": precision_recall(
                    data.label == c, data.probability[:, c], data.weight
                ),
            }
            for c, name in enumerate(data.classes)
        }
    }
