"""Heads of several layers, and the same heads over a whole map of features at once.

A head that reads an h x h map of C channels, listed channel by channel, equals a convolution with
h x h kernels followed by 1 x 1 ones. `head_map` is therefore exact: only the order of the sums
differs from calling the head window by window.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional

VGG_WIDTH = 4096
MLP_WIDTHS = (256, 64)


class SpinalHead(nn.Module):
    """Four narrow layers that each read half of the features, and the layer before it.

    Layers 1 and 3 read the first half of the features, 2 and 4 the second; from the second on,
    each reads the layer before as well. The last layer reads all four.

    Parameters
    ----------
    features, classes : int
        Sizes of input and output. Of an odd number of features the last is left out.
    width : int
        Outputs of each of the four layers.
    dropout : float
        Dropout before every layer.
    batch_norm : bool
        Add a batch norm after each of the four layers.

    References
    ----------
    Kabir et al. 2020 (arXiv:2007.03347).
    """

    def __init__(
        self, features: int, classes: int, *, width: int, dropout: float, batch_norm: bool
    ):
        super().__init__()
        self.part = features // 2
        before = (0, width, width, width)
        self.vertebrae = nn.ModuleList(
            _layer(self.part + more, width, dropout, batch_norm) for more in before
        )
        self.last = nn.Sequential(nn.Dropout(dropout), nn.Linear(4 * width, classes))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (B, classes) for features (B, F)."""
        parts = x[:, : self.part], x[:, self.part : 2 * self.part]
        written: list[torch.Tensor] = []
        for number, layer in enumerate(self.vertebrae):
            read = [parts[number % 2], *written[-1:]]
            written.append(layer(torch.cat(read, dim=1)))
        return self.last(torch.cat(written, dim=1))


def _layer(features: int, width: int, dropout: float, batch_norm: bool) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Dropout(dropout), nn.Linear(features, width)]
    if batch_norm:
        layers.append(nn.BatchNorm1d(width))
    return nn.Sequential(*layers, nn.ReLU(inplace=True))


def linear_head(features: int, classes: int, *, dropout: float) -> nn.Sequential:
    """Return dropout and one linear layer."""
    return nn.Sequential(nn.Dropout(dropout), nn.Linear(features, classes))


def vgg_head(features: int, classes: int, *, dropout: float) -> nn.Sequential:
    """Return the three linear layers at the end of VGG, with dropout after the first two.

    References
    ----------
    Simonyan & Zisserman 2015, ICLR (arXiv:1409.1556).
    """
    return mlp_head(features, classes, widths=(VGG_WIDTH, VGG_WIDTH), dropout=dropout)


def mlp_head(
    features: int, classes: int, *, widths: tuple[int, ...], dropout: float
) -> nn.Sequential:
    """Return a multilayer perceptron: linear layers with ReLU and dropout between."""
    layers: list[nn.Module] = []
    for width in widths:
        layers += [nn.Linear(features, width), nn.ReLU(inplace=True), nn.Dropout(dropout)]
        features = width
    return nn.Sequential(*layers, nn.Linear(features, classes))


def head_map(head: nn.Module, means: torch.Tensor, cells: int, spacing: int) -> torch.Tensor:
    """Return a head's outputs for all windows of a map, in evaluation mode.

    Parameters
    ----------
    head : SpinalHead, or Sequential of linear and elementwise layers
        (B, C * cells * cells) to (B, classes).
    means : tensor, shape (B, C, H, W)
        Feature map.
    cells : int
        Side of the map that the head reads.
    spacing : int
        Distance between these cells in ``means``.

    Returns
    -------
    tensor, shape (B, classes, H - (cells - 1) * spacing, W - (cells - 1) * spacing)

    Raises
    ------
    TypeError
        If the head is of another kind.
    """
    if isinstance(head, SpinalHead):
        return _spinal_map(head, means, cells, spacing)
    if isinstance(head, nn.Sequential):
        return _chain_map(head, means, cells, spacing)
    raise TypeError(f"a {type(head).__name__} cannot be written as convolutions")


def _chain_map(chain: nn.Sequential, x: torch.Tensor, cells: int, spacing: int) -> torch.Tensor:
    for layer in chain:
        if isinstance(layer, nn.Linear):
            x = _linear_map(layer.weight, layer.bias, x, cells, spacing)
            cells, spacing = 1, 1
        elif isinstance(layer, nn.BatchNorm1d):
            x = functional.batch_norm(
                x, layer.running_mean, layer.running_var, layer.weight, layer.bias, eps=layer.eps
            )
        else:  # activations and, in evaluation mode, dropout
            x = layer(x)
    return x


def _spinal_map(head: SpinalHead, x: torch.Tensor, cells: int, spacing: int) -> torch.Tensor:
    # Features are listed channel by channel, so half of the features are half of the channels.
    channels = head.part // cells**2
    parts = x[:, :channels], x[:, channels : 2 * channels]
    written: list[torch.Tensor] = []
    for number, vertebra in enumerate(head.vertebrae):
        layers: list[Any] = list(vertebra.children())
        linear, rest = layers[1], layers[2:]  # after the dropout
        # The first columns read the features (a map here), the rest the layer before (one value per
        # window), so the layer is the sum of two convolutions.
        of_map, of_last = linear.weight[:, : head.part], linear.weight[:, head.part :]
        out = _linear_map(of_map, linear.bias, parts[number % 2], cells, spacing)
        if written:
            out += functional.conv2d(written[-1], of_last[:, :, None, None])
        written.append(_chain_map(nn.Sequential(*rest), out, 1, 1))
    return _chain_map(head.last, torch.cat(written, dim=1), 1, 1)


def _linear_map(
    weight: torch.Tensor, bias: torch.Tensor | None, x: torch.Tensor, cells: int, spacing: int
) -> torch.Tensor:
    # A linear layer over the h x h cells of a window is a convolution with h x h kernels; the
    # distance between the cells is its dilation.
    kernels = weight.reshape(len(weight), -1, cells, cells)
    return functional.conv2d(x, kernels, bias, dilation=spacing)
