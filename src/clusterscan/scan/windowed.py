"""The reference scan: one crop per position, as in training."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from clusterscan.config.scan import Precision
from clusterscan.networks.device import features_in
from clusterscan.networks.network import Network, ScanNetwork
from clusterscan.networks.whole import WholeNetwork
from clusterscan.scan.cutting import cut
from clusterscan.scan.dense import LogitGrid, as_batch, enclosing
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
        Of what describes a crop; the head is float32.

    Returns
    -------
    float32 ndarray, shape (n,)
        Of a network of several classes, the log odds of class 1 against all others.
    """
    out = np.empty(len(x), dtype=np.float32)
    done = 0
    for crops in batches_of_crops(network, image, x, y, batch_size):
        logits = log_odds(network.logits(described(network, crops, precision)))
        out[done : done + len(crops)] = logits.cpu().numpy()
        done += len(crops)
    return out


def batches_of_crops(
    network: Network, image: np.ndarray, x: np.ndarray, y: np.ndarray, batch_size: int
) -> Iterator[torch.Tensor]:
    """Yield the crops (B, bands, N, N) at the pixels nearest to positions, where a network is."""
    N = network.sizes_px[0]
    columns, rows = first_pixel(x, N).tolist(), first_pixel(y, N).tolist()
    for start in range(0, len(columns), batch_size):
        stop = start + batch_size
        places = zip(columns[start:stop], rows[start:stop], strict=True)
        yield as_batch(np.stack([cut(image, c, r, N, N) for c, r in places]), network)


def described(network: Network, crops: torch.Tensor, precision: Precision) -> torch.Tensor:
    """Return what a head reads of crops, (B, F) float32."""
    if not isinstance(network, ScanNetwork):
        with features_in(precision, crops.device):
            return network.embed(crops).float()
    with features_in(precision, crops.device):
        features = network.features(crops)
    return network.pool(features.float())


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
    half = (network.size_px - 1) / 2 % 1  # crops are then centred on the grid, not near it
    (x0, mx), (y0, my) = (enclosing(v, step_px, half) for v in (x, y))
    starts = x0 + half, y0 + half
    gx, gy = np.meshgrid(starts[0] + step_px * np.arange(mx), starts[1] + step_px * np.arange(my))
    values = windowed_logits(
        network, image, gx.ravel(), gy.ravel(), batch_size=batch_size, precision=precision
    )
    return LogitGrid(values.reshape(my, mx), *starts, step_px)


def log_odds(logits: torch.Tensor) -> torch.Tensor:
    """Return the logits (B,) of the positive class."""
    if logits.ndim == 1:
        return logits
    others = torch.cat([logits[:, :1], logits[:, 2:]], dim=1)
    return logits[:, 1] - torch.logsumexp(others, dim=1)
