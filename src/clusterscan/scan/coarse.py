"""Coarse to fine: a wide grid first, the fine one only where it could show a candidate.

A map is smooth on the scale of its windows, so a peak that would matter raises the coarse values
around it. Positions are looked at again where any coarse value near them reaches a probability,
which is chosen well below what detection keeps; elsewhere the coarse grid is interpolated.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import numpy as np
from scipy.ndimage import maximum_filter
from scipy.special import logit

from clusterscan.scan.dense import LogitGrid, cell_of

log = logging.getLogger(__name__)


def coarse_to_fine(
    coarse: LogitGrid,
    x: np.ndarray,
    y: np.ndarray,
    wanted: np.ndarray,
    probability: float,
    finely: Callable[[np.ndarray], np.ndarray],
) -> np.ndarray:
    """Return the logits of wanted positions: fine ones where they could matter.

    Parameters
    ----------
    coarse : LogitGrid
        Encloses the wanted positions.
    x, y : float ndarray, shape (n,)
        Positions [px].
    wanted : bool ndarray, shape (n,)
        Which of them are wanted, m of n.
    probability : float
        As `could_matter` takes it.
    finely : callable
        Gives the logits of some positions, for a mask (n,) of them.

    Returns
    -------
    float32 ndarray, shape (m,)
    """
    near = np.zeros_like(wanted)
    near[wanted] = could_matter(coarse, x[wanted], y[wanted], probability)
    log.info("%d of %d map pixels are looked at finely", near.sum(), wanted.sum())
    logits = coarse.at(x[wanted], y[wanted])
    if near.any():
        logits[near[wanted]] = finely(near)
    return logits


def could_matter(coarse: LogitGrid, x: np.ndarray, y: np.ndarray, probability: float) -> np.ndarray:
    """Return at which positions a coarse value nearby reaches a probability.

    Parameters
    ----------
    coarse : LogitGrid
        Encloses the positions; values that were not computed are NaN and never matter.
    x, y : float ndarray, shape (n,)
        Positions [px].
    probability : float
        0 to 1.

    Returns
    -------
    bool ndarray, shape (n,)
        Whether one of the 16 grid values around a position, two to each side, does.
    """
    high = np.nan_to_num(coarse.values, nan=-np.inf) >= logit(probability)
    around = maximum_filter(high, size=3, mode="constant", cval=False)
    i, _ = cell_of((x - coarse.x0) / coarse.step, around.shape[1])
    j, _ = cell_of((y - coarse.y0) / coarse.step, around.shape[0])
    return around[j, i] | around[j, i + 1] | around[j + 1, i] | around[j + 1, i + 1]
