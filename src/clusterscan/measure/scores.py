"""All measures of a classifier with intervals, nested or as the plain numbers of metrics.json.

Point values come from scikit-learn. The bootstrap draws are vectorised: each object contributes
counts and sums once, and a draw is a weighted sum over objects.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from clusterscan.measure.confusion_and_curves import (
    PER_CLASS,
    Ranking,
    accuracy,
    class_measures,
    confusion,
    mean_over_classes,
    normalised,
    precision_recall,
    roc,
)
from clusterscan.measure.intervals import ONE_SIGMA, draws, interval, shifted_interval, wilson
from clusterscan.measure.labelled import THRESHOLD, Labelled, to_labelled
from clusterscan.measure.reliability import (
    BINS,
    calibration_error_floor,
    excess_by_object,
    expected_calibration_error,
    reliability,
    squared_error,
)

#: Measures of each class against the rest, also averaged over classes.
CLASS_MEASURES = (*PER_CLASS, "roc_auc", "average_precision")
#: Measures of all examples together.
OVERALL = ("accuracy", "balanced_accuracy", "brier", "ece")
BETA = 2.0


def scores_of(
    data: Labelled, *, bootstrap: int = 1000, seed: int = 0, beta: float = BETA
) -> dict[str, Any]:
    """Measure a classifier with intervals from a bootstrap over objects.

    Parameters
    ----------
    data : Labelled
        Without examples every measure is undefined.
    bootstrap : int
        Number of draws; 0: no intervals.
    seed : int
        Seed of the draws.
    beta : float
        Weight of recall relative to precision in F-beta.

    Returns
    -------
    dict
        JSON-able. Each measure is {value, low, high}: a 68 % interval from a bootstrap over
        objects, None where undefined. accuracy, balanced_accuracy, brier, ece; ``per_class``:
        class -> precision, recall, f1, f_beta, fall_out, roc_auc, average_precision; ``macro``:
        the same, averaged over the classes that have examples; ``confusion``: counts and
        normalised (shares of each true class) with low and high; examples, objects, support,
        positive (name, None with more than two classes), threshold, beta, ece_floor (the ece
        that perfect probabilities would show), bootstrap.

    Notes
    -----
    The equations are in docs/measures.md. A draw without examples of a class leaves it out.
    """
    counts, values = _point_values(data, beta)
    drawn_counts, drawn = _drawn_values(data, beta, bootstrap, np.random.default_rng(seed))
    names = data.classes

    def entry(key: str, c: int | None = None) -> dict[str, float | None]:
        value = values[key] if c is None else values[key][c]
        draw = drawn[key] if c is None else drawn[key][:, c]
        return _entry(key, float(value), draw, _objects_counted(data, key, c))

    return {
        "examples": len(data),
        "objects": data.n_objects,
        "classes": list(names),
        "positive": names[data.positive] if data.is_binary else None,
        "support": {name: int((data.label == c).sum()) for c, name in enumerate(names)},
        "threshold": data.threshold,
        "beta": beta,
        "bootstrap": {"draws": bootstrap, "confidence": ONE_SIGMA, "seed": seed},
        **{key: entry(key) for key in OVERALL},
        "ece_floor": _or_none(calibration_error_floor(data)),
        "per_class": {
            name: {key: entry(key, c) for key in CLASS_MEASURES} for c, name in enumerate(names)
        },
        "macro": {key: entry(f"macro_{key}") for key in CLASS_MEASURES},
        "confusion": _confusion(data, counts, drawn_counts),
    }


def _point_values(data: Labelled, beta: float) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return the confusion matrix and every measure of the full sample."""
    from sklearn import metrics as sk

    k = len(data.classes)
    counts = confusion(data.label, data.predicted, data.weight, k)
    values: dict[str, Any] = {
        "accuracy": np.nan,
        "brier": np.nan,
        "ece": expected_calibration_error(data),
        **class_measures(counts, beta),
        "roc_auc": np.full(k, np.nan),
        "average_precision": np.full(k, np.nan),
    }
    if data.weight.sum() > 0:
        values["accuracy"] = sk.accuracy_score(
            data.label, data.predicted, sample_weight=data.weight
        )
        values["brier"] = np.average(squared_error(data), weights=data.weight)
        _by_class(sk, data, counts, beta, values)
    for key in CLASS_MEASURES:
        values[f"macro_{key}"] = mean_over_classes(values[key])
    values["balanced_accuracy"] = values["macro_recall"]
    return counts, values


def _by_class(sk, data: Labelled, counts: np.ndarray, beta: float, values: dict) -> None:
    """Set scikit-learn's measures of each class that has examples."""
    options = {
        "labels": np.arange(len(data.classes)), "average": None, "zero_division": 0.0,
        "sample_weight": data.weight,
    }  # fmt: skip
    precision, recall, f1, _ = sk.precision_recall_fscore_support(
        data.label, data.predicted, **options
    )
    f_beta = sk.fbeta_score(data.label, data.predicted, beta=beta, **options)
    there = counts.sum(axis=1) > 0
    for key, found in (
        ("precision", precision), ("recall", recall), ("f1", f1), ("f_beta", f_beta),
    ):  # fmt: skip
        values[key] = np.where(there, found, np.nan)
    # Areas compare a class with the rest, so both must have examples.
    for c in np.flatnonzero(there & (counts.sum() - counts.sum(axis=1) > 0)):
        is_class, score = data.label == c, data.probability[:, c]
        values["roc_auc"][c] = sk.roc_auc_score(is_class, score, sample_weight=data.weight)
        values["average_precision"][c] = sk.average_precision_score(
            is_class, score, sample_weight=data.weight
        )


def _drawn_values(
    data: Labelled, beta: float, bootstrap: int, rng: np.random.Generator
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return the confusion matrices (draws, K, K) and every measure, draws first."""
    k, m = len(data.classes), data.n_objects
    # What each object contributes: counts in the confusion matrix, squared error, and excess of
    # claimed over true in each bin. A draw is then a matrix product with the drawn multiplicities.
    cells = np.bincount(
        (data.object * k + data.label) * k + data.predicted, data.weight, minlength=m * k * k
    ).reshape(m, k * k)
    error = np.bincount(data.object, data.weight * squared_error(data), minlength=m)
    excess = excess_by_object(data, BINS)
    rankings = [Ranking(data.label == c, data.probability[:, c]) for c in range(k)]
    count = bootstrap if m else 0
    drawn_counts = np.zeros((count, k, k))
    brier, ece = np.zeros(count), np.zeros(count)
    areas = np.full((2, count, k), np.nan)
    done = 0
    for times in draws(m, len(data), count, rng):  # (some draws, objects)
        now = slice(done, done + len(times))
        drawn_counts[now] = (times @ cells).reshape(-1, k, k)
        brier[now], ece[now] = times @ error, np.abs(times @ excess).sum(axis=1)
        # An object that was drawn twice counts twice in all of its views.
        weight = times[:, data.object] * data.weight
        for c, ranking in enumerate(rankings):
            areas[0, now, c], areas[1, now, c] = ranking.areas(weight)
        done += len(times)
    total = drawn_counts.sum(axis=(1, 2))
    values = {
        "accuracy": accuracy(drawn_counts),
        "brier": np.divide(brier, total, out=np.full(count, np.nan), where=total > 0),
        "ece": np.divide(ece, total, out=np.full(count, np.nan), where=total > 0),
        **class_measures(drawn_counts, beta),
        "roc_auc": areas[0],
        "average_precision": areas[1],
    }
    for key in CLASS_MEASURES:
        values[f"macro_{key}"] = mean_over_classes(values[key])
    values["balanced_accuracy"] = values["macro_recall"]
    return drawn_counts, values


def _objects_counted(data: Labelled, key: str, c: int | None) -> int:
    """Return the number of objects in the denominator of a share, 0 for other measures."""
    # Wilson's interval needs the number of independent objects in the denominator.
    counted = {
        "accuracy": np.ones(len(data), dtype=bool),
        "recall": data.label == c,
        "fall_out": data.label != c,
        "precision": data.predicted == c,
    }
    return len(np.unique(data.object[counted[key]])) if key in counted else 0


def _entry(key: str, value: float, drawn: np.ndarray, objects: int) -> dict[str, float | None]:
    low_high: tuple[float, float] | None = None
    if np.isfinite(value) and drawn.size:
        low_high = shifted_interval(drawn, value) if key == "ece" else interval(drawn)
        if low_high is None and objects and value in (0.0, 1.0):
            # All draws of a perfect sample are perfect; Wilson's interval allows for its size.
            low_high = wilson(value * objects, objects)
    return {"value": _or_none(value), **_ends(low_high)}


def _ends(low_high: tuple[float, float] | None) -> dict[str, float | None]:
    # Rounded because the last bits of a matrix product depend on the number of threads.
    low, high = (None, None) if low_high is None else (round(v, 6) for v in low_high)
    return {"low": low, "high": high}


def _confusion(data: Labelled, counts: np.ndarray, drawn: np.ndarray) -> dict[str, Any]:
    """Return the confusion matrix, its row shares and their intervals."""
    shares, drawn_shares = normalised(counts), normalised(drawn)
    whole = bool((counts == np.rint(counts)).all())
    rows = []
    for i, row in enumerate(shares):
        objects = _objects_counted(data, "recall", i)
        rows.append(
            [_entry("", float(v), drawn_shares[:, i, j], objects) for j, v in enumerate(row)]
        )
    return {
        "counts": [[int(v) if whole else float(v) for v in row] for row in counts],
        "normalised": [[cell["value"] for cell in row] for row in rows],
        "low": [[cell["low"] for cell in row] for row in rows],
        "high": [[cell["high"] for cell in row] for row in rows],
    }


def _or_none(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def metrics_of(
    data: Labelled, *, bootstrap: int = 1000, seed: int = 0, beta: float = BETA
) -> dict[str, Any]:
    """Return the content of metrics.json: plain numbers, with intervals and curves.

    Parameters are those of `scores_of`.

    Returns
    -------
    dict
        Plain numbers (None if undefined): accuracy, balanced_accuracy, precision, recall, f1,
        f_beta, fall_out, roc_auc, average_precision, brier, ece (of the positive class if there
        are two classes, macro averages otherwise) and macro_<measure>.
        ``intervals``: name -> [low, high], 68 %. ``per_class``: class -> measure -> {value, low,
        high}. ``confusion_matrix`` (counts) and ``confusion_normalised``. Two classes:
        ``positives`` and the curves ``roc`` and ``precision_recall``; more classes: the same per
        class in ``curves``. ``reliability``: the rows of the diagram. Also counts and settings.
    """
    scores = scores_of(data, bootstrap=bootstrap, seed=seed, beta=beta)
    return {**plain(scores), **_curves(data), "reliability": reliability(data)}


def plain(scores: dict[str, Any]) -> dict[str, Any]:
    """Flatten nested scores to plain numbers by name, with their intervals."""
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


def prediction_metrics(
    predictions: pd.DataFrame,
    classes: Sequence[str],
    positive: int = 1,
    *,
    bootstrap: int = 1000,
    seed: int = 0,
    threshold: float = THRESHOLD,
) -> dict[str, Any]:
    """Return the measures of a table of predictions of one split.

    See `metrics_of` for the result and `clusterscan.measure.labelled.to_labelled` for the columns.

    Raises
    ------
    ProductError
        If a column is missing, or labels or probabilities are not valid.
    """
    data = to_labelled(predictions, classes, positive, threshold=threshold)
    return metrics_of(data, bootstrap=bootstrap, seed=seed)
