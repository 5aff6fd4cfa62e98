"""Isotonic calibration: any rising curve from score to probability, made strictly rising.

Plain isotonic regression is a staircase whose steps would give many objects one probability and
lose their order. Here the steps' centres are joined by straight lines, and beyond the first and
last step the curve goes on in logit with the slope of a logistic fit.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.special import logit

from clusterscan.core.errors import ModelError


def fit_isotonic(
    logits: np.ndarray, label: np.ndarray, *, end_slope: float
) -> dict[str, Any] | None:
    """Return the knots of the calibration curve.

    Parameters
    ----------
    logits : float ndarray, shape (n,)
        One finite logit each, class 1.
    label : int ndarray, shape (n,)
        0 or 1.
    end_slope : float
        Slope of the calibrated logit beyond the ends, such as Platt's; at least 0.01 is used.

    Returns
    -------
    dict or None
        kind ("isotonic"), score and logit (of each knot), end_slope, examples; None where there
        are fewer than two classes among the labels.

    References
    ----------
    Zadrozny & Elkan 2002, KDD, 694; Oron & Flournoy 2017, Stat. Biopharm. Res. 9, 258 (centres
    of the steps).
    """
    score, true = np.asarray(logits, dtype=np.float64), np.asarray(label, dtype=np.float64)
    if len(np.unique(true)) < 2:
        return None
    from sklearn.isotonic import isotonic_regression

    order = np.lexsort((true, score))
    score, true = score[order], true[order]
    # Equal scores must have one probability: they are one point with a weight.
    places, which = np.unique(score, return_inverse=True)
    weight = np.bincount(which).astype(np.float64)
    share = np.bincount(which, true) / weight
    steps = isotonic_regression(share, sample_weight=weight)
    level, step = np.unique(steps, return_inverse=True)
    total = np.bincount(step, weight)
    centre = np.bincount(step, weight * places) / total
    # A step of k of n real ones says no more than that it is below (k + 1/2) / (n + 1).
    least = 0.5 / (total + 1)
    height = np.clip(level, least, 1 - least)
    height = np.maximum.accumulate(height)
    knots = logit(height)
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
            f"calibration isotonic: {len(knots)} knots that do not rise, or no end_slope; make "
            "it anew"
        )
    score = np.asarray(score, dtype=np.float64)
    inner = np.interp(score, knots, level)
    below, above = np.minimum(score - knots[0], 0.0), np.maximum(score - knots[-1], 0.0)
    return inner + float(slope) * (below + above)
