"""Calibration: from a network's scores to probabilities that mean what they say.

A calibration is a small dict that a model card keeps: ``{"kind": "temperature", "temperature":
T, ...}`` or ``{"kind": "platt", "slope": a, "offset": b, ...}``; None changes nothing. Both keep
the order of the scores (and temperature scaling the predicted class).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import expit, log_softmax, softmax

from clusterscan.errors import ModelError

LOWEST, HIGHEST = 0.02, 50.0  # temperatures
_SMALLEST = 1e-7  # probabilities are kept this far from 0 and 1 on the way to logits


def fit_temperature(logits: np.ndarray, label: np.ndarray) -> dict[str, Any] | None:
    """Return the temperature by which to divide logits so that probabilities fit the labels.

    Parameters
    ----------
    logits : float ndarray, shape (n,) or (n, K)
        Of examples that training has not learnt from; one-dimensional: one logit, class 1.
    label : int ndarray, shape (n,)

    Returns
    -------
    dict or None
        kind, temperature, examples, and cross entropy before and after. None where there are
        fewer than two classes among the labels: nothing can be learnt from those.

    Raises
    ------
    ModelError
        If a logit is not finite.

    Notes
    -----
    The labels are softened as by Platt, to (N_c + 1) / (N_c + K) for a class of N_c examples:
    otherwise a perfectly separated sample would ask for the temperature 0, that is for
    certainty.

    References
    ----------
    Guo et al. 2017, ICML, 1321; Platt 1999, Adv. Large Margin Classif., 61.
    """
    scores = _two_columns(_checked(logits))
    if len(np.unique(label)) < 2:
        return None
    target = _softened(np.asarray(label), scores.shape[1])

    def cross_entropy(temperature: float) -> float:
        return float(-(target * log_softmax(scores / temperature, axis=1)).sum(axis=1).mean())

    # Convex in 1 / T, so that there is one minimum in log T too.
    found = minimize_scalar(
        lambda log_t: cross_entropy(float(np.exp(log_t))),
        bounds=(np.log(LOWEST), np.log(HIGHEST)),
        method="bounded",
        options={"xatol": 1e-7},
    )
    temperature = float(np.exp(found.x))
    return {
        "kind": "temperature",
        "temperature": round(temperature, 6),
        "examples": len(label),
        "cross_entropy_before": round(cross_entropy(1.0), 6),
        "cross_entropy_after": round(cross_entropy(temperature), 6),
    }


def fit_platt(logits: np.ndarray, label: np.ndarray) -> dict[str, Any] | None:
    """Return the slope and offset that turn one logit into a probability.

    Parameters
    ----------
    logits : float ndarray, shape (n,) or (n, 2)
    label : int ndarray, shape (n,)
        0 or 1.

    Returns
    -------
    dict or None
        kind, slope, offset, examples; None as of `fit_temperature`.

    Raises
    ------
    ModelError
        If a logit is not finite, or there are more than two classes.

    References
    ----------
    Platt 1999, Adv. Large Margin Classif., 61.
    """
    from sklearn.linear_model import LogisticRegression

    scores = _two_columns(_checked(logits))
    if scores.shape[1] != 2:
        raise ModelError(
            f"Platt's calibration is for two classes, not {scores.shape[1]}; use temperature"
        )
    label = np.asarray(label)
    if len(np.unique(label)) < 2:
        return None
    score = scores[:, 1] - scores[:, 0]
    target = _softened(label, 2)[:, 1]
    # A soft label t is an example of class 1 with weight t and one of class 0 with 1 - t.
    fit = LogisticRegression(C=np.inf, tol=1e-8, max_iter=1000).fit(
        np.concatenate([score, score])[:, None],
        np.repeat([1, 0], len(score)),
        sample_weight=np.concatenate([target, 1 - target]),
    )
    return {
        "kind": "platt",
        "slope": round(float(fit.coef_[0, 0]), 6),
        "offset": round(float(fit.intercept_[0]), 6),
        "examples": len(label),
    }


def apply_to_logits(calibration: Mapping[str, Any] | None, logits: np.ndarray) -> np.ndarray:
    """Return calibrated probabilities.

    Parameters
    ----------
    calibration : mapping or None
        From `fit_temperature` or `fit_platt`; None: softmax alone.
    logits : float ndarray, shape (n,) or (n, K)
        One-dimensional: one logit, class 1.

    Returns
    -------
    float64 ndarray, shape (n, K)
        Two columns for one logit.

    Raises
    ------
    ModelError
        If the calibration is of an unknown kind, or its numbers are impossible.
    """
    values = np.asarray(logits, dtype=np.float64)
    kind, first, offset = _parameters(calibration)
    if kind == "platt":
        scores = _two_columns(values)
        if scores.shape[1] != 2:
            raise ModelError(f"calibration 'platt' does not fit {scores.shape[1]} classes")
        score = first * (scores[:, 1] - scores[:, 0]) + offset
        return np.column_stack([expit(-score), expit(score)])
    if values.ndim == 1 or values.shape[1] == 1:
        score = values.reshape(-1) / first
        return np.column_stack([expit(-score), expit(score)])
    return softmax(values / first, axis=1)


def apply_to_probability(
    calibration: Mapping[str, Any] | None, probability: np.ndarray
) -> np.ndarray:
    """Return calibrated probabilities of uncalibrated ones.

    Parameters
    ----------
    calibration : mapping or None
        None: they stay as they are.
    probability : float ndarray, shape (..., K)
        Softmax of the network's logits; NaN stays NaN.

    Returns
    -------
    float64 ndarray, the same shape

    Raises
    ------
    ModelError
        As `apply_to_logits`.
    """
    values = np.asarray(probability, dtype=np.float64)
    if calibration is None:
        return values
    classes = values.shape[-1]
    logits = np.log(np.clip(values, _SMALLEST, 1.0)).reshape(-1, classes)
    return apply_to_logits(calibration, logits).reshape(values.shape)


def _parameters(calibration: Mapping[str, Any] | None) -> tuple[str, float, float]:
    """Return the kind, the temperature or slope, and the offset."""
    if calibration is None:
        return "temperature", 1.0, 0.0
    kind = calibration.get("kind")
    names = {"temperature": ("temperature",), "platt": ("slope", "offset")}.get(str(kind))
    if names is None:
        raise ModelError(
            f"calibration kind {kind!r} is unknown; needs 'temperature' or 'platt', or null"
        )
    values = [calibration.get(name) for name in names]
    good = [isinstance(v, int | float) and bool(np.isfinite(v)) for v in values]
    if not all(good) or (kind == "temperature" and not values[0] > 0):  # type: ignore[operator]
        raise ModelError(
            f"calibration {kind}: {dict(zip(names, values, strict=True))} is impossible; train "
            "the model again, or set calibration to null in its card"
        )
    return str(kind), float(values[0]), float(values[1]) if len(values) > 1 else 0.0  # type: ignore[arg-type]


def _checked(logits: np.ndarray) -> np.ndarray:
    values = np.asarray(logits, dtype=np.float64)
    bad = ~np.isfinite(values)
    if bad.any():
        row = int(np.flatnonzero(bad.reshape(len(values), -1).any(axis=1))[0])
        raise ModelError(
            f"logits: {bad.sum()} of {bad.size} are not finite, first at row {row}; the network "
            "diverged: train it again with a smaller learning rate"
        )
    return values


def _two_columns(values: np.ndarray) -> np.ndarray:
    """Return logits (n, K); one logit x becomes (0, x), which has the same probabilities."""
    if values.ndim == 1 or values.shape[1] == 1:
        score = values.reshape(-1)
        return np.column_stack([np.zeros_like(score), score])
    return values


def _softened(label: np.ndarray, classes: int) -> np.ndarray:
    """Return the label's rows of probabilities, shape (n, K), as unsure as their number."""
    count = np.bincount(label, minlength=classes)
    sure = (count + 1) / (count + classes)
    rest = (1 - sure) / (classes - 1)
    target = np.repeat(rest[label][:, None], classes, axis=1)
    target[np.arange(len(label)), label] = sure[label]
    return target
