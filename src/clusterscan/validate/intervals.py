"""Intervals of measured fractions."""

from __future__ import annotations

import numpy as np
from scipy.special import ndtri


def wilson(
    successes: np.ndarray, trials: np.ndarray, confidence: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the Wilson score interval of a fraction, NaN where there were no trials.

    References
    ----------
    Wilson 1927, J. Am. Stat. Assoc. 22, 209; Brown, Cai & DasGupta 2001, Stat. Sci. 16, 101.
    """
    k = np.asarray(successes, dtype=np.float64)
    n = np.asarray(trials, dtype=np.float64)
    z = ndtri(0.5 + confidence / 2)
    with np.errstate(invalid="ignore", divide="ignore"):
        p = k / n
        middle = (p + z**2 / (2 * n)) / (1 + z**2 / n)
        half = z / (1 + z**2 / n) * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    low, high = np.maximum(middle - half, 0.0), np.minimum(middle + half, 1.0)
    return np.where(k == 0, np.where(n > 0, 0.0, np.nan), low), np.where(
        k == n, np.where(n > 0, 1.0, np.nan), high
    )


def fraction(successes: int, trials: int, confidence: float) -> dict[str, float | int]:
    """Return a fraction with its counts and interval."""
    low, high = wilson(np.array(successes), np.array(trials), confidence)
    return {
        "n": int(trials),
        "k": int(successes),
        "value": successes / trials if trials else float("nan"),
        "low": float(low),
        "high": float(high),
    }
