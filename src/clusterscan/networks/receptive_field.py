"""The receptive field of a feature cell, and changes that keep it the same in tiles and crops.

A network trained on crops may only slide over a tile if its features there are those of the crops.
Two things would break that, and are replaced here: convolutions that see zeros beyond a crop's
border (`mirror_borders`), and layers that average a whole image (`make_local`).

The reach, offset and memory of a body are measured rather than derived from its definition: hooks
on its layers watch an empty image pass through.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from clusterscan.core.errors import ModelError


def _sees_a_window(layer: nn.Module) -> bool:
    return hasattr(layer, "kernel_size")


def half_kernel(layer: nn.Module) -> float:
    """Return the reach of a layer to each side, in cells of its input; 0 without a kernel."""
    side = _first(getattr(layer, "kernel_size", 1))
    return (side - 1) / 2 * _first(getattr(layer, "dilation", 1))


def reach_px(body: nn.Module, bands: int, probe_px: int) -> int:
    """Return an upper bound of the distance [px] from which input changes a feature cell.

    Each layer adds half its kernel times the stride in front of it (its jump, in pixels per cell).
    Parallel branches are counted one after the other, so the bound is safe, and exact for plain
    chains. Boxes of squeeze-and-excitation count only once: the influence through several of them
    is spread over areas as large as a crop and so is negligible.

    Parameters
    ----------
    body : nn.Module
        The network's convolutional part.
    bands : int
        Image bands.
    probe_px : int
        Size of the empty image; a multiple of the body's stride.
    """
    reach = box = 0.0

    def note(layer, inputs, output) -> None:
        nonlocal reach, box
        jump = probe_px / inputs[0].shape[-1]
        # Pixels per cell of the layer's input, read from the size of its map: strides and poolings
        # before it need no bookkeeping.
        half = half_kernel(layer) * jump
        if isinstance(layer, LocalSqueezeExcite):
            box = max(box, half)
        else:
            reach += half

    watch(body, (m for m in body.modules() if _sees_a_window(m)), note, bands, probe_px)
    return int(reach + box + 1)


def offset_px(body: nn.Module, bands: int, probe_px: int) -> float:
    """Return the position [px] at which the first feature cell looks, the mean of its pixels.

    Strided convolutions with odd kernels leave it at pixel 0; each 2 x 2 pooling moves it by half
    a cell. Parallel branches have the same jump, so of each jump only the largest shift counts.
    """
    moved: dict[float, float] = {}

    def note(layer, inputs, output) -> None:
        jump = probe_px / inputs[0].shape[-1]
        half = half_kernel(layer)
        # A pooling layer shifts its view even where its stride was taken out.
        if not isinstance(layer.padding, str):
            shift = (half - _first(layer.padding)) * jump
            moved[jump] = max(moved.get(jump, shift), shift, key=abs)

    # Boxes of squeeze-and-excitation are symmetric and have no stride, so they shift nothing.
    layers = (m for m in body.modules() if _sees_a_window(m) and hasattr(m, "stride"))
    watch(body, layers, note, bands, probe_px)
    return sum(moved.values())


def bytes_per_px(body: nn.Module, bands: int, probe_px: int) -> float:
    """Estimate the memory of a forward pass for each pixel of its image [bytes].

    It is twice the size of the largest layer's input and output maps in float32.
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
    """Send an empty image through a body and call ``note(layer, inputs, output)`` for layers."""
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


def cells_of_crop(
    body: nn.Module, layers: dict[str, nn.Module], bands: int, size_px: int
) -> dict[str, int]:
    """Return the side of the map that each layer reads for a crop [cells].

    Parameters
    ----------
    body : nn.Module
        (B, bands, H, W) to a map.
    layers : dict of str to nn.Module
        Some of its modules by name; those that do not run are left out of the result.
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

    Deep networks see much farther than a crop. Trained on crops with zeros around them, they learn
    to count on these zeros, which are far away in a tile, so all logits of the tile would shift. A
    mirrored border looks like the sky around the crop does. Where a crop's map is too small to be
    mirrored that far, its border pixel is repeated.
    """
    padded: dict[str, nn.Module] = {
        name: module
        for name, module in body.named_modules()
        if type(module) is nn.Conv2d and not isinstance(module.padding, str) and any(module.padding)
    }
    for name, cells in cells_of_crop(body, padded, bands, size_px).items():
        layer: Any = padded[name]
        # A map can be mirrored only as far as it has cells beside the border.
        layer.padding_mode = "reflect" if cells > max(layer.padding) else "replicate"


# Layers of timm and torch that read a whole image and have no local form here.
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
    """timm's squeeze-and-excitation with means over crop-sized boxes in place of the whole map.

    Some networks weigh their channels by means over the whole image. In a tile these would be means
    over other sky than the crop's, and a logit would depend on sky far from its window. So the mean
    is taken over a box of the crop's size around each cell. For a single crop it is the published
    layer.

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
        # Named as in a convolution, so that `reach_px` counts the box among what a cell sees.
        self.kernel_size = cells

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the map (B, C, H, W) with weighted channels."""
        # A crop fits in one box: the published layer, to the bit, so training is not changed.
        if max(x.shape[-2:]) <= self.kernel_size:
            return self.published(x)
        block = block_cells(self.kernel_size)
        weights = self._weights(squeezed(x, self.kernel_size, block))
        if block > 1:
            # One weight per block, interpolated to cells; the last block may stick out of the map.
            weights = functional.interpolate(weights, scale_factor=block, mode="bilinear")
            weights = weights[..., : x.shape[-2], : x.shape[-1]]
        return x * weights

    def _weights(self, means: torch.Tensor) -> torch.Tensor:
        # timm has this layer under two classes, whose parts are named differently.
        se = self.published
        if hasattr(se, "conv_reduce"):
            return se.gate(se.conv_expand(se.act1(se.conv_reduce(means))))
        return se.gate(se.fc2(se.act(se.bn(se.fc1(means)))))


def block_cells(kernel: int) -> int:
    """Return the side of the blocks that share one mean: at most a quarter of the box."""
    # Blocks must divide the box, so that a box is a whole number of them.
    return max(n for n in range(1, max(kernel // 4, 1) + 1) if kernel % n == 0)


def squeezed(x: torch.Tensor, kernel: int, block: int) -> torch.Tensor:
    """Return the means of maps (B, C, H, W) over boxes around the middle of each block of cells.

    The weights made of these means change slowly from cell to cell, so one per block is enough and
    saves most of the work. A box of an even number of blocks counts the blocks at its ends half.
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
    """Return means along an axis over half a box of cells to either side, cut at the border."""
    kernel = (cells, 1) if axis == 2 else (1, cells)
    around = (kernel[0] // 2, kernel[1] // 2)
    # An even box has no middle: the mean of the two boxes beside a cell is centred on it, with the
    # cells at its ends counted half. Boxes cut at the border are divided by the cells inside.
    means = functional.avg_pool2d(x, kernel, stride=1, padding=around, count_include_pad=False)
    size = x.shape[axis]
    return (means.narrow(axis, 0, size) + means.narrow(axis, 1, size)) / 2


def box_mean(x: torch.Tensor, cells: int) -> torch.Tensor:
    """Return the mean of maps (B, C, H, W) over a box around each cell, cut at the border."""
    # First along rows, then along columns: 2 n additions per mean instead of n squared.
    for axis, kernel in ((2, (cells, 1)), (3, (1, cells))):
        around = (kernel[0] // 2, kernel[1] // 2)
        size = x.shape[axis]
        x = functional.avg_pool2d(x, kernel, stride=1, padding=around, count_include_pad=False)
        x = x.narrow(axis, 0, size)  # an even box gives one place too many
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
        Name for error messages.

    Raises
    ------
    ModelError
        If another of its layers reads the whole image.
    """
    kinds = {type(module).__name__ for module in body.modules()}
    if found := sorted(kinds.intersection(_GLOBAL)):
        raise ModelError(
            f"{name}: its layers {', '.join(found)} read the whole image, so it sees "
            "tiles otherwise than crops; set form: whole, or take another network"
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
