"""Measures of a classifier with intervals: point values by scikit-learn, draws vectorised."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from clusterscan.measure import counts as cm
from clusterscan.measure.arrays import THRESHOLD, Labelled, labelled
from clusterscan.measure.ranking import Ranking
from clusterscan.measure.reliability import (
    BINS,
    calibration_error_floor,
    excess_by_object,
    expected_calibration_error,
    squared_error,
)
from clusterscan.measure.resample import ONE_SIGMA, draws, interval, shifted_interval, wilson

#: Of each class against the rest, and as means over classes.
CLASS_MEASURES = (*cm.PER_CLASS, "roc_auc", "average_precision")
#: Of all examples together.
OVERALL = ("accuracy", "balanced_accuracy", "brier", "ece")
BETA = 2.0


def classification_scores(
    label: np.ndarray,
    probability: np.ndarray,
    classes: Sequence[str],
    positive: int = 1,
    *,
    weight: np.ndarray | None = None,
    bootstrap: int = 1000,
    seed: int = 0,
    groups: np.ndarray | None = None,
    threshold: float = THRESHOLD,
    beta: float = BETA,
) -> dict[str, Any]:
    """Measure a classifier.

    Parameters
    ----------
    label : int ndarray, shape (n,)
        True class, 0 to K - 1; n = 0 is allowed and leaves everything undefined.
    probability : float ndarray, shape (n, K) or, with two classes, (n,)
        One column a class; one-dimensional: of class 1.
    classes : sequence of str
        Names of the K >= 2 classes.
    positive : int
        The class that is looked for, where there are two.
    weight : float ndarray, shape (n,), optional
        Of each example.
    bootstrap : int
        Draws of the objects; 0: no intervals.
    seed : int
        Of the draws.
    groups : ndarray, shape (n,), optional
        Which object each example shows; see `clusterscan.measure.arrays.labelled`.
    threshold : float
        Probability from which an example counts as positive, where there are two classes.
    beta : float
        Of F-beta: how many times more recall counts than precision.

    Returns
    -------
    dict
        JSON-able. Each measure is {value, low, high}: a 68 % interval from a bootstrap over
        objects, None where undefined. accuracy, balanced_accuracy, brier, ece; ``per_class``:
        class -> precision, recall, f1, f_beta, fall_out, roc_auc, average_precision; ``macro``:
        the same, averaged over the classes that have examples; ``confusion``: counts and
        normalised (shares of each true class) with low and high; examples, objects, support,
        positive (name, None with more than two classes), threshold, beta, ece_floor (the ece
        that perfect probabilities would show here), bootstrap.

    Raises
    ------
    ProductError
        If labels, probabilities, weights and groups do not fit or are impossible (NaN too).

    Notes
    -----
    docs/measures.md has the equations. Draws of a class without examples leave it out.
    """
    data = labelled(
        label, probability, classes, positive, weight=weight, groups=groups, threshold=threshold
    )
    return scores_of(data, bootstrap=bootstrap, seed=seed, beta=beta)


def scores_of(
    data: Labelled, *, bootstrap: int = 1000, seed: int = 0, beta: float = BETA
) -> dict[str, Any]:
    """Measure a classifier; see `classification_scores`."""
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
    """Return the confusion matrix and every measure of the examples as they are."""
    from sklearn import metrics as sk

    k = len(data.classes)
    counts = cm.confusion(data.label, data.predicted, data.weight, k)
    values: dict[str, Any] = {
        "accuracy": np.nan,
        "brier": np.nan,
        "ece": expected_calibration_error(data),
        **cm.class_measures(counts, beta),
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
        values[f"macro_{key}"] = cm.mean_over_classes(values[key])
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
    for times in draws(m, len(data), count, rng):
        now = slice(done, done + len(times))
        drawn_counts[now] = (times @ cells).reshape(-1, k, k)
        brier[now], ece[now] = times @ error, np.abs(times @ excess).sum(axis=1)
        weight = times[:, data.object] * data.weight
        for c, ranking in enumerate(rankings):
            areas[0, now, c], areas[1, now, c] = ranking.areas(weight)
        done += len(times)
    total = drawn_counts.sum(axis=(1, 2))
    values = {
        "accuracy": cm.accuracy(drawn_counts),
        "brier": np.divide(brier, total, out=np.full(count, np.nan), where=total > 0),
        "ece": np.divide(ece, total, out=np.full(count, np.nan), where=total > 0),
        **cm.class_measures(drawn_counts, beta),
        "roc_auc": areas[0],
        "average_precision": areas[1],
    }
    for key in CLASS_MEASURES:
        values[f"macro_{key}"] = cm.mean_over_classes(values[key])
    values["balanced_accuracy"] = values["macro_recall"]
    return drawn_counts, values


def _objects_counted(data: Labelled, key: str, c: int | None) -> int:
    """Return how many objects a share is a share of, 0 for what is no share."""
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
            # No draw of a perfect sample is worse; Wilson's interval knows that it is finite.
            low_high = wilson(value * objects, objects)
    return {"value": _or_none(value), **_ends(low_high)}


def _ends(low_high: tuple[float, float] | None) -> dict[str, float | None]:
    # Rounded, as the last bits of a matrix product depend on the number of threads.
    low, high = (None, None) if low_high is None else (round(v, 6) for v in low_high)
    return {"low": low, "high": high}


def _confusion(data: Labelled, counts: np.ndarray, drawn: np.ndarray) -> dict[str, Any]:
    """Return the confusion matrix, its row shares, and their intervals."""
    shares, drawn_shares = cm.normalised(counts), cm.normalised(drawn)
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
