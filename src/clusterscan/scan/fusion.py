"""Scan one tile in several surveys at once: each on its own grid, one head at common positions.

A branch's description of a window is linear in its features up to the first norm, so that layer is
applied to the feature map, averaged over windows and interpolated at the positions; what follows
joins the surveys there. Where a survey has nothing to say, learnt numbers stand in for it.
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
from clusterscan.errors import ImageError
from clusterscan.fetch.raw import BAD_PLANES
from clusterscan.networks.device import choose_device, fixed_threads
from clusterscan.networks.fusion import FusionNetwork
from clusterscan.networks.head_maps import head_map
from clusterscan.networks.network import Network, ScanNetwork
from clusterscan.networks.normalise import Normalisation, apply
from clusterscan.scan.cutting import cut
from clusterscan.scan.dense import as_batch, dense_grid
from clusterscan.scan.validity import NO_COVERAGE, VALID, first_pixel, reasons
from clusterscan.scan.windowed import log_odds


@dataclass(frozen=True)
class SurveyTile:
    """A tile's image of one survey, and the map pixels in it.

    Attributes
    ----------
    image : float32 ndarray, shape (bands, ny, nx)
        In the survey's unit; missing pixels NaN or marked in the mask.
    mask : uint8 ndarray, shape (ny, nx)
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
    *,
    bad_planes: int = int(BAD_PLANES),
) -> tuple[np.ndarray, np.ndarray]:
    """Return a fusion network's probability at each map pixel, and why it is missing.

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
    bad_planes : int
        Bits of the masks whose pixels are left out.

    Returns
    -------
    probability : float32 ndarray, shape (n,)
        NaN where no survey has a valid window.
    reason : uint8 ndarray, shape (n,)
        0 valid in at least one survey, else the highest of the surveys' reasons: 1 no coverage,
        2 masked, 3 too few valid pixels.

    Raises
    ------
    ImageError
        If there is not one entry a survey, none is there, or the positions differ in number.
    """
    there = [t for t in tiles if t is not None]
    if not len(tiles) == len(settings) == len(network.surveys) or not there:
        raise ImageError(
            f"this network joins {', '.join(network.surveys)}: give a tile and the scan settings "
            "for each, None where one survey has no image, but not everywhere"
        )
    count = len(there[0].x)
    if any(len(t.x) != count or len(t.y) != count for t in there):
        raise ImageError("the surveys' tiles list different numbers of map pixels")
    network.eval().to(choose_device(settings[0].device))
    reason = np.full((len(tiles), count), NO_COVERAGE, dtype=np.uint8)
    described = []
    with fixed_threads(settings[0].threads):
        for i, (tile, how) in enumerate(zip(tiles, settings, strict=True)):
            part = network.stand_in[i].detach().expand(count, -1).clone()
            if tile is not None:
                bad = ((tile.mask & bad_planes) != 0) | ~np.isfinite(tile.image).all(axis=0)
                reason[i] = _reasons(network.branches[i], tile, bad, how, bad_planes)
                seen = reason[i] == VALID
                if seen.any():
                    inputs = apply(tile.image, _normalisation(card, i))
                    inputs[:, bad] = 0.0
                    part[torch.from_numpy(seen)] = _described(network, i, inputs, tile, seen, how)
            described.append(part)
        logits = _joined(network, described)
    found = (reason == VALID).any(axis=0)
    probability = np.where(found, 1.0 / (1.0 + np.exp(-logits.astype(np.float64))), np.nan)
    return probability.astype(np.float32), np.where(found, VALID, reason.max(axis=0)).astype("u1")


def _reasons(
    branch: Any, tile: SurveyTile, bad: np.ndarray, how: ScanSettings, bad_planes: int
) -> np.ndarray:
    return reasons(
        bad,
        tile.mask,
        tile.x,
        tile.y,
        window_px=branch.window_px,
        min_valid_fraction=how.min_valid_fraction,
        bad_planes=bad_planes,
    )


def _normalisation(card: dict[str, Any], view: int) -> Normalisation:
    return Normalisation.from_json(card["views"][view]["normalisation"])


@torch.inference_mode()
def _described(
    network: FusionNetwork,
    i: int,
    inputs: np.ndarray,
    tile: SurveyTile,
    seen: np.ndarray,
    how: ScanSettings,
) -> torch.Tensor:
    """Return what the common layers read of a survey at the seen positions, (n, hidden)."""
    branch: Any = network.branches[i]
    project: Any = network.project[i]
    linear, norm = project[0], project[1:]
    x, y = tile.x[seen], tile.y[seen]
    device = linear.weight.device
    if how.engine == "dense" and isinstance(branch, ScanNetwork):

        def read(one: ScanNetwork, features: torch.Tensor) -> torch.Tensor:
            return _window_means(one, linear, features)[0]

        grid = dense_grid(branch, inputs, x, y, step_px=how.step_px, read=read)
        return norm(torch.from_numpy(grid.at(x, y).T.copy()).to(device))
    return norm(linear(_embedded(branch, inputs, x, y, how.batch_size)))


def _window_means(branch: ScanNetwork, linear: nn.Linear, features: torch.Tensor) -> torch.Tensor:
    """Return a linear layer's numbers of all windows of a feature map, (1, hidden, my, mx)."""
    p, h = branch.settings.window_cells, branch.head_cells
    if h > 1:
        means = functional.avg_pool2d(features, p // h, stride=1) if p > h else features
        return head_map(nn.Sequential(linear), means, h, p // h)
    cells = functional.conv2d(features, linear.weight[:, :, None, None], linear.bias)
    return functional.avg_pool2d(cells, p, stride=1)


def _embedded(
    branch: Network, inputs: np.ndarray, x: np.ndarray, y: np.ndarray, batch_size: int
) -> torch.Tensor:
    """Return the features (n, F) of crops at the nearest pixels."""
    size = branch.sizes_px[0]
    places = list(zip(first_pixel(x, size).tolist(), first_pixel(y, size).tolist(), strict=True))
    parts = []
    for start in range(0, len(places), batch_size):
        some = places[start : start + batch_size]
        crops = np.stack([cut(inputs, column, row, size, size) for column, row in some])
        parts.append(branch.embed(as_batch(crops, branch)))
    return torch.cat(parts)


@torch.inference_mode()
def _joined(network: FusionNetwork, described: Sequence[torch.Tensor]) -> np.ndarray:
    logits = network.logits(network.join(torch.cat(list(described), dim=1)))
    return log_odds(logits).float().cpu().numpy()
