"""The fast scan: the features of a whole tile, computed once and shared by all windows.

A network maps a crop of N pixels to features of stride S = N / n, averages the central p x p cells
(the window), and reads the logit off that mean with one linear layer. So the features of the whole
image, averaged over boxes of p x p cells, hold the description of every window at once: the box
whose crop would begin at pixel x0 has its centre at x0 + (N - 1) / 2. Grids finer than S come from
passes over the image shifted by a few pixels. Large images are computed in chunks that overlap by
as much as the windows at their borders see (`clusterscan.scan.fast.chunks`).
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import numpy as np
import torch
from scipy.ndimage import binary_dilation

from clusterscan.config.scan import Precision
from clusterscan.core.errors import ConfigError
from clusterscan.networks.device import features_in
from clusterscan.networks.network import ScanNetwork
from clusterscan.scan.fast.chunks import chunks
from clusterscan.scan.windowed_scan import LogitGrid, as_batch, cell_of, cut, enclosing

Read = Callable[[ScanNetwork, torch.Tensor], torch.Tensor]
"""Reads numbers (channels, my, mx) off feature maps (1, C, my + p - 1, mx + p - 1)."""

# Memory that a network and one forward pass may take, by the network's own estimate [bytes].
CPU_BYTES = 1.2e9
GPU_BYTES = 8e9

# Context that is always given where a network sees so far [px].
ENOUGH_PX = 64


def dense_grid(
    network: ScanNetwork,
    image: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    *,
    wanted: np.ndarray | None = None,
    step_px: int | None = None,
    chunk_pixels: float | None = None,
    read: Read | None = None,
    precision: Precision = "float32",
) -> LogitGrid:
    """Return the logits of all windows on a grid around some positions.

    The grid's phase is fixed to the image's first pixel, whichever positions are asked for. Values
    that no position is near to may be NaN.

    Parameters
    ----------
    network : ScanNetwork
        In evaluation mode.
    image : float32 ndarray, shape (bands, ny, nx)
        Normalised; continued by zeros.
    x, y : float ndarray, shape (n,)
        Finite positions that the grid must enclose [px].
    wanted : bool ndarray, shape (n,), optional
        Positions whose logits are used; chunks without any are not computed, their logits are NaN.
    step_px : int, optional
        Grid step: the network's stride, which is the default, or a divisor of it.
    chunk_pixels : float, optional
        Most pixels that go through the network at once; default: what its memory allows.
    read : callable, optional
        Reads numbers off feature maps; default: the network's logit.
    precision : str
        Of the features; what is read off them is float32.

    Raises
    ------
    ConfigError
        If the step is finer than the stride but does not divide it.
    """
    S, half = network.stride, (network.size_px - 1) / 2
    step = grid_step(step_px, S)
    (x0, mx), (y0, my) = (enclosing(v, S, half) for v in (x, y))
    passes = S // step
    values: np.ndarray = np.full((my * passes, mx * passes), np.nan, dtype=np.float32)
    grid = LogitGrid(values, x0 + half, y0 + half, step)
    needed = None if wanted is None else _interpolated_from(grid, x[wanted], y[wanted])
    # Crops that some position is read from, and those beside them. The chunks follow from this
    # outline alone, not from ``wanted``: a mask then moves no border and changes no value.
    outline = binary_dilation(_interpolated_from(grid, x, y), np.ones((3, 3)))
    outline = outline.reshape(my, passes, mx, passes).any(axis=(1, 3))
    around = 2 * _rim(network) + network.settings.window_cells - 1
    for rows, columns in chunks(outline, around, _most_cells(network, chunk_pixels)):
        place = (
            slice(rows.start * passes, rows.stop * passes),
            slice(columns.start * passes, columns.stop * passes),
        )
        if needed is not None and not needed[place].any():
            continue
        count = columns.stop - columns.start, rows.stop - rows.start
        for b, a in product(range(passes), repeat=2):
            first = x0 + columns.start * S + a * step, y0 + rows.start * S + b * step
            found = _one_pass(network, read or _logits, image, first, count, precision)
            if found.ndim > values.ndim:
                values = np.full((len(found), *values.shape), np.nan, dtype=np.float32)
            # Each pass fills every passes-th row and column of the chunk's part of the grid.
            values[..., *place][..., b::passes, a::passes] = found
    return LogitGrid(values, grid.x0, grid.y0, step)


def grid_step(step_px: int | None, stride: int) -> int:
    """Return the grid step for a network: the stride itself if no finer one is wanted.

    Raises
    ------
    ConfigError
        If the step is finer than the stride but does not divide it.
    """
    if step_px is None or step_px >= stride:
        return stride
    if stride % step_px:
        raise ConfigError(
            f"scan.step_px = {step_px} does not divide the network's output stride {stride}; "
            f"give one of {[d for d in range(1, stride + 1) if stride % d == 0]}"
        )
    return step_px


def context_cells(network: ScanNetwork) -> int:
    """Return the number of feature cells around the pooled ones that a chunk needs.

    This is as far as the network sees, but no farther than its crops reach from their centre (or
    64 px): the bound for a deep network lies far beyond anything it was shown in training, and
    beyond what has an effect.
    """
    enough = max(network.size_px // 2, ENOUGH_PX)
    return -(-min(network.reach_px, enough) // network.stride)


def _rim(network: ScanNetwork) -> int:
    """Return the number of cells computed around the pooled ones."""
    edge = (network.settings.cells - network.settings.window_cells) // 2
    return max(context_cells(network), edge)


def _most_cells(network: ScanNetwork, chunk_pixels: float | None) -> float:
    """Return the largest number of feature cells computed at once."""
    if chunk_pixels is None:
        on_gpu = next(network.parameters()).is_cuda
        weights = sum(p.numel() * p.element_size() for p in network.parameters())
        # The weights are in memory twice: as trained, and in the copy that scans.
        room = (GPU_BYTES if on_gpu else CPU_BYTES) - 2 * weights
        chunk_pixels = max(room, 0) / network.bytes_per_px
    return chunk_pixels / network.stride**2


def _interpolated_from(grid: LogitGrid, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the grid values that positions are interpolated from, bool like the grid."""
    found: np.ndarray = np.zeros(grid.values.shape, dtype=bool)
    i, _ = cell_of((x - grid.x0) / grid.step, found.shape[1])
    j, _ = cell_of((y - grid.y0) / grid.step, found.shape[0])
    for b, a in product((0, 1), repeat=2):
        found[j + b, i + a] = True
    return found


def _logits(network: ScanNetwork, features: torch.Tensor) -> torch.Tensor:
    return network.logit_grid(features)[0]


@torch.inference_mode()
def _one_pass(
    network: ScanNetwork,
    read: Read,
    image: np.ndarray,
    first: tuple[int, int],
    count: tuple[int, int],
    precision: Precision,
) -> np.ndarray:
    """Return the numbers of ``count`` (x, y) crops, S px apart, the first from pixel ``first``."""
    S, p = network.stride, network.settings.window_cells
    rim = _rim(network)
    # A crop has a rim of its own around the pooled cells. What the context needs beyond that rim is
    # cut off the image on all sides as well, and thrown away after the forward pass, so that no
    # pooled cell sees the padding of the convolutions where real sky could be seen.
    around = rim - (network.settings.cells - p) // 2
    width, height = (m + p - 1 + 2 * rim for m in count)
    left, top = (v - around * S for v in first)
    piece = as_batch(cut(image, left, top, width * S, height * S)[None], network)
    with features_in(precision, piece.device):
        features = network.features(piece)
    inner = features[:, :, rim : height - rim, rim : width - rim].float()
    return read(network, inner).cpu().numpy()
