"""Last layers of several: what the bodies' features are turned into classes with."""

from __future__ import annotations

import torch
from torch import nn

VGG_WIDTH = 4096
MLP_WIDTHS = (256, 64)


class SpinalHead(nn.Module):
    """Four narrow layers that each read half of the features, and the layer before it.

    Layers 1 and 3 read the first half of the features, 2 and 4 the second; from the second on,
    each reads the layer before as well. The last layer reads all four.

    Parameters
    ----------
    features, classes : int
        Numbers read and written. Of an odd number of features the last is left out.
    width : int
        Numbers that each of the four layers writes.
    dropout : float
        Dropout before every layer.
    batch_norm : bool
        Whether a batch norm follows each of the four.

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
    """Return the three layers at the end of VGG, each of the first two followed by dropout.

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
