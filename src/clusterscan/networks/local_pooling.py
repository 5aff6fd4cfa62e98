"""Squeeze-and-excitation that sees a crop's worth of sky, also where a whole tile is read.

Some networks weigh their channels by means over the whole image. In a tile these would be means
over another sky than the crop's, and a logit would depend on what lies far from its window. So
the mean is taken over a box of the crop's size around each cell; of a crop it is the published one.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional

from clusterscan.errors import ModelError
from clusterscan.networks.borders import cells_of_crop

# Layers of timm and torch that read a whole image, and have no local form here.
_GLOBAL = (
    "AdaptiveAvgPool2d",
    "AdaptiveMaxPool2d",
    "BatNonLocalAttn",
    "BilinearAttnTransform",
    "CbamModule",
    "CecaModule",
    "EcaModule",
    "EffectiveSEModule",
    "GatherExcite",
    "GlobalContext",
    "GlobalResponseNorm",
    "GroupNorm",
    "GroupNorm1",
    "GroupNormAct",
    "InstanceNorm2d",
    "LightCbamModule",
    "NonLocalAttn",
    "SelectiveKernel",
    "SplitAttn",
)


class LocalSqueezeExcite(nn.Module):
    """timm's squeeze-and-excitation with means over boxes in place of the whole map.

    Parameters
    ----------
    published : nn.Module
        timm's SqueezeExcite or SEModule; its weights are used as they are.
    cells : int
        Side of the box: the cells of a crop's map at this layer.

    References
    ----------
    Hu et al. 2018, CVPR, 7132 (squeeze-and-excitation); Chu et al. 2022, ECCV, 53 (boxes of the
    training size in place of global means).
    """

    def __init__(self, published: Any, cells: int):
        super().__init__()
        self.published = published
        self.kernel_size = cells

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the map (B, C, H, W) with its channels weighed."""
        if max(x.shape[-2:]) <= self.kernel_size:
            return self.published(x)
        squeezed = box_mean(x, self.kernel_size)
        se = self.published
        if hasattr(se, "conv_reduce"):
            return x * se.gate(se.conv_expand(se.act1(se.conv_reduce(squeezed))))
        return x * se.gate(se.fc2(se.act(se.bn(se.fc1(squeezed)))))


def box_mean(x: torch.Tensor, cells: int) -> torch.Tensor:
    """Return the mean of maps (B, C, H, W) over a box around each cell, cut at the border."""
    for axis, kernel in ((2, (cells, 1)), (3, (1, cells))):
        around = (kernel[0] // 2, kernel[1] // 2)
        size = x.shape[axis]
        x = functional.avg_pool2d(x, kernel, stride=1, padding=around, count_include_pad=False)
        x = x.narrow(axis, 0, size)  # an even box has one place too many
    return x


def make_local(body: nn.Module, bands: int, size_px: int, name: str = "the network") -> None:
    """Let a body's squeeze-and-excitation see as much sky in a tile as in a crop, in place.

    Parameters
    ----------
    body : nn.Module
        (B, bands, H, W) to a map.
    bands, size_px : int
        Bands and size of the crops that it is trained on [px].
    name : str
        What it is called in errors.

    Raises
    ------
    ModelError
        If another of its layers reads the whole image.
    """
    kinds = {type(module).__name__ for module in body.modules()}
    if found := sorted(kinds.intersection(_GLOBAL)):
        raise ModelError(
            f"{name}: its layers {', '.join(found)} read the whole image, so that a tile is not "
            "seen as crops are; set form: whole, or take another network"
        )
    layers = {
        name: module
        for name, module in body.named_modules()
        if type(module).__name__ in ("SqueezeExcite", "SEModule")
    }
    if not layers:
        return
    for name, cells in cells_of_crop(body, layers, bands, size_px).items():
        parent, _, own = name.rpartition(".")
        setattr(body.get_submodule(parent), own, LocalSqueezeExcite(layers[name], cells))
