"""One answer from an image's eight turns and mirrors: steadier, and the same for all of them."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from clusterscan.networks.network import Network


def turned_logits(
    network: Network, views: Sequence[torch.Tensor], present: torch.Tensor
) -> torch.Tensor:
    """Return a network's logits, averaged over the quarter turns of the images and their mirrors.

    Parameters
    ----------
    network : Network
        In evaluation mode.
    views : sequence of float32 tensors, shape (B, bands, N, N)
        Crops, normalised, one tensor a view.
    present : bool tensor, shape (B, views)
        Which views each example has.

    Returns
    -------
    float tensor, shape (B,) or (B, K)
        They do not change, but for rounding, when the images are turned or mirrored.
    """
    turned = [
        network.of_views([_turned(view, quarters, mirrored) for view in views], present)
        for quarters in range(4)
        for mirrored in (False, True)
    ]
    return torch.stack(turned).mean(dim=0)


def _turned(view: torch.Tensor, quarters: int, mirrored: bool) -> torch.Tensor:
    view = torch.rot90(view, quarters, (2, 3))
    if mirrored:
        view = view.flip(3)
    return view.contiguous(memory_format=torch.channels_last)
