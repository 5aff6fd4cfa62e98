"""Calibration: from a network's scores to probabilities that mean what they say.

A calibration is a small dict that a model card keeps: ``{"kind": "temperature", "temperature":
T, ...}``, with ``"offset": b`` where the base rate changes too, ``{"kind": "platt", "slope": a,
"offset": b, ...}``, or ``{"kind": "beta", ...}`` and ``{"kind": "isotonic", ...}`` (the modules of
these names); None changes nothing. All keep the order of the scores (and temperature scaling the
predicted class).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import expit, log_softmax, logit, softmax

from clusterscan.core.errors import ModelError
from clusterscan.measure.beta import beta_logit
from clusterscan.measure.isotonic import isotonic_logit

LOWEST, HIGHEST = 0.02, 50.0  # temperatures
_CURVES = {"beta": beta_logit, "isotonic": isotonic_logit}
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

    temperature = _best_temperature(cross_entropy)
    return {
        "kind": "temperature",
        "temperature": round(temperature, 6),
        "examples": len(label),
        "cross_entropy_before": round(cross_entropy(1.0), 6),
        "cross_entropy_after": round(cross_entropy(temperature), 6),
    }


def fit_temperature_and_rate(
    logits: np.ndarray, label: np.ndarray, training_rate: float
) -> dict[str, Any] | None:
    """Return the calibration of logits that were learnt at another base rate than the labels'.

    A network's logit less that of its training's share of positives is the evidence, a log
    likelihood ratio. The evidence is divided by the temperature, and the logit of the share of
    positives among the labels is added.

    Parameters
    ----------
    logits : float ndarray, shape (n,)
        One logit each, class 1.
    label : int ndarray, shape (n,)
        0 or 1, at the base rate that the probabilities are wanted for: that of the sky.
    training_rate : float
        Share of positives at which the logits were learnt, between 0 and 1.

    Returns
    -------
    dict or None
        kind ("temperature"), temperature, offset, training_rate, sky_rate, examples; None as of
        `fit_temperature`.

    Raises
    ------
    ModelError
        If a logit is not finite, or the rate is no rate.

    References
    ----------
    Saerens, Latinne & Decaestecker 2002, Neural Comput. 14, 21 (new base rates); Guo et al. 2017.
    """
    if not 0 < training_rate < 1:
        raise ModelError(f"training_rate = {training_rate} must lie between 0 and 1")
    evidence = _checked(logits).reshape(-1) - logit(training_rate)
    label = np.asarray(label)
    if len(np.unique(label)) < 2:
        return None
    target = _softened(label, 2)[:, 1]
    sky = float(target.mean())

    def cross_entropy(temperature: float) -> float:
        score = evidence / temperature + logit(sky)
        return float((np.logaddexp(0, score) - target * score).mean())

    temperature = _best_temperature(cross_entropy)
    return {
        "kind": "temperature",
        "temperature": round(temperature, 6),
        "offset": round(float(logit(sky) - logit(training_rate) / temperature), 6),
        "training_rate": round(float(training_rate), 6),
        "sky_rate": round(sky, 6),
        "examples": len(label),
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
        From one of the fits here, `fit_beta` or `fit_isotonic`; None: softmax alone.
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
    if calibration is not None and calibration.get("kind") in _CURVES:
        curve = str(calibration["kind"])
        score = _CURVES[curve](calibration, _one_logit(values, curve))
        return np.column_stack([expit(-score), expit(score)])
    kind, first, offset = _parameters(calibration)
    if kind == "temperature" and offset:
        first, kind = 1 / first, "platt"
    if kind == "platt":
        score = first * _one_logit(values, kind) + offset
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


def _one_logit(values: np.ndarray, kind: str) -> np.ndarray:
    if values.ndim == 1:
        return values
    scores = _two_columns(values)
    if scores.shape[1] != 2:
        raise ModelError(f"calibration {kind!r} does not fit {scores.shape[1]} classes")
    return scores[:, 1] - scores[:, 0]


def _parameters(calibration: Mapping[str, Any] | None) -> tuple[str, float, float]:
    """Return the kind, the temperature or slope, and the offset."""
    if calibration is None:
        return "temperature", 1.0, 0.0
    kind = calibration.get("kind")
    names = {"temperature": ("temperature",), "platt": ("slope", "offset")}.get(str(kind))
    if names is None:
        raise ModelError(
            f"calibration kind {kind!r} is unknown; needs 'temperature', 'platt', 'beta' or "
            "'isotonic', or null"
        )
    values = [calibration.get(name) for name in names]
    if kind == "temperature" and "offset" in calibration:
        names, values = (*names, "offset"), [*values, calibration["offset"]]
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


def _best_temperature(cross_entropy: Callable[[float], float]) -> float:
    """Return the temperature of least cross-entropy, which is convex in 1 / T: one minimum."""
    found = minimize_scalar(
        lambda log_t: cross_entropy(float(np.exp(log_t))),
        bounds=(np.log(LOWEST), np.log(HIGHEST)),
        method="bounded",
        options={"xatol": 1e-7},
    )
    return float(np.exp(found.x))


def _softened(label: np.ndarray, classes: int) -> np.ndarray:
    """Return the label's rows of probabilities, shape (n, K), as unsure as their number."""
    count = np.bincount(label, minlength=classes)
    sure = (count + 1) / (count + classes)
    rest = (1 - sure) / (classes - 1)
    target = np.repeat(rest[label][:, None], classes, axis=1)
    target[np.arange(len(label)), label] = sure[label]
    return target
