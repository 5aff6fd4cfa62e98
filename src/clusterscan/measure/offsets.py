"""Offsets of detections from true positions: a Rayleigh core and a tail of chance matches."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.optimize import minimize

MEDIAN_OF_RAYLEIGH = np.sqrt(2 * np.log(2))
FEWEST = 5  # separations needed for a fit


def fit_offsets(separation_arcsec: np.ndarray, radius_arcsec: float) -> dict[str, Any]:
    """Fit a Rayleigh core and a uniform distribution over the search disc to separations.

    ``f(r) = (1 - t) r / s^2 exp(-r^2 / 2 s^2) / (1 - exp(-R^2 / 2 s^2)) + t 2 r / R^2`` for r < R:
    chance matches and wrong centres are uniform over the disc.

    Parameters
    ----------
    separation_arcsec : float ndarray, shape (n,)
        Separations of matches within the radius.
    radius_arcsec : float
        R, the largest separation of a match.

    Returns
    -------
    dict
        n, median_arcsec, sigma_arcsec (s, the error along one axis) and sigma_error_arcsec,
        tail (t) and tail_error; NaN with fewer than five separations. Errors come from the
        curvature of the likelihood.
    """
    r = np.asarray(separation_arcsec, dtype=np.float64)
    names = ("median_arcsec", "sigma_arcsec", "sigma_error_arcsec", "tail", "tail_error")
    if r.size < FEWEST:
        return {"n": int(r.size), **dict.fromkeys(names, float("nan"))}

    def cost(theta: np.ndarray) -> float:
        s, t = np.exp(theta[0]), 1 / (1 + np.exp(-theta[1]))
        # The denominator is the part of the Rayleigh distribution within R: no match lies beyond.
        # expm1 keeps its digits where s is large against R.
        core = r / s**2 * np.exp(-0.5 * (r / s) ** 2) / -np.expm1(-0.5 * (radius_arcsec / s) ** 2)
        spread = 2 * r / radius_arcsec**2
        # Weak priors keep the fit of a few separations away from s = 0 and from t = 0 or 1.
        pull = 0.5 * ((theta[0] - start) / 2) ** 2 + 0.5 * ((theta[1] + 2) / 3) ** 2
        return float(-np.log((1 - t) * core + t * spread + 1e-300).sum() + pull)

    # Fitted in log s and logit t, so that no bound is needed: s > 0 and 0 < t < 1 always hold.
    start = float(np.log(np.median(r) / MEDIAN_OF_RAYLEIGH + 1e-9))
    found = minimize(cost, np.array([start, -2.0]), method="Nelder-Mead",
                     options={"xatol": 1e-6, "fatol": 1e-8, "maxiter": 2000})  # fmt: skip
    sigma, tail = float(np.exp(found.x[0])), float(1 / (1 + np.exp(-found.x[1])))
    spread = np.sqrt(np.maximum(np.diag(np.linalg.pinv(_curvature(cost, found.x))), 0.0))
    # From log s and logit t back to s and t: ds = s d(log s), dt = t (1 - t) d(logit t).
    values = (np.median(r), sigma, sigma * spread[0], tail, tail * (1 - tail) * spread[1])
    rounded = {name: float(f"{v:.6g}") for name, v in zip(names, values, strict=True)}
    return {"n": int(r.size), **rounded}


def core_and_tail(
    edges_arcsec: np.ndarray, sigma_arcsec: float, tail: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the expected share of core and tail matches in each bin; the last edge is R."""
    edges = np.asarray(edges_arcsec, dtype=np.float64)
    inside = -np.expm1(-0.5 * (edges / sigma_arcsec) ** 2)
    # Differences of the cumulative distribution: exact for bins of any width.
    core = (1 - tail) * np.diff(inside) / inside[-1]
    return core, tail * np.diff(edges**2) / edges[-1] ** 2


def _curvature(cost, at: np.ndarray, step: float = 1e-3) -> np.ndarray:
    """Return the matrix of second derivatives by central differences, shape (k, k)."""
    k = at.size
    matrix, unit = np.empty((k, k)), step * np.eye(k)
    for i in range(k):
        for j in range(k):
            corners = [
                a * b * cost(at + a * unit[i] + b * unit[j]) for a in (1, -1) for b in (1, -1)
            ]
            matrix[i, j] = sum(corners) / (4 * step**2)
    return matrix
