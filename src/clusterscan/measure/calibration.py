"""Calibration: turn a network's scores into probabilities that match observed frequencies.

A calibration is a small dict that a model card keeps: ``{"kind": "temperature", "temperature":
T, ...}``, with ``"offset": b`` if the base rate changes too, ``{"kind": "platt", "slope": a,
"offset": b, ...}``, ``{"kind": "beta", ...}`` or ``{"kind": "isotonic", ...}``. None changes
nothing. Every kind keeps the order of the scores, and temperature scaling the predicted class.

Beta calibration is a logistic curve whose two ends may rise at different rates: catalogued sky has
both chance matches, which raise the low end, and certain objects, which raise the high one, and a
straight line in logit cannot follow both. Isotonic calibration is any rising curve. Plain isotonic
regression is a staircase, which would give many objects the same probability and lose their
order, so the centres of its steps are joined by straight lines, and beyond the first and last
step the curve continues in logit with the slope of a logistic fit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from scipy.optimize import minimize, minimize_scalar
from scipy.special import expit, log_softmax, logit, softmax

from clusterscan.core.errors import ModelError

LOWEST, HIGHEST = 0.02, 50.0  # temperatures
_SMALLEST = 1e-7  # probabilities are kept this far from 0 and 1 before taking logits


def fit_temperature(logits: np.ndarray, label: np.ndarray) -> dict[str, Any] | None:
    """Return the temperature by which to divide logits so that the probabilities fit the labels.

    Parameters
    ----------
    logits : float ndarray, shape (n,) or (n, K)
        Logits of examples not used in training; one-dimensional: the logit of class 1.
    label : int ndarray, shape (n,)

    Returns
    -------
    dict or None
        kind, temperature, examples, and the cross entropy before and after. None if the labels
        hold fewer than two classes.

    Raises
    ------
    ModelError
        If a logit is not finite.

    Notes
    -----
    The labels are softened as in Platt (1999), to (N_c + 1) / (N_c + K) for a class of N_c
    examples. Otherwise a perfectly separated sample would give the temperature 0.

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
    """Return the calibration of logits that were trained at a different base rate.

    The logit of the network minus the logit of the training's share of positives is the
    evidence, a log likelihood ratio. The evidence is divided by the temperature, and the logit of
    the share of positives among the labels is added.

    Parameters
    ----------
    logits : float ndarray, shape (n,)
        Logit of class 1.
    label : int ndarray, shape (n,)
        0 or 1, at the base rate of the sky.
    training_rate : float
        Share of positives in training, between 0 and 1.

    Returns
    -------
    dict or None
        kind ("temperature"), temperature, offset, training_rate, sky_rate, examples; None as
        for `fit_temperature`.

    Raises
    ------
    ModelError
        If a logit is not finite, or the rate is not between 0 and 1.

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
        # (x - logit r) / T + logit s as one straight line in x: slope 1 / T and this offset.
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
        kind, slope, offset, examples; None as for `fit_temperature`.

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
        From one of the fits in this module; None: softmax alone.
    logits : float ndarray, shape (n,) or (n, K)
        One-dimensional: the logit of class 1.

    Returns
    -------
    float64 ndarray, shape (n, K)
        Two columns for one logit.

    Raises
    ------
    ModelError
        If the kind is unknown or a number is out of range.
    """
    values = np.asarray(logits, dtype=np.float64)
    curves = {"beta": beta_logit, "isotonic": isotonic_logit}
    if calibration is not None and calibration.get("kind") in curves:
        curve = str(calibration["kind"])
        # Both columns by expit: 1 - p would lose all digits of a small probability.
        score = curves[curve](calibration, _one_logit(values, curve))
        return np.column_stack([expit(-score), expit(score)])
    kind, first, offset = _parameters(calibration)
    if kind == "temperature" and offset:
        # A temperature with an offset is Platt's line of slope 1 / T.
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
    """Return calibrated probabilities for uncalibrated ones.

    Parameters
    ----------
    calibration : mapping or None
        None: the probabilities are returned unchanged.
    probability : float ndarray, shape (..., K)
        Softmax of the network's logits; NaN stays NaN.

    Returns
    -------
    float64 ndarray of the same shape

    Raises
    ------
    ModelError
        As for `apply_to_logits`.
    """
    values = np.asarray(probability, dtype=np.float64)
    if calibration is None:
        return values
    classes = values.shape[-1]
    # The logarithms of probabilities are logits up to a constant, which softmax does not see.
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
    """Return the kind, the temperature or slope, and the offset of a calibration."""
    if calibration is None:
        return "temperature", 1.0, 0.0
    kind = calibration.get("kind")
    names = {"temperature": ("temperature",), "platt": ("slope", "offset")}.get(str(kind))
    if names is None:
        raise ModelError(
            f"unknown calibration kind {kind!r}; use 'temperature', 'platt', 'beta', 'isotonic' "
            "or null"
        )
    values = [calibration.get(name) for name in names]
    if kind == "temperature" and "offset" in calibration:
        names, values = (*names, "offset"), [*values, calibration["offset"]]
    good = [isinstance(v, int | float) and bool(np.isfinite(v)) for v in values]
    if not all(good) or (kind == "temperature" and not values[0] > 0):  # type: ignore[operator]
        raise ModelError(
            f"calibration {kind}: {dict(zip(names, values, strict=True))} is not valid; train "
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
    """Return logits (n, K); a single logit x becomes (0, x), which has the same probabilities."""
    if values.ndim == 1 or values.shape[1] == 1:
        score = values.reshape(-1)
        return np.column_stack([np.zeros_like(score), score])
    return values


def _best_temperature(cross_entropy: Callable[[float], float]) -> float:
    """Return the temperature of least cross entropy, which is convex in 1 / T (one minimum)."""
    # In ln T, so that 0.02 and 50 are searched alike, and T stays positive.
    found = minimize_scalar(
        lambda log_t: cross_entropy(float(np.exp(log_t))),
        bounds=(np.log(LOWEST), np.log(HIGHEST)),
        method="bounded",
        options={"xatol": 1e-7},
    )
    return float(np.exp(found.x))


def _softened(label: np.ndarray, classes: int) -> np.ndarray:
    """Return softened one-hot labels, shape (n, K); the fewer examples, the softer."""
    count = np.bincount(label, minlength=classes)
    # Laplace's rule: the estimated chance that one more example of the class has this label.
    sure = (count + 1) / (count + classes)
    rest = (1 - sure) / (classes - 1)
    target = np.repeat(rest[label][:, None], classes, axis=1)
    target[np.arange(len(label)), label] = sure[label]
    return target


LEAST_RISE = 0.01  # a positive slope keeps the order of the scores
_NAMES = ("slope", "offset", "low_rise", "high_rise", "constant")


def fit_beta(
    logits: np.ndarray, label: np.ndarray, *, slope: float, offset: float
) -> dict[str, Any] | None:
    """Fit the beta calibration of scores, starting from a logistic fit.

    ``logit(p) = a ln q - b ln(1 - q) + c`` with ``logit(q) = slope * score + offset``.

    Parameters
    ----------
    logits : float ndarray, shape (n,)
        Finite scores.
    label : int ndarray, shape (n,)
        0 or 1.
    slope, offset : float
        Of a logistic fit (Platt) to the same examples; a slope below 0.01 is raised to it.

    Returns
    -------
    dict or None
        kind ("beta"), slope, offset, low_rise (a), high_rise (b), constant (c), examples; None
        as for `fit_temperature`.

    References
    ----------
    Kull, Silva Filho & Flach 2017, Electron. J. Stat. 11, 5052.
    """
    truth = np.asarray(label)
    if len(np.unique(truth)) < 2:
        return None
    slope = max(float(slope), LEAST_RISE)
    # Both columns rise with the score and each is straight at one end and flat at the other. With
    # equal coefficients they add up to the logit, so the logistic fit is the starting point.
    low, high = _ends(slope * np.asarray(logits, dtype=np.float64) + offset)
    design = np.column_stack([low, high, np.ones(len(truth))])
    sign = np.where(truth == 1, 1.0, -1.0)

    def loss(theta: np.ndarray) -> tuple[float, np.ndarray]:
        margin = sign * (design @ theta)
        return np.logaddexp(0, -margin).sum(), -design.T @ (sign * expit(-margin))

    found = minimize(
        loss,
        np.array([1.0, 1.0, 0.0]),  # the straight line
        jac=True,
        method="L-BFGS-B",
        bounds=[(LEAST_RISE, None), (LEAST_RISE, None), (None, None)],
        options={"ftol": 1e-14, "gtol": 1e-10, "maxiter": 1000},
    )
    values = (slope, offset, *found.x)
    numbers = {name: float(f"{v:.8g}") for name, v in zip(_NAMES, values, strict=True)}
    return {"kind": "beta", **numbers, "examples": len(truth)}


def beta_logit(calibration: Mapping[str, Any], score: np.ndarray) -> np.ndarray:
    """Return the calibrated logit at scores, which may be infinite.

    Raises
    ------
    ModelError
        If a number is missing or the curve does not rise.
    """
    values = [calibration.get(name) for name in _NAMES]
    good = all(isinstance(v, int | float) and np.isfinite(v) for v in values)
    if not good or min(values[0], values[2], values[3]) <= 0:  # type: ignore[type-var,operator]
        raise ModelError(
            f"calibration beta: {dict(zip(_NAMES, values, strict=True))} is not a rising curve; "
            "run merge again"
        )
    slope, offset, low_rise, high_rise, constant = (float(v) for v in values)  # type: ignore[arg-type]
    low, high = _ends(slope * np.asarray(score, dtype=np.float64) + offset)
    return low_rise * low + high_rise * high + constant


def _ends(z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return ln q and -ln(1 - q) of logits."""
    return -np.logaddexp(0, -z), np.logaddexp(0, z)


def fit_isotonic(
    logits: np.ndarray, label: np.ndarray, *, end_slope: float
) -> dict[str, Any] | None:
    """Fit an isotonic calibration curve and return its knots.

    Parameters
    ----------
    logits : float ndarray, shape (n,)
        Finite logits of class 1.
    label : int ndarray, shape (n,)
        0 or 1.
    end_slope : float
        Slope of the calibrated logit beyond the ends, from a logistic fit; at least 0.01 is used.

    Returns
    -------
    dict or None
        kind ("isotonic"), score and logit (of each knot), end_slope, examples; None as for
        `fit_temperature`.

    References
    ----------
    Zadrozny & Elkan 2002, KDD, 694; Oron & Flournoy 2017, Stat. Biopharm. Res. 9, 258 (centres
    of the steps).
    """
    score, true = np.asarray(logits, dtype=np.float64), np.asarray(label, dtype=np.float64)
    if len(np.unique(true)) < 2:
        return None
    from sklearn.isotonic import isotonic_regression

    # In a fixed order whatever the order of the examples, so that sums round alike.
    order = np.lexsort((true, score))
    score, true = score[order], true[order]
    # Equal scores must get equal probabilities, so they become one point with a weight.
    places, which = np.unique(score, return_inverse=True)
    weight = np.bincount(which).astype(np.float64)
    share = np.bincount(which, true) / weight
    steps = isotonic_regression(share, sample_weight=weight)
    level, step = np.unique(steps, return_inverse=True)
    total = np.bincount(step, weight)
    centre = np.bincount(step, weight * places) / total
    # With n objects a probability is not known better than to within 1 / (2 (n + 1)), so the
    # steps at 0 and 1 are moved inwards by that much.
    least = 0.5 / (total + 1)
    height = np.clip(level, least, 1 - least)
    # A small step moves further inwards than a large one, so neighbours could change places.
    height = np.maximum.accumulate(height)
    knots = logit(height)
    # Steps that the clipping has brought to one height are one knot, since knots must rise.
    rising = np.concatenate([[True], np.diff(knots) > 1e-9])
    return {
        "kind": "isotonic",
        "score": [float(f"{v:.10g}") for v in centre[rising]],
        "logit": [float(f"{v:.10g}") for v in knots[rising]],
        "end_slope": max(float(f"{end_slope:.6g}"), 0.01),
        "examples": len(true),
    }


def isotonic_logit(calibration: Mapping[str, Any], score: np.ndarray) -> np.ndarray:
    """Return the calibrated logit at scores, which may be infinite.

    Raises
    ------
    ModelError
        If the calibration's knots do not rise.
    """
    knots = np.asarray(calibration.get("score", ()), dtype=np.float64)
    level = np.asarray(calibration.get("logit", ()), dtype=np.float64)
    slope = calibration.get("end_slope")
    rises = knots.size and knots.shape == level.shape and np.isfinite([*knots, *level]).all()
    if not rises or (np.diff(knots) <= 0).any() or not isinstance(slope, int | float):
        raise ModelError(
            f"calibration isotonic: the {len(knots)} knots do not rise, or end_slope is missing; "
            "run merge again"
        )
    score = np.asarray(score, dtype=np.float64)
    inner = np.interp(score, knots, level)
    # np.interp stays level beyond its ends, where all scores would become equal.
    below, above = np.minimum(score - knots[0], 0.0), np.maximum(score - knots[-1], 0.0)
    return inner + float(slope) * (below + above)
