"""Heads of several layers as convolutions: the same numbers at every place of a map at once.

A head that reads an h x h map of C channels, listed channel by channel, is a layer of h x h
kernels followed by 1 x 1 ones. This is exact: only the order of the sums differs.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional

from clusterscan.networks.heads import SpinalHead


def head_map(head: nn.Module, means: torch.Tensor, cells: int, spacing: int) -> torch.Tensor:
    """Return a head's outputs for all windows of a map, in evaluation mode.

    Parameters
    ----------
    head : SpinalHead, or Sequential of linear layers and what acts on single numbers
        (B, C * cells * cells) to (B, classes).
    means : tensor, shape (B, C, H, W)
        Feature map.
    cells : int
        Side of the map that the head reads.
    spacing : int
        Distance between its cells in ``means``.

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
    raise TypeError(f"a {type(head).__name__} cannot be read as convolutions")


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
    channels = head.part // cells**2
    parts = x[:, :channels], x[:, channels : 2 * channels]
    written: list[torch.Tensor] = []
    for number, vertebra in enumerate(head.vertebrae):
        layers: list[Any] = list(vertebra.children())
        linear, rest = layers[1], layers[2:]  # after the dropout
        of_map, of_last = linear.weight[:, : head.part], linear.weight[:, head.part :]
        out = _linear_map(of_map, linear.bias, parts[number % 2], cells, spacing)
        if written:
            out += functional.conv2d(written[-1], of_last[:, :, None, None])
        written.append(_chain_map(nn.Sequential(*rest), out, 1, 1))
    return _chain_map(head.last, torch.cat(written, dim=1), 1, 1)


def _linear_map(
    weight: torch.Tensor, bias: torch.Tensor | None, x: torch.Tensor, cells: int, spacing: int
) -> torch.Tensor:
    kernels = weight.reshape(len(weight), -1, cells, cells)
    return functional.conv2d(x, kernels, bias, dilation=spacing)
