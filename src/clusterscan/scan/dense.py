"""The fast scan: the features of a whole tile at once, shared by all windows.

Finer grids than the network's stride come from passes over the image moved by a few pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from clusterscan.errors import ConfigError
from clusterscan.networks.network import ScanNetwork
from clusterscan.scan.cutting import cut

# Pixels that go through a network at once: a few hundred bytes of features each.
STRIP_PIXELS = 2_300_000


@dataclass(frozen=True)
class LogitGrid:
    """Logits at the pixels (x0 + step * i, y0 + step * j) of an image; values[j, i], float32."""

    values: np.ndarray
    x0: float
    y0: float
    step: int

    def at(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return bilinear interpolations at positions [px] within the grid, float32."""
        i, u = _cell((x - self.x0) / self.step, self.values.shape[1])
        j, v = _cell((y - self.y0) / self.step, self.values.shape[0])
        grid = self.values
        low = grid[j, i] * (1 - u) + grid[j, i + 1] * u
        high = grid[j + 1, i] * (1 - u) + grid[j + 1, i + 1] * u
        return (low * (1 - v) + high * v).astype(np.float32)


def _cell(position: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    first = np.clip(np.floor(position).astype(np.int64), 0, count - 2)
    return first, position - first


def dense_grid(
    network: ScanNetwork,
    image: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    *,
    step_px: int | None = None,
    strip_pixels: int = STRIP_PIXELS,
) -> LogitGrid:
    """Return the logits of all windows on a grid around some positions.

    The grid's phase is fixed to the image's first pixel, so it does not depend on which
    positions are asked for.

    Parameters
    ----------
    network : ScanNetwork
        In evaluation mode.
    image : float32 ndarray, shape (bands, ny, nx)
        Normalised; continued by zeros.
    x, y : float ndarray, shape (n,)
        Finite positions that the grid must enclose [px].
    step_px : int, optional
        Grid step: the network's stride, which is the default, or a divisor of it.
    strip_pixels : int
        Larger images are computed in strips that overlap by the network's reach: the same
        numbers with less memory.

    Raises
    ------
    ConfigError
        If the step is finer than the stride but does not divide it.
    """
    S, N = network.stride, network.size_px
    step = grid_step(step_px, S)
    (x0, mx), (y0, my) = (_extent(v, S, N) for v in (x, y))
    passes = S // step
    values = np.empty((my * passes, mx * passes), dtype=np.float32)
    for b in range(passes):
        for a in range(passes):
            values[b::passes, a::passes] = _one_pass(
                network, image, x0 + a * step, y0 + b * step, mx, my, strip_pixels
            )
    return LogitGrid(values, x0 + (N - 1) / 2, y0 + (N - 1) / 2, step)


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


def _extent(position: np.ndarray, stride: int, size: int) -> tuple[int, int]:
    """Return the first crop's first pixel, a multiple of the stride, and the number of crops."""
    half = (size - 1) / 2
    first = int(np.floor((position.min() - half) / stride))
    last = int(np.ceil((position.max() - half) / stride))
    return first * stride, max(last - first, 1) + 1


@torch.inference_mode()
def _one_pass(
    network: ScanNetwork,
    image: np.ndarray,
    x0: int,
    y0: int,
    mx: int,
    my: int,
    strip_pixels: int,
) -> np.ndarray:
    """Return the logits (my, mx) of crops with first pixels x0 + S * i, y0 + S * j."""
    S = network.stride
    context = -(-network.reach_px // S)  # cells around that change what is seen inside
    edge = (network.settings.cells - network.settings.window_cells) // 2  # cells not pooled
    p = network.settings.window_cells
    # The context at the sides lies beyond the crops where the reach is longer than their rim.
    around = max(context - edge, 0)
    rim = edge + around
    width = mx + p - 1 + 2 * rim
    # Strips lower than their overlap would compute it over and over.
    tallest = max(strip_pixels // (S * S * width) - 2 * rim - p + 1, rim + 1)
    out = np.empty((my, mx), dtype=np.float32)
    for start in range(0, my, tallest):
        rows = min(tallest, my - start)
        height = rows + p - 1 + 2 * rim
        piece = cut(image, x0 - around * S, y0 + (start - around) * S, width * S, height * S)
        features = network.features(_as_batch(piece, network))
        inner = features[:, :, rim : height - rim, rim : width - rim]
        out[start : start + rows] = network.logit_grid(inner)[0].cpu().numpy()
    return out


def _as_batch(piece: np.ndarray, network: ScanNetwork) -> torch.Tensor:
    batch = torch.from_numpy(np.ascontiguousarray(piece)).unsqueeze(0)
    return batch.to(network.head.weight.device, memory_format=torch.channels_last)
