"""Scan one tile in several surveys at once: each on its own grid, one head at common positions.

Surveys have different pixels, so their features cannot be added on one grid. But a branch's
description of a window is linear in its features up to the first norm: that linear layer can be
applied to the whole feature map, averaged over windows, and interpolated at the map pixels, as
logits are in a scan of one survey. The layers after it join the surveys at the map pixels. Where a
survey has no valid window, numbers learnt in training stand in for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from clusterscan.config.scan import ScanSettings
from clusterscan.core.errors import ImageError
from clusterscan.networks.device import choose_device, fixed_threads
from clusterscan.networks.fusion import FusionNetwork
from clusterscan.networks.heads import head_map
from clusterscan.networks.network import ScanNetwork
from clusterscan.scan.dense_scan import dense_grid
from clusterscan.scan.tile_scan import Prepared, prepare_tile
from clusterscan.scan.validity import NO_COVERAGE, VALID
from clusterscan.scan.windowed_scan import batches_of_crops, crop_features, log_odds


@dataclass(frozen=True)
class SurveyTile:
    """A tile's image of one survey, and the map pixels in it.

    Attributes
    ----------
    image : float32 ndarray, shape (bands, ny, nx)
        In the survey's unit; missing pixels NaN or marked in the mask.
    mask : MASK_DTYPE ndarray, shape (ny, nx)
        Bit planes: 1 no coverage, 2 saturated, 4 bright star.
    x, y : float ndarray, shape (n,)
        The map pixels, the same ones in every survey, in this image [px].
    """

    image: np.ndarray
    mask: np.ndarray
    x: np.ndarray
    y: np.ndarray


def scan_fusion_tile(
    network: FusionNetwork,
    card: dict[str, Any],
    tiles: Sequence[SurveyTile | None],
    settings: Sequence[ScanSettings],
) -> tuple[np.ndarray, np.ndarray]:
    """Return a fusion network's probability at each map pixel, and the reason where it is missing.

    Parameters
    ----------
    network : FusionNetwork
        In evaluation mode.
    card : dict
        Its model card, for the normalisation of each view.
    tiles : sequence of SurveyTile or None
        One a survey, in the card's order; None where a survey lacks the tile.
    settings : sequence of ScanSettings
        Each survey's; the first one's device, threads and batch size are used.

    Returns
    -------
    probability : float32 ndarray, shape (n,)
        NaN where no survey has a valid window.
    reason : uint8 ndarray, shape (n,)
        0 valid in at least one survey, else the highest of the surveys' reasons: 1 no coverage,
        2 masked, 3 too few valid pixels, 4 to 7 excluded by a mask.

    Raises
    ------
    ImageError
        If there is not one entry a survey, none is there, or the positions differ in number.
    """
    count = _map_pixels(network, tiles, settings)
    network.eval().to(choose_device(settings[0].device))
    reason = np.full((len(tiles), count), NO_COVERAGE, dtype=np.uint8)
    parts = []
    with fixed_threads(settings[0].threads):
        for i, (tile, how) in enumerate(zip(tiles, settings, strict=True)):
            part = network.stand_in[i].detach().expand(count, -1).clone()
            if tile is not None:
                branch: Any = network.branches[i]
                ready = prepare_tile(
                    branch, card, tile.image, tile.mask, tile.x, tile.y, how, view=i
                )
                reason[i] = ready.reason
                seen = reason[i] == VALID
                if seen.any():
                    part[torch.from_numpy(seen)] = _described(network, i, ready, seen, how)
            parts.append(part)
        logits = _joined(network, parts)
    found = (reason == VALID).any(axis=0)
    probability = np.where(found, 1.0 / (1.0 + np.exp(-logits.astype(np.float64))), np.nan)
    return probability.astype(np.float32), np.where(found, VALID, reason.max(axis=0)).astype("u1")


def _map_pixels(
    network: FusionNetwork, tiles: Sequence[SurveyTile | None], settings: Sequence[ScanSettings]
) -> int:
    """Return the number of map pixels, the same in all surveys."""
    there = [t for t in tiles if t is not None]
    if not len(tiles) == len(settings) == len(network.surveys) or not there:
        raise ImageError(
            f"this network joins {', '.join(network.surveys)}: give a tile and the scan settings "
            "for each, None where one survey has no image, but not everywhere"
        )
    count = len(there[0].x)
    if any(len(t.x) != count or len(t.y) != count for t in there):
        raise ImageError("the surveys' tiles list different numbers of map pixels")
    return count


@torch.inference_mode()
def _described(
    network: FusionNetwork,
    i: int,
    tile: Prepared,
    seen: np.ndarray,
    how: ScanSettings,
) -> torch.Tensor:
    """Return the numbers that the common layers read of a survey at seen positions, (n, hidden)."""
    branch: Any = network.branches[i]
    project: Any = network.project[i]
    linear, norm = project[0], project[1:]
    x, y = tile.x[seen], tile.y[seen]
    device = linear.weight.device
    if how.engine == "dense" and isinstance(branch, ScanNetwork):

        def read(one: ScanNetwork, features: torch.Tensor) -> torch.Tensor:
            return _window_means(one, linear, features)[0]

        grid = dense_grid(
            branch, tile.inputs, x, y, step_px=how.step_px, read=read, precision=how.precision
        )
        return norm(torch.from_numpy(grid.at(x, y).T.copy()).to(device))
    parts = batches_of_crops(branch, tile.inputs, x, y, how.batch_size)
    return norm(linear(torch.cat([crop_features(branch, crops, how.precision) for crops in parts])))


def _window_means(branch: ScanNetwork, linear: nn.Linear, features: torch.Tensor) -> torch.Tensor:
    """Apply a linear layer to all windows of a feature map, (1, hidden, my, mx).

    Layer and mean are both linear, so the layer can go first, as a 1 x 1 convolution: it makes a
    few hidden channels of many features, and the mean is then over the few.
    """
    p, h = branch.settings.window_cells, branch.head_cells
    if h > 1:
        means = functional.avg_pool2d(features, p // h, stride=1) if p > h else features
        return head_map(nn.Sequential(linear), means, h, p // h)
    cells = functional.conv2d(features, linear.weight[:, :, None, None], linear.bias)
    return functional.avg_pool2d(cells, p, stride=1)


@torch.inference_mode()
def _joined(network: FusionNetwork, parts: Sequence[torch.Tensor]) -> np.ndarray:
    logits = network.logits(network.join(torch.cat(list(parts), dim=1)))
    return log_odds(logits).float().cpu().numpy()
