"""The reference scan: one crop per position, as in training."""

from __future__ import annotations

import numpy as np
import torch

from clusterscan.networks.network import ScanNetwork
from clusterscan.networks.whole import WholeNetwork
from clusterscan.scan.cutting import cut
from clusterscan.scan.dense import as_batch
from clusterscan.scan.validity import first_pixel


@torch.inference_mode()
def windowed_logits(
    network: ScanNetwork | WholeNetwork,
    image: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    *,
    batch_size: int,
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

    Returns
    -------
    float32 ndarray, shape (n,)
        Of a network of several classes, the log odds of class 1 against all others.
    """
    N = network.size_px
    column, row = first_pixel(x, N), first_pixel(y, N)
    out = np.empty(len(column), dtype=np.float32)
    for start in range(0, len(column), batch_size):
        rows = range(start, min(start + batch_size, len(column)))
        crops = np.stack([cut(image, int(column[i]), int(row[i]), N, N) for i in rows])
        logits = log_odds(network(as_batch(crops, network)))
        out[rows.start : rows.stop] = logits.float().cpu().numpy()
    return out


def log_odds(logits: torch.Tensor) -> torch.Tensor:
    """Return the logits (B,) of the positive class."""
    if logits.ndim == 1:
        return logits
    others = torch.cat([logits[:, :1], logits[:, 2:]], dim=1)
    return logits[:, 1] - torch.logsumexp(others, dim=1)
