"""The reference scan: one crop around each position, exactly as the network was trained.

It is slow, since neighbouring crops share nearly all of their pixels and nothing of their
computation, but it defines what a map means. The dense scan (`clusterscan.scan.dense_scan`) must
give the same logits. Both read pixels with `cut` and can leave their logits on a `LogitGrid`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from clusterscan.config.scan import Precision
from clusterscan.networks.device import features_in
from clusterscan.networks.network import Network, ScanNetwork, WholeNetwork
from clusterscan.scan.validity import first_pixel


@torch.inference_mode()
def windowed_logits(
    network: ScanNetwork | WholeNetwork,
    image: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    *,
    batch_size: int,
    precision: Precision = "float32",
) -> np.ndarray:
    """Return the logits of crops centred on positions, to the nearest pixel.

    Parameters
    ----------
    network : ScanNetwork or WholeNetwork
        In evaluation mode.
    image : float32 ndarray, shape (bands, ny, nx)
        Normalised; continued by zeros.
    x, y : float ndarray, shape (n,)
        Finite positions [px].
    batch_size : int
        Crops per forward pass.
    precision : str
        Of the features; the head always works in float32.

    Returns
    -------
    float32 ndarray, shape (n,)
        For a network of several classes, the log odds of class 1 against all others.
    """
    out = np.empty(len(x), dtype=np.float32)
    done = 0
    for crops in batches_of_crops(network, image, x, y, batch_size):
        logits = log_odds(network.logits(crop_features(network, crops, precision)))
        out[done : done + len(crops)] = logits.cpu().numpy()
        done += len(crops)
    return out


def windowed_grid(
    network: ScanNetwork | WholeNetwork,
    image: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    *,
    step_px: int,
    batch_size: int,
    precision: Precision = "float32",
) -> LogitGrid:
    """Return the logits of crops on a regular grid that encloses positions.

    Parameters are those of `windowed_logits`; ``step_px`` is the grid's step.
    """
    # A crop of even size is centred between pixels. Grid points have that same half pixel, so
    # crops lie exactly on the grid and not a rounding beside it.
    half = (network.size_px - 1) / 2 % 1
    (x0, mx), (y0, my) = (enclosing(v, step_px, half) for v in (x, y))
    starts = x0 + half, y0 + half
    gx, gy = np.meshgrid(starts[0] + step_px * np.arange(mx), starts[1] + step_px * np.arange(my))
    values = windowed_logits(
        network, image, gx.ravel(), gy.ravel(), batch_size=batch_size, precision=precision
    )
    return LogitGrid(values.reshape(my, mx), *starts, step_px)


def batches_of_crops(
    network: Network, image: np.ndarray, x: np.ndarray, y: np.ndarray, batch_size: int
) -> Iterator[torch.Tensor]:
    """Yield crops (B, bands, N, N) at the pixels nearest to positions, on the network's device."""
    N = network.sizes_px[0]
    columns, rows = first_pixel(x, N).tolist(), first_pixel(y, N).tolist()
    for start in range(0, len(columns), batch_size):
        stop = start + batch_size
        places = zip(columns[start:stop], rows[start:stop], strict=True)
        yield as_batch(np.stack([cut(image, c, r, N, N) for c, r in places]), network)


def crop_features(network: Network, crops: torch.Tensor, precision: Precision) -> torch.Tensor:
    """Return the features that a network's head reads of crops, (B, F) float32."""
    if not isinstance(network, ScanNetwork):
        with features_in(precision, crops.device):
            return network.embed(crops).float()
    with features_in(precision, crops.device):
        features = network.features(crops)
    return network.pool(features.float())


def log_odds(logits: torch.Tensor) -> torch.Tensor:
    """Return the logits (B,) of the positive class."""
    if logits.ndim == 1:
        return logits
    others = torch.cat([logits[:, :1], logits[:, 2:]], dim=1)
    return logits[:, 1] - torch.logsumexp(others, dim=1)


# --- pixels in, logits out: shared with the dense scan ------------------------------------------


def cut(image: np.ndarray, x0: int, y0: int, nx: int, ny: int) -> np.ndarray:
    """Return image[..., y0:y0+ny, x0:x0+nx], zero outside of the image.

    Parameters
    ----------
    image : ndarray, shape (..., y, x)
        Normalised, so that zero is the background.
    x0, y0 : int
        First pixel, also negative.
    nx, ny : int
        Size.
    """
    height, width = image.shape[-2:]
    left, right = max(x0, 0), min(x0 + nx, width)
    low, high = max(y0, 0), min(y0 + ny, height)
    if (left, right, low, high) == (x0, x0 + nx, y0, y0 + ny):
        return image[..., low:high, left:right]  # a view: most crops lie inside
    out = np.zeros((*image.shape[:-2], ny, nx), dtype=image.dtype)
    if left < right and low < high:
        out[..., low - y0 : high - y0, left - x0 : right - x0] = image[..., low:high, left:right]
    return out


def as_batch(images: np.ndarray, network: Network) -> torch.Tensor:
    """Return images (B, bands, y, x) on a network's device, with the bands innermost in memory."""
    batch = torch.from_numpy(images)
    device = next(network.parameters()).device
    if device.type == "cuda":
        # From pinned memory the copy runs beside the GPU's work on the batch before.
        batch = batch.contiguous().pin_memory()
    return batch.to(device, non_blocking=True).contiguous(memory_format=torch.channels_last)


@dataclass(frozen=True)
class LogitGrid:
    """Logits on a regular grid over an image.

    Attributes
    ----------
    values : float32 ndarray, shape (my, mx) or (channels, my, mx)
        values[..., j, i] belongs to the pixel (x0 + step * i, y0 + step * j); NaN: not computed.
    x0, y0 : float
        First grid point [px].
    step : int
        Distance between grid points [px].
    """

    values: np.ndarray
    x0: float
    y0: float
    step: int

    def at(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return bilinear interpolations at positions (n,) [px] within the grid, float32.

        Map pixels lie anywhere between grid points. Interpolation is in the logit, which is
        smooth; the probability, with its steep rise, would lose its peaks.
        """
        i, u = cell_of((x - self.x0) / self.step, self.values.shape[-1])
        j, v = cell_of((y - self.y0) / self.step, self.values.shape[-2])
        grid = self.values
        low = grid[..., j, i] * (1 - u) + grid[..., j, i + 1] * u
        high = grid[..., j + 1, i] * (1 - u) + grid[..., j + 1, i + 1] * u
        return (low * (1 - v) + high * v).astype(np.float32)


def cell_of(position: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the grid cell that holds each position, and the fraction of the cell before it."""
    first = np.clip(np.floor(position).astype(np.int64), 0, count - 2)
    return first, position - first


def enclosing(position: np.ndarray, step: int, half: float) -> tuple[int, int]:
    """Return (first, count) such that the grid points first + step * i + half enclose positions.

    ``first`` is a multiple of the step: the grid's phase is fixed to the image, so a value does
    not depend on which positions are asked for.
    """
    first = int(np.floor((position.min() - half) / step))
    last = int(np.ceil((position.max() - half) / step))
    return first * step, max(last - first, 1) + 1
