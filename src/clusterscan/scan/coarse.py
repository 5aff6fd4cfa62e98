"""Coarse to fine: a wide grid first, the fine one only where it could show a candidate.

A map is smooth on the scale of its windows, so a peak that would matter raises the coarse values
around it. Positions are looked at again where any coarse value near them reaches a probability,
which is chosen well below what detection keeps; elsewhere the coarse grid is interpolated.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import maximum_filter
from scipy.special import logit

from clusterscan.networks.network import ScanNetwork
from clusterscan.networks.whole import WholeNetwork
from clusterscan.scan.dense import LogitGrid, cell_of
from clusterscan.scan.windowed import windowed_logits


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


def windowed_grid(
    network: ScanNetwork | WholeNetwork,
    image: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    *,
    step_px: int,
    batch_size: int,
) -> LogitGrid:
    """Return the logits of crops on a regular grid that encloses positions.

    Parameters
    ----------
    network : ScanNetwork or WholeNetwork
        In evaluation mode.
    image : float32 ndarray, shape (bands, ny, nx)
        Normalised; continued by zeros.
    x, y : float ndarray, shape (n,)
        Finite positions [px].
    step_px : int
        Grid step.
    batch_size : int
        Crops per forward pass.
    """
    half = (network.size_px - 1) / 2 % 1  # crops are then centred on the grid, not near it
    places = [_enclosing(v, step_px, half) for v in (x, y)]
    gx, gy = (v.ravel() for v in np.meshgrid(*places))
    values = windowed_logits(network, image, gx, gy, batch_size=batch_size)
    grid = values.reshape(len(places[1]), len(places[0]))
    return LogitGrid(grid, float(places[0][0]), float(places[1][0]), step_px)


def _enclosing(position: np.ndarray, step: int, half: float) -> np.ndarray:
    first = int(np.floor((position.min() - half) / step))
    last = max(int(np.ceil((position.max() - half) / step)), first + 1)
    return step * np.arange(first, last + 1) + half
