"""A copy of a network for the scan, with features on a finer grid.

The strides of its last stages are taken out and what follows them is dilated instead (the "à trous"
algorithm), so one pass gives the features of all shifted passes and shares their early layers.
Pooling a window over the finer grid averages the logits of the shifted windows.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from clusterscan.config.networks import RESNETS, resnet_strides
from clusterscan.networks.local_pooling import LocalSqueezeExcite
from clusterscan.networks.network import Network, ScanNetwork
from clusterscan.networks.receptive_field import watch

_POOLS = (nn.MaxPool2d, nn.AvgPool2d)


def finer(network: Network, step_px: int | None) -> Network:
    """Return the network with its weights at output stride ``step_px``, where it can have it.

    Parameters
    ----------
    network : Network
        In evaluation mode; it is not changed.
    step_px : int or None
        The scan's grid step; None or a coarser one than the network's stride changes nothing.

    References
    ----------
    Chen et al. 2018, IEEE TPAMI 40, 834 (dilated convolutions for dense features).
    """
    if not isinstance(network, ScanNetwork) or not _can_be(network, step_px):
        return network
    assert step_px is not None
    fine = copy.deepcopy(network)
    dilate(fine.body, network.bands, network.size_px, step_px)
    fine.settings = network.settings.model_copy(update={"output_stride": step_px})
    fine.set_stride(step_px)
    return fine.eval()


def _can_be(network: ScanNetwork, step_px: int | None) -> bool:
    settings = network.settings
    if step_px is None or step_px >= network.stride or network.stride % step_px:
        return False
    # Its layers are cheap, so shifted passes cost little more and keep the windows apart; heads
    # of several layers are not linear, so windows must not be averaged before them.
    if settings.name == "baseline" or network.head_cells > 1:
        return False
    if settings.name in RESNETS:
        return step_px in resnet_strides(settings.stem_stride, settings.stages)
    return all(_is_known(m) for m in network.body.modules())


def _is_known(module: nn.Module) -> bool:
    return not isinstance(module, nn.Conv2d) or not isinstance(module.padding, str)


def dilate(body: nn.Module, bands: int, probe_px: int, stride: int) -> None:
    """Give a body a finer output stride, in place, so that its old cells are among the new ones.

    Parameters
    ----------
    body : nn.Module
        (B, bands, H, W) to a map.
    bands, probe_px : int
        Of an image to send through; its size is a multiple of the body's stride.
    stride : int
        The wanted one.
    """
    jumps: dict[nn.Module, float] = {}
    layers = [m for m in body.modules() if isinstance(m, (nn.Conv2d, *_POOLS, LocalSqueezeExcite))]

    def note(layer: Any, inputs: Any, output: Any) -> None:
        jumps[layer] = probe_px / inputs[0].shape[-1]

    watch(body, layers, note, bands, probe_px)
    for layer, jump in jumps.items():
        factor = max(round(jump / stride), 1)
        _spread(body, layer, factor, keeps_stride=2 * jump <= stride)


def _spread(body: nn.Module, layer: Any, factor: int, *, keeps_stride: bool) -> None:
    """Dilate one layer; take out its stride where its output would be too coarse."""
    if isinstance(layer, LocalSqueezeExcite):
        layer.kernel_size *= factor
        return
    strided = _pair(layer.stride)[0] > 1 and not keeps_stride
    if isinstance(layer, nn.Conv2d):
        layer.dilation = tuple(factor * d for d in layer.dilation)
        layer.padding = tuple(factor * p for p in _pair(layer.padding))
        layer._reversed_padding_repeated_twice = [p for p in layer.padding[::-1] for _ in range(2)]
        if strided:
            layer.stride = (1, 1)
    elif factor > 1 or strided:
        name = next(name for name, module in body.named_modules() if module is layer)
        body.set_submodule(name, FinePool(layer, factor))


class FinePool(nn.Module):
    """A pooling layer at every cell: dilated, without its stride, the map's size kept."""

    def __init__(self, pool: Any, factor: int):
        super().__init__()
        self.kernel_size = _pair(pool.kernel_size)[0]
        self.stride = 1
        self.dilation = factor
        self.padding = factor * _pair(pool.padding)[0]
        self.average = isinstance(pool, nn.AvgPool2d)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the pooled map (B, C, H, W) of a map of the same size."""
        k, d = self.kernel_size, self.dilation
        after = (k - 1) * d - self.padding
        x = functional.pad(x, (self.padding, after, self.padding, after), mode="replicate")
        if not self.average:
            return functional.max_pool2d(x, k, stride=1, dilation=d)
        for axis in (2, 3):
            size = x.shape[axis] - (k - 1) * d
            x = torch.stack([x.narrow(axis, d * i, size) for i in range(k)]).mean(dim=0)
        return x


def _pair(value: Any) -> tuple[int, int]:
    return value if isinstance(value, tuple) else (value, value)
