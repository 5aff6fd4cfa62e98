"""Beta calibration: a logistic curve whose two ends may rise at different rates.

Catalogued sky has both chance matches, which hold up the low end, and certain objects, which
lift the high one; a straight line in logit cannot follow both.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit

from clusterscan.core.errors import ModelError

LEAST_RISE = 0.01  # the order of the scores is kept, if only just
_NAMES = ("slope", "offset", "low_rise", "high_rise", "constant")


def fit_beta(
    logits: np.ndarray, label: np.ndarray, *, slope: float, offset: float
) -> dict[str, Any] | None:
    """Return the beta calibration of scores that a straight line has brought near probabilities.

    ``logit(p) = a ln q - b ln(1 - q) + c`` with ``logit(q) = slope * score + offset``.

    Parameters
    ----------
    logits : float ndarray, shape (n,)
        One finite score each.
    label : int ndarray, shape (n,)
        0 or 1.
    slope, offset : float
        Of a logistic fit to the same examples (Platt's); the slope is at least 0.01.

    Returns
    -------
    dict or None
        kind ("beta"), slope, offset, low_rise (a), high_rise (b), constant (c), examples; None
        where there are fewer than two classes among the labels.

    References
    ----------
    Kull, Silva Filho & Flach 2017, Electron. J. Stat. 11, 5052.
    """
    truth = np.asarray(label)
    if len(np.unique(truth)) < 2:
        return None
    slope = max(float(slope), LEAST_RISE)
    low, high = _ends(slope * np.asarray(logits, dtype=np.float64) + offset)
    design = np.column_stack([low, high, np.ones(len(truth))])
    sign = np.where(truth == 1, 1.0, -1.0)

    def loss(theta: np.ndarray) -> tuple[float, np.ndarray]:
        margin = sign * (design @ theta)
        return np.logaddexp(0, -margin).sum(), -design.T @ (sign * expit(-margin))

    found = minimize(
        loss,
        np.array([1.0, 1.0, 0.0]),  # the straight line itself
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
        If a number is missing, or the curve would not rise.
    """
    values = [calibration.get(name) for name in _NAMES]
    good = all(isinstance(v, int | float) and np.isfinite(v) for v in values)
    if not good or min(values[0], values[2], values[3]) <= 0:  # type: ignore[type-var,operator]
        raise ModelError(
            f"calibration beta: {dict(zip(_NAMES, values, strict=True))} is no rising curve; make "
            "it anew"
        )
    slope, offset, low_rise, high_rise, constant = (float(v) for v in values)  # type: ignore[arg-type]
    low, high = _ends(slope * np.asarray(score, dtype=np.float64) + offset)
    return low_rise * low + high_rise * high + constant


def _ends(z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return ln q and -ln(1 - q) of logits."""
    return -np.logaddexp(0, -z), np.logaddexp(0, z)
