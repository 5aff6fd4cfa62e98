"""The networks' common interface, and its two forms: dense (scans tiles) and whole (reads crops).

The geometry of the dense form: a crop of N px has n = N / S feature cells a side (S the stride),
and the mean of its central p x p cells maps to one logit. The same body run once over a whole
tile, then box means of p x p cells and the same last layer, give the logits of all crops whose
corner lies on a multiple of S at once:

    pooled cell j  <->  crop centre  x = S (j - (n - p) / 2) + (N - 1) / 2   [px]

Images are (bands, y, x) float32, normalised, with 0 for missing pixels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, Literal

import torch
from torch import nn
from torch.nn import functional

from clusterscan.config.networks import FusionSettings, NetworkSettings
from clusterscan.networks.heads import head_map
from clusterscan.networks.layer_groups import Groups, grouped_names
from clusterscan.networks.receptive_field import bytes_per_px, offset_px, reach_px

Kind = Literal["conv", "vit", "other"]
MakeHead = Callable[[int, int], nn.Module]  # (features, classes) to a head


class Network(nn.Module):
    """A body that turns images into features, and a head that turns features into logits.

    Attributes
    ----------
    settings : NetworkSettings or FusionSettings
        The settings it was built from.
    bands_of_views, sizes_px : tuple of int
        Bands and crop size [px] of each view (survey); only a fusion has several views.
    width : int
        Number of features F that the head reads.
    head : nn.Module
        (B, F) to (B, classes); transfer learning starts with a new one.
    kind : 'conv', 'vit' or 'other'
        How its decisions can be traced back to pixels: from a feature map of channels, from the
        attention of a vision transformer, or by gradients alone.
    """

    settings: NetworkSettings | FusionSettings
    bands_of_views: tuple[int, ...]
    sizes_px: tuple[int, ...]
    head: nn.Module
    kind: Kind = "conv"

    def __init__(self, width: int):
        super().__init__()
        self.width = width
        self.body_groups: Groups = []

    @property
    def classes(self) -> int:
        """Return the number of outputs: 1 for the logit of the positive class, K for a softmax."""
        return self.settings.classes

    def embed(self, x: torch.Tensor) -> torch.Tensor:
        """Return the features (B, F) of crops (B, bands, N, N) that the head reads."""
        raise TypeError(f"{type(self).__name__} has no features of a single view")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the logits of crops (B, bands, N, N): (B,) for one class, else (B, classes)."""
        return self.logits(self.embed(x))

    def logits(self, features: torch.Tensor) -> torch.Tensor:
        """Return the logits of features (B, F): (B,) for one class, else (B, classes)."""
        out = self.head(features)
        return out.squeeze(1) if self.classes == 1 else out

    def of_views(
        self, views: Sequence[torch.Tensor], present: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return the logits of examples, given as one tensor (B, bands, N, N) per view.

        Parameters
        ----------
        views : sequence of tensors
            In the order of the model card's views.
        present : bool tensor, shape (B, views), optional
            True for the views that an example has; a network of one view ignores it.
        """
        return self(views[0])

    def layer_groups(self) -> list[list[nn.Parameter]]:
        """Return all parameters in groups, from the first layers to the head."""
        named = dict(self.named_parameters())
        body = [[named[name] for name in group] for group in self.body_groups]
        return [*body, list(self.head.parameters())]

    def attribution_layer(self) -> nn.Module | None:
        """Return the module whose output is the last feature map, None where there is none."""
        return None


class ScanNetwork(Network):
    """The dense form: a body with a stride, a window of features and one logit.

    Parameters
    ----------
    body : nn.Module
        (B, bands, H, W) to (B, channels, H / S, W / S) for H and W multiples of S.
    channels : int
        Feature channels.
    settings : NetworkSettings
        Sizes and dropout.
    bands : int
        Image bands.
    make_head : callable
        Makes the head from (features, classes).
    head_cells : int
        Side h of the map of means that the head reads; 1: the mean of the whole window.

    Attributes
    ----------
    reach_px : int
        Largest distance from which a pixel changes a feature cell [px].
    """

    settings: NetworkSettings

    def __init__(
        self,
        body: nn.Module,
        channels: int,
        settings: NetworkSettings,
        bands: int,
        *,
        make_head: MakeHead = nn.Linear,
        head_cells: int = 1,
    ):
        super().__init__(channels * head_cells**2)
        self.settings = settings
        self.bands = bands
        self.bands_of_views, self.sizes_px = (bands,), (settings.size_px,)
        self.size_px: int = settings.size_px
        self.window_px: int = settings.window_px
        self.head_cells = head_cells
        self.body = body
        dropout = DENSE_DROPOUT if settings.dropout is None else settings.dropout
        self.dropout = nn.Dropout(dropout if head_cells == 1 else 0.0)  # others have own
        self.head = make_head(self.width, 1)
        self.body_groups = grouped_names(body, "body.")
        self.set_stride(settings.output_stride)

    def set_stride(self, stride: int) -> None:
        """Set the body's stride [px], and measure where and how far its cells see."""
        self.stride = stride
        self.reach_px = reach_px(self.body, self.bands, self.size_px)
        # Strides and poolings shift what a cell sees, so it looks beside the middle of its pixels,
        # and the scan would report every object that much off. Moving the image by whole pixels
        # before the body brings it back, to half a pixel at worst.
        offset = offset_px(self.body, self.bands, self.size_px)
        self._lead = math.floor((stride - 1) / 2 - offset + 0.5)

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """Return the feature map (B, C, H / S, W / S) of images (B, bands, H, W)."""
        if lead := self._lead:
            # Negative padding crops: cutting one side and padding the other moves the image by
            # whole pixels and keeps its size.
            x = functional.pad(x, (-lead, lead, -lead, lead))
        return self.body(x)

    def embed(self, x: torch.Tensor) -> torch.Tensor:
        """Return the window's features (B, F) of crops (B, bands, N, N)."""
        return self.pool(self.features(x))

    def pool(self, features: torch.Tensor) -> torch.Tensor:
        """Return the window's means (B, C h h) of crops' feature maps (B, C, n, n)."""
        # Only the central cells: those near the border of a crop see beyond its edge, where a tile
        # would show them more sky.
        p = self.settings.window_cells
        first = (features.shape[-1] - p) // 2
        window = features[..., first : first + p, first : first + p]
        if self.head_cells > 1:
            return functional.avg_pool2d(window, p // self.head_cells).flatten(1)
        return self.dropout(window.mean(dim=(2, 3)))

    def pool_and_head(self, features: torch.Tensor) -> torch.Tensor:
        """Return the logits (B,) of crops' feature maps (B, C, n, n)."""
        return self.logits(self.pool(features))

    def logit_grid(self, features: torch.Tensor) -> torch.Tensor:
        """Return the logits (B, my, mx) of all windows in feature maps (B, C, my+p-1, mx+p-1).

        A linear head commutes with the mean, so it is applied first and one channel is averaged
        instead of C. Larger heads are convolutions of the map of means (`head_map`).
        """
        if self.head_cells > 1:
            # The head reads h x h means of parts of the window; as the window slides by single
            # cells, these are means at stride 1, which the head picks ``part`` cells apart.
            part = self.settings.window_cells // self.head_cells
            means = functional.avg_pool2d(features, part, stride=1) if part > 1 else features
            return head_map(self.head, means, self.head_cells, part)[:, 0]
        weight, bias = self.head.get_parameter("weight"), self.head.get_parameter("bias")
        cells = torch.einsum("bchw,c->bhw", features, weight[0])
        pooled = functional.avg_pool2d(cells.unsqueeze(1), self.settings.window_cells, stride=1)
        return pooled.squeeze(1) + bias

    @cached_property
    def bytes_per_px(self) -> float:
        """Return the estimated memory of a scan for each pixel of the image [bytes]."""
        return bytes_per_px(self.body, self.bands, self.size_px)

    def attribution_layer(self) -> nn.Module:
        """Return the body, whose output is the feature map."""
        return self.body


DENSE_DROPOUT = 0.2
"""Dropout before the last layer of a dense network, unless the settings give another."""


class WholeNetwork(Network):
    """The whole form, as published: the body reads a whole crop, the head gives its classes.

    Parameters
    ----------
    body : nn.Module
        (B, bands, N, N) to (B, F).
    width : int
        Number of features F.
    make_head : callable
        Makes the head from (features, classes).
    settings : NetworkSettings
        Of form 'whole'.
    bands : int
        Image bands.
    kind : 'conv', 'vit' or 'other'
        'conv' if the output of the body's module ``map`` is a feature map, 'vit' if the body is a
        vision transformer.
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
        super().__init__(width)
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
    """Convolutions, and a neck that turns their feature map into a list of features."""

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
        self.map = nn.Identity()  # a place for hooks that read the last feature map

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (B, F) for images (B, bands, N, N)."""
        return self.model.forward_head(self.map(self.model.forward_features(x)))

    @property
    def width(self) -> int:
        """Return the number of features."""
        return int(self.model.head_hidden_size)


def pool_and_flatten(cells: int) -> nn.Sequential:
    """Return a neck that averages maps to cells x cells and flattens them."""
    return nn.Sequential(nn.AdaptiveAvgPool2d(cells), nn.Flatten())


def turned_logits(
    network: Network, views: Sequence[torch.Tensor], present: torch.Tensor
) -> torch.Tensor:
    """Return a network's logits, averaged over the eight quarter turns and mirrors of the images.

    Parameters
    ----------
    network : Network
        In evaluation mode.
    views : sequence of float32 tensors, shape (B, bands, N, N)
        Normalised crops, one tensor per view.
    present : bool tensor, shape (B, views)
        True for the views that an example has.

    Returns
    -------
    float tensor, shape (B,) or (B, K)
        Turning or mirroring the images changes them by rounding only.
    """
    # Four quarter turns, each with and without a mirror, are all symmetries of a square.
    turned = [
        network.of_views([_turned(view, quarters, mirrored) for view in views], present)
        for quarters in range(4)
        for mirrored in (False, True)
    ]
    return torch.stack(turned).mean(dim=0)


def _turned(view: torch.Tensor, quarters: int, mirrored: bool) -> torch.Tensor:
    view = torch.rot90(view, quarters, (2, 3))
    if mirrored:
        view = view.flip(3)
    return view.contiguous(memory_format=torch.channels_last)
