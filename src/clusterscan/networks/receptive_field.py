"""How far a feature cell sees, from the kernels, strides and dilations it is made of."""

from __future__ import annotations

import torch
from torch import nn

from clusterscan.networks.local_pooling import LocalSqueezeExcite

_WINDOWED = (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d, LocalSqueezeExcite)


@torch.no_grad()
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
        half = (_first(layer.kernel_size) - 1) / 2 * _first(getattr(layer, "dilation", 1)) * jump
        if isinstance(layer, LocalSqueezeExcite):
            box = max(box, half)
        else:
            reach += half

    hooks = [m.register_forward_hook(note) for m in body.modules() if isinstance(m, _WINDOWED)]
    was_training = body.training
    try:
        body.eval()(torch.zeros(1, bands, probe_px, probe_px))
    finally:
        body.train(was_training)
        for hook in hooks:
            hook.remove()
    return int(reach + box + 1)


def _first(value) -> int:
    return value[0] if isinstance(value, tuple) else value
