"""How far and where a feature cell sees, and what a scan keeps in memory for it.

All of it from the kernels, strides and dilations that a body is made of, and the sizes of its maps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn

from clusterscan.networks.local_pooling import LocalSqueezeExcite


def _sees_a_window(layer: nn.Module) -> bool:
    return hasattr(layer, "kernel_size")


def half_kernel(layer: nn.Module) -> float:
    """Return how far a layer sees to each side, in cells of its input; 0 without a kernel."""
    side = _first(getattr(layer, "kernel_size", 1))
    return (side - 1) / 2 * _first(getattr(layer, "dilation", 1))


def reach_px(body: nn.Module, bands: int, probe_px: int) -> int:
    """Return an upper bound of the distance [px] from which input changes a feature cell.

    The layers are met in the order in which a forward pass runs them; parallel branches are
    counted one after the other, so the bound is safe, and exact for plain chains. The boxes of
    squeeze-and-excitation count once: what several of them would reach together is thinned out
    over areas as large as a crop.

    Parameters
    ----------
    body : nn.Module
        The network's convolutional part.
    bands : int
        Image bands.
    probe_px : int
        Size of the image that is sent through; a multiple of the body's stride.
    """
    reach = box = 0.0

    def note(layer, inputs, output) -> None:
        nonlocal reach, box
        jump = probe_px / inputs[0].shape[-1]
        half = half_kernel(layer) * jump
        if isinstance(layer, LocalSqueezeExcite):
            box = max(box, half)
        else:
            reach += half

    watch(body, (m for m in body.modules() if _sees_a_window(m)), note, bands, probe_px)
    return int(reach + box + 1)


def offset_px(body: nn.Module, bands: int, probe_px: int) -> float:
    """Return the position [px] that the first feature cell looks at, the mean of what it sees.

    Strided convolutions with odd kernels leave it at pixel 0, each 2 x 2 pooling moves it by half
    a cell. Branches side by side count once.
    """
    moved: dict[float, float] = {}

    def note(layer, inputs, output) -> None:
        jump = probe_px / inputs[0].shape[-1]
        half = half_kernel(layer)
        # A pooling layer moves what it sees also where its stride was taken out.
        if not isinstance(layer.padding, str):
            shift = (half - _first(layer.padding)) * jump
            moved[jump] = max(moved.get(jump, shift), shift, key=abs)

    layers = (m for m in body.modules() if _sees_a_window(m) and hasattr(m, "stride"))
    watch(body, layers, note, bands, probe_px)
    return sum(moved.values())


def bytes_per_px(body: nn.Module, bands: int, probe_px: int) -> float:
    """Return about how much memory a forward pass takes for each pixel of its image.

    Twice the largest layer's maps, what goes in and what comes out, in float32.
    """
    largest = 0

    def note(layer, inputs, output) -> None:
        nonlocal largest
        maps = [t for t in (*inputs, output) if isinstance(t, torch.Tensor)]
        largest = max(largest, sum(t.numel() for t in maps))

    watch(body, (m for m in body.modules() if not list(m.children())), note, bands, probe_px)
    return 2 * 4 * largest / probe_px**2


@torch.no_grad()
def watch(
    body: nn.Module,
    layers: Iterable[nn.Module],
    note: Callable[[Any, Any, Any], None],
    bands: int,
    probe_px: int,
) -> None:
    """Send an empty image through a body; call ``note(layer, inputs, output)`` for some layers."""
    hooks = [layer.register_forward_hook(note) for layer in layers]
    was_training = body.training
    device = next(body.parameters()).device
    try:
        body.eval()(torch.zeros(1, bands, probe_px, probe_px, device=device))
    finally:
        body.train(was_training)
        for hook in hooks:
            hook.remove()


def _first(value) -> int:
    return value[0] if isinstance(value, tuple) else value
