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

from clusterscan.core.errors import ModelError
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
        block = block_cells(self.kernel_size)
        weights = self._weights(squeezed(x, self.kernel_size, block))
        if block > 1:
            weights = functional.interpolate(weights, scale_factor=block, mode="bilinear")
            weights = weights[..., : x.shape[-2], : x.shape[-1]]
        return x * weights

    def _weights(self, means: torch.Tensor) -> torch.Tensor:
        se = self.published
        if hasattr(se, "conv_reduce"):
            return se.gate(se.conv_expand(se.act1(se.conv_reduce(means))))
        return se.gate(se.fc2(se.act(se.bn(se.fc1(means)))))


def block_cells(kernel: int) -> int:
    """Return the side of the blocks whose means stand for their cells: a quarter box at most."""
    return max(n for n in range(1, max(kernel // 4, 1) + 1) if kernel % n == 0)


def squeezed(x: torch.Tensor, kernel: int, block: int) -> torch.Tensor:
    """Return the means of maps (B, C, H, W) over boxes around the middle of each block of cells.

    Weights made of them change slowly from cell to cell, so they are wanted only once a block; a
    box of an even number of blocks takes half of the blocks at its two ends.
    """
    if block == 1:
        return box_mean(x, kernel)
    blocks = functional.avg_pool2d(x, block, ceil_mode=True, count_include_pad=False)
    across = kernel // block
    if across % 2:
        return box_mean(blocks, across)
    for axis in (2, 3):
        blocks = _even_mean(blocks, across, axis)
    return blocks


def _even_mean(x: torch.Tensor, cells: int, axis: int) -> torch.Tensor:
    """Return means over an axis, half of a box of cells to either side, cut at the border."""
    kernel = (cells, 1) if axis == 2 else (1, cells)
    around = (kernel[0] // 2, kernel[1] // 2)
    means = functional.avg_pool2d(x, kernel, stride=1, padding=around, count_include_pad=False)
    size = x.shape[axis]
    return (means.narrow(axis, 0, size) + means.narrow(axis, 1, size)) / 2


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
