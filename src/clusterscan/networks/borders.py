"""Convolutions that continue a crop beyond its border, rather than see black sky there.

Deep networks see much further than a crop. Trained on crops with zeros around, they learn to
count on these zeros, which are far away when a whole tile is read: all logits of the tile move.
A mirrored border looks like the sky around does, so crops and tiles give like logits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn


def cells_of_crop(
    body: nn.Module, layers: dict[str, nn.Module], bands: int, size_px: int
) -> dict[str, int]:
    """Return the side of the map that each layer gets of a crop [cells].

    Parameters
    ----------
    body : nn.Module
        (B, bands, H, W) to a map.
    layers : dict of str to nn.Module
        Some of its modules by name; those that are not run are left out.
    bands, size_px : int
        Bands and size of a crop [px].
    """
    cells: dict[str, int] = {}

    def note(name: str) -> Callable[..., None]:
        return lambda module, inputs: cells.__setitem__(name, inputs[0].shape[-1])

    hooks = [layer.register_forward_pre_hook(note(name)) for name, layer in layers.items()]
    training = body.training
    try:
        with torch.no_grad():
            body.eval()(torch.zeros(1, bands, size_px, size_px))
    finally:
        body.train(training)
        for hook in hooks:
            hook.remove()
    return cells


def mirror_borders(body: nn.Module, bands: int, size_px: int) -> None:
    """Let a body's convolutions mirror maps at their borders, in place.

    Where a crop's map is too small to be mirrored so far, its border is repeated.
    """
    padded: dict[str, nn.Module] = {
        name: module
        for name, module in body.named_modules()
        if type(module) is nn.Conv2d and not isinstance(module.padding, str) and any(module.padding)
    }
    for name, cells in cells_of_crop(body, padded, bands, size_px).items():
        layer: Any = padded[name]
        layer.padding_mode = "reflect" if cells > max(layer.padding) else "replicate"
