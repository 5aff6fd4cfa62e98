"""The fast scan: the features of a whole tile, shared by all windows.

Finer grids than the network's stride come from passes over the image moved by a few pixels. Large
images are computed in chunks that overlap by what the windows at their borders see.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from scipy.ndimage import binary_dilation

from clusterscan.config.scan import Precision
from clusterscan.core.errors import ConfigError
from clusterscan.networks.device import features_in
from clusterscan.networks.network import Network, ScanNetwork
from clusterscan.scan.chunks import chunks
from clusterscan.scan.cutting import cut

Read = Callable[[ScanNetwork, torch.Tensor], torch.Tensor]

# Memory that a network and one forward pass may take, by the network's own estimate [bytes].
CPU_BYTES = 1.2e9
GPU_BYTES = 8e9

# Context that is always given where a network sees so far [px].
ENOUGH_PX = 64


@dataclass(frozen=True)
class LogitGrid:
    """Logits at the pixels (x0 + step * i, y0 + step * j) of an image; values[j, i], float32.

    Of several numbers a place, values[:, j, i].
    """

    values: np.ndarray
    x0: float
    y0: float
    step: int

    def at(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return bilinear interpolations at positions (n,) [px] within the grid, float32."""
        i, u = cell_of((x - self.x0) / self.step, self.values.shape[-1])
        j, v = cell_of((y - self.y0) / self.step, self.values.shape[-2])
        grid = self.values
        low = grid[..., j, i] * (1 - u) + grid[..., j, i + 1] * u
        high = grid[..., j + 1, i] * (1 - u) + grid[..., j + 1, i + 1] * u
        return (low * (1 - v) + high * v).astype(np.float32)


def cell_of(position: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the grid cell that holds each position, and how far in it lies (0 to 1)."""
    first = np.clip(np.floor(position).astype(np.int64), 0, count - 2)
    return first, position - first


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

    Its phase is fixed to the image's first pixel, whichever positions are asked for. Values that
    no position is near to may be NaN.

    Parameters
    ----------
    network : ScanNetwork
        In evaluation mode.
    image : float32 ndarray, shape (bands, ny, nx)
        Normalised; continued by zeros.
    x, y : float ndarray, shape (n,)
        Finite positions that the grid must enclose [px].
    wanted : bool ndarray, shape (n,), optional
        Which of them are wanted; chunks without any are not computed, their logits are NaN.
    step_px : int, optional
        Grid step: the network's stride, which is the default, or a divisor of it.
    chunk_pixels : float, optional
        Most pixels that go through the network at once; what its memory allows if left out.
    read : callable, optional
        Makes numbers (channels, my, mx) of feature maps (1, C, my + p - 1, mx + p - 1).
    precision : str
        Of the features; what is read of them is float32.

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
    needed = None if wanted is None else _needed(grid, x[wanted], y[wanted])
    around = 2 * _rim(network) + network.settings.window_cells - 1
    most = _most_cells(network, chunk_pixels)
    for rows, columns in chunks(_outline(grid, x, y, passes), around, most):
        # Each pass fills every passes-th row and column of the chunk's part of the grid.
        place = _finer(rows, passes), _finer(columns, passes)
        if needed is not None and not needed[place].any():
            continue
        count = columns.stop - columns.start, rows.stop - rows.start
        for b, a in product(range(passes), repeat=2):
            first = x0 + columns.start * S + a * step, y0 + rows.start * S + b * step
            found = _one_pass(network, read or _logits, image, first, count, precision)
            if found.ndim > values.ndim:
                values = np.full((len(found), *values.shape), np.nan, dtype=np.float32)
            values[..., *place][..., b::passes, a::passes] = found
    return LogitGrid(values, grid.x0, grid.y0, step)


def _logits(network: ScanNetwork, features: torch.Tensor) -> torch.Tensor:
    return network.logit_grid(features)[0]


def _finer(part: slice, passes: int) -> slice:
    return slice(part.start * passes, part.stop * passes)


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
    """Return how many feature cells around the pooled ones a chunk needs.

    As far as the network sees, but no farther than its crops reach from their centre (or 64 px): a
    deep network's bound lies far beyond what it was ever shown, and beyond what has an effect.
    """
    enough = max(network.size_px // 2, ENOUGH_PX)
    return -(-min(network.reach_px, enough) // network.stride)


def enclosing(position: np.ndarray, step: int, half: float) -> tuple[int, int]:
    """Return the first multiple of a step, and how many, so that all plus ``half`` enclose."""
    first = int(np.floor((position.min() - half) / step))
    last = int(np.ceil((position.max() - half) / step))
    return first * step, max(last - first, 1) + 1


def _needed(grid: LogitGrid, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return which values of a grid positions are interpolated from, bool like its values."""
    needed: np.ndarray = np.zeros(grid.values.shape, dtype=bool)
    i, _ = cell_of((x - grid.x0) / grid.step, needed.shape[1])
    j, _ = cell_of((y - grid.y0) / grid.step, needed.shape[0])
    for b, a in product((0, 1), repeat=2):
        needed[j + b, i + a] = True
    return needed


def _most_cells(network: ScanNetwork, chunk_pixels: float | None) -> float:
    """Return how many feature cells are computed at once, at most."""
    if chunk_pixels is None:
        on_gpu = next(network.parameters()).is_cuda
        weights = sum(p.numel() * p.element_size() for p in network.parameters())
        # They are in memory twice: as trained, and in the copy that scans.
        room = (GPU_BYTES if on_gpu else CPU_BYTES) - 2 * weights
        chunk_pixels = max(room, 0) / network.bytes_per_px
    return chunk_pixels / network.stride**2


def _outline(grid: LogitGrid, x: np.ndarray, y: np.ndarray, passes: int) -> np.ndarray:
    """Return which crops positions are read from, and those beside them, bool (my, mx)."""
    needed = binary_dilation(_needed(grid, x, y), np.ones((3, 3)))
    my, mx = (n // passes for n in needed.shape)
    return needed.reshape(my, passes, mx, passes).any(axis=(1, 3))


def _rim(network: ScanNetwork) -> int:
    """Return how many cells are computed around those that are pooled."""
    edge = (network.settings.cells - network.settings.window_cells) // 2
    return max(context_cells(network), edge)


@torch.inference_mode()
def _one_pass(
    network: ScanNetwork,
    read: Read,
    image: np.ndarray,
    first: tuple[int, int],
    count: tuple[int, int],
    precision: Precision,
) -> np.ndarray:
    """Return what is read of crops: ``count`` (x, y) of them, S px apart, from pixel ``first``."""
    S, p = network.stride, network.settings.window_cells
    rim = _rim(network)
    # The context at the sides lies beyond the crops where it is longer than their rim.
    around = rim - (network.settings.cells - p) // 2
    width, height = (m + p - 1 + 2 * rim for m in count)
    left, top = (v - around * S for v in first)
    piece = as_batch(cut(image, left, top, width * S, height * S)[None], network)
    with features_in(precision, piece.device):
        features = network.features(piece)
    inner = features[:, :, rim : height - rim, rim : width - rim].float()
    return read(network, inner).cpu().numpy()


def as_batch(images: np.ndarray, network: Network) -> torch.Tensor:
    """Return images (B, bands, y, x) where a network is, with the bands innermost."""
    batch = torch.from_numpy(images)
    device = next(network.parameters()).device
    if device.type == "cuda":
        batch = batch.contiguous().pin_memory()
    return batch.to(device, non_blocking=True).contiguous(memory_format=torch.channels_last)
