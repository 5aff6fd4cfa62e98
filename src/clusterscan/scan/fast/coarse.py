"""Coarse to fine: a wide grid first, the fine one only where it could show a candidate.

A map is smooth on the scale of its windows, so a peak that would matter raises the coarse values
around it. Positions are computed again on the fine grid where any coarse value near them reaches a
probability that is chosen well below what detection keeps; elsewhere the coarse grid is
interpolated. This is the one approximation among the parts in this folder: candidates above the
threshold are kept, values below it are not those of a fine scan.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import numpy as np
from scipy.ndimage import maximum_filter
from scipy.special import logit

from clusterscan.scan.windowed_scan import LogitGrid, cell_of

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
        True for the m positions whose logits are wanted.
    probability : float
        Coarse probability from which on the fine value is computed.
    finely : callable
        Returns the fine logits of the positions that a mask (n,) chooses.

    Returns
    -------
    float32 ndarray, shape (m,)
    """
    near = np.zeros_like(wanted)
    near[wanted] = could_matter(coarse, x[wanted], y[wanted], probability)
    log.info("%d of %d map pixels are computed on the fine grid", near.sum(), wanted.sum())
    logits = coarse.at(x[wanted], y[wanted])
    if near.any():
        logits[near[wanted]] = finely(near)
    return logits


def could_matter(coarse: LogitGrid, x: np.ndarray, y: np.ndarray, probability: float) -> np.ndarray:
    """Return True where a coarse value near a position reaches a probability.

    Parameters
    ----------
    coarse : LogitGrid
        Encloses the positions; values that were not computed (NaN) never matter.
    x, y : float ndarray, shape (n,)
        Positions [px].
    probability : float
        0 to 1.

    Returns
    -------
    bool ndarray, shape (n,)
        True if one of the 16 grid values around a position, two to each side, does.
    """
    high = np.nan_to_num(coarse.values, nan=-np.inf) >= logit(probability)
    # The cell's own four corners would miss a peak between them and the next ones, so each corner
    # stands for its 3 x 3 neighbours: 4 x 4 grid values in all.
    around = maximum_filter(high, size=3, mode="constant", cval=False)
    i, _ = cell_of((x - coarse.x0) / coarse.step, around.shape[1])
    j, _ = cell_of((y - coarse.y0) / coarse.step, around.shape[0])
    return around[j, i] | around[j, i + 1] | around[j + 1, i] | around[j + 1, i + 1]
