"""The purity that calibrated probabilities promise: of every sample at or above a threshold."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def expected_purity(probability: np.ndarray) -> np.ndarray:
    """Return the mean probability of all objects at least as probable as each.

    Parameters
    ----------
    probability : float ndarray, shape (n,)
        Calibrated; without NaN.

    Returns
    -------
    purity : float64 ndarray, shape (n,)
        Equal probabilities have one purity. It never rises as the probability falls.
    """
    p = np.asarray(probability, dtype=np.float64)
    order = np.argsort(-p, kind="stable")
    ranked = p[order]
    last = np.flatnonzero(np.diff(ranked, append=-np.inf) != 0)  # equal ones enter together
    mean = np.cumsum(ranked)[last] / (last + 1)
    purity = np.empty(p.size)
    purity[order] = np.repeat(mean, np.diff(last, prepend=-1))
    return purity


def sample_thresholds(probability: np.ndarray, purities: Sequence[float]) -> np.ndarray:
    """Return the lowest probability at which a sample's expected purity reaches each level.

    Returns
    -------
    threshold : float64 ndarray, shape (k,)
        NaN where no sample is so pure.
    """
    p = np.asarray(probability, dtype=np.float64)
    expected = expected_purity(p)
    found = [p[expected >= level] for level in purities]
    return np.array([part.min() if part.size else np.nan for part in found])


def purest_sample(probability: np.ndarray, purities: Sequence[float]) -> np.ndarray:
    """Return the purity of the purest of the samples that each object is in, NaN if none.

    Parameters
    ----------
    probability : float ndarray, shape (n,)
    purities : sequence of float
        Rising.
    """
    p = np.asarray(probability, dtype=np.float64)
    sample = np.full(p.size, np.nan)
    for level, threshold in zip(purities, sample_thresholds(p, purities), strict=True):
        sample[p >= threshold] = level
    return sample
