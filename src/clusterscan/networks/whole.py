"""Networks as published: the whole crop in, one description of it, the classes out."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from clusterscan.config.networks import NetworkSettings
from clusterscan.networks.layer_groups import grouped_names
from clusterscan.networks.network import Kind, MakeHead, Network


class WholeNetwork(Network):
    """A body that describes a whole crop, and a head.

    Parameters
    ----------
    body : nn.Module
        (B, bands, N, N) to (B, F).
    width : int
        F, the numbers that describe a crop.
    make_head : callable
        Makes a head, (B, F) to (B, classes), for F and a number of classes.
    settings : NetworkSettings
        Of form 'whole'.
    bands : int
        Image bands.
    kind : 'conv', 'vit' or 'other'
        Whether the body has a feature map of channels as its module ``map``, or a vision
        transformer's blocks, or neither.
    """

    settings: NetworkSettings

    def __init__(
        self,
        body: nn.Module,
        width: int,
        make_head: MakeHead,
        settings: NetworkSettings,
        bands: int,
        *,
        kind: Kind = "conv",
    ):
        super().__init__(width, make_head)
        self.settings = settings
        self.bands = bands
        self.bands_of_views, self.sizes_px = (bands,), (settings.size_px,)
        self.size_px: int = settings.size_px
        self.window_px: int = settings.window_px
        self.kind = kind
        self.body = body
        self.head = make_head(width, settings.classes)
        self.body_groups = grouped_names(body, "body.")

    def embed(self, x: torch.Tensor) -> torch.Tensor:
        """Return the features (B, F) of crops (B, bands, N, N)."""
        return self.body(x)

    def attribution_layer(self) -> nn.Module | None:
        """Return the module whose output is the last feature map, None where there is none."""
        return getattr(self.body, "map", None) if self.kind == "conv" else None


class PlainBody(nn.Module):
    """Convolutions, and what makes one description of their map."""

    def __init__(self, features: nn.Module, neck: nn.Module):
        super().__init__()
        self.map = features
        self.neck = neck

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (B, F) for images (B, bands, N, N)."""
        return self.neck(self.map(x))


class TimmBody(nn.Module):
    """A timm network without its last layer."""

    model: Any

    def __init__(self, model: Any):
        super().__init__()
        self.model = model
        self.map = nn.Identity()  # a place to look at the last feature map from

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (B, F) for images (B, bands, N, N)."""
        return self.model.forward_head(self.map(self.model.forward_features(x)))

    @property
    def width(self) -> int:
        """Numbers that describe a crop."""
        return int(self.model.head_hidden_size)


def pool_and_flatten(cells: int) -> nn.Sequential:
    """Return what brings feature maps to a size and lists their numbers."""
    return nn.Sequential(nn.AdaptiveAvgPool2d(cells), nn.Flatten())
