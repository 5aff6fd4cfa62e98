"""Intervals: bootstrap over objects, and Wilson's interval of a share.

The bootstrap draws all views of an object together. An image rotated fifteen times is one
measurement, not fifteen: intervals from a bootstrap over examples would be too narrow by up to the
square root of the number of views.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

ONE_SIGMA = 0.6827  # probability of a Gaussian within one standard deviation
_MOST_NUMBERS = 2**22  # in one array, so that memory does not grow with the number of draws


def draws(
    n_objects: int, n_examples: int, count: int, rng: np.random.Generator
) -> Iterator[np.ndarray]:
    """Yield the number of times each object is drawn, as float arrays (some draws, n_objects).

    Parameters
    ----------
    n_objects, n_examples : int
        Objects to draw from, and examples, which only limit the draws per array.
    count : int
        Total number of draws; each takes n_objects with replacement.
    rng : numpy.random.Generator

    References
    ----------
    Efron 1979, Ann. Stat. 7, 1; Field & Welsh 2007, J. R. Stat. Soc. B 69, 369 (clusters).
    """
    # Draws come in the same order for any size of the pieces, so memory does not change results.
    at_once = max(1, _MOST_NUMBERS // max(n_examples, 1))
    for start in range(0, count, at_once):
        size = min(at_once, count - start)
        # Row k of `picked` is offset by k * n_objects, so that one bincount counts all draws.
        picked = rng.integers(n_objects, size=(size, n_objects))
        picked += n_objects * np.arange(size)[:, None]
        times = np.bincount(picked.ravel(), minlength=size * n_objects)
        yield times.reshape(size, n_objects).astype(np.float64)


def interval(values: np.ndarray, confidence: float = ONE_SIGMA) -> tuple[float, float] | None:
    """Return the central interval of draws (percentiles), or None if they are not informative.

    They are not if most of them are NaN, or if all are equal: a perfect score stays perfect in
    every draw, which does not mean that it is exact.
    """
    # A rare class is missing from some draws, which then have no value.
    known = values[np.isfinite(values)]
    tails = [0.5 - confidence / 2, 0.5 + confidence / 2]
    if not known.size or 2 * known.size < values.size or np.ptp(known) == 0:
        return None
    low, high = np.quantile(known, tails)
    return float(low), float(high)


def shifted_interval(
    values: np.ndarray, value: float, confidence: float = ONE_SIGMA
) -> tuple[float, float] | None:
    """Return the spread of the draws about their median, centred on the value, at least 0.

    Used for measures such as the calibration error, whose draws all lie above the value because
    each draw adds sampling noise a second time.
    """
    found = interval(values, confidence)
    if found is None:
        return None
    middle = float(np.nanmedian(values))
    # Only the width of the draws is used: their median is biased, the value is not biased again.
    return max(value + found[0] - middle, 0.0), value + found[1] - middle


def wilson(found: ArrayLike, count: ArrayLike, confidence: float = ONE_SIGMA) -> tuple[Any, Any]:
    """Return Wilson's interval of the share found / count.

    `astropy.stats.binom_conf_interval` would truncate ``found``, which may be a fraction here (a
    weighted share times the number of objects), and refuses a count of 0.

    Parameters
    ----------
    found, count : array-like
        Successes and trials; scalars give floats.
    confidence : float
        Probability that the interval holds the share.

    Returns
    -------
    low, high : float or float64 ndarray
        NaN without trials.

    References
    ----------
    Wilson 1927, J. Am. Stat. Assoc. 22, 209; Brown, Cai & DasGupta 2001, Stat. Sci. 16, 101.
    """
    from scipy.special import ndtri

    # The bounds solve |share - p| = z sqrt(p (1 - p) / n) for p, so they stay within [0, 1] and
    # have a width even if all or none are found, as in samples of a few clusters.
    k, n = np.asarray(found, dtype=np.float64), np.asarray(count, dtype=np.float64)
    z = ndtri(0.5 + confidence / 2)
    with np.errstate(invalid="ignore", divide="ignore"):
        share = k / n
        middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
        half = z / (1 + z**2 / n) * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    low, high = np.maximum(middle - half, 0.0), np.minimum(middle + half, 1.0)
    # A share of 0 or 1 ends its interval exactly there; rounding would miss it by an ulp.
    low = np.where((k == 0) & (n > 0), 0.0, low)
    high = np.where((k == n) & (n > 0), 1.0, high)
    return (float(low), float(high)) if low.ndim == 0 else (low, high)
