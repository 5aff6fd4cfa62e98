"""What every network has, and the network that is trained on crops and scans tiles.

A crop of N px has n = N / S feature cells a side (S the stride); the mean of its central p x p
cells maps to one logit. The same body run once over a whole tile, box means of p x p cells and
the same last layer give the logits of all crops whose corner lies on a multiple of S:

    pooled cell j  <->  crop centre  x = S (j - (n - p) / 2) + (N - 1) / 2   [px]

Images are (bands, y, x) float32, normalised, with 0 for missing pixels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Literal

import torch
from torch import nn
from torch.nn import functional

from clusterscan.config.networks import FusionSettings, NetworkSettings
from clusterscan.networks.head_maps import head_map
from clusterscan.networks.layer_groups import Groups, grouped_names
from clusterscan.networks.receptive_field import bytes_per_px, offset_px, reach_px

Kind = Literal["conv", "vit", "other"]
MakeHead = Callable[[int, int], nn.Module]  # (features, classes) to a head


class Network(nn.Module):
    """A body that describes images by numbers, and a head that makes logits of them.

    Attributes
    ----------
    settings : NetworkSettings or FusionSettings
        What it was built from; ``classes`` changes with the head.
    bands_of_views, sizes_px : tuple of int
        Bands and crop size [px] of each view (survey); one view but for a fusion.
    width : int
        Numbers F that the head reads.
    head : nn.Module
        (B, F) to (B, classes): what transfer learning exchanges.
    kind : 'conv', 'vit' or 'other'
        How its decisions can be traced back to pixels.
    """

    settings: NetworkSettings | FusionSettings
    bands_of_views: tuple[int, ...]
    sizes_px: tuple[int, ...]
    head: nn.Module
    kind: Kind = "conv"

    def __init__(self, width: int, make_head: MakeHead):
        super().__init__()
        self.width = width
        self.make_head = make_head
        self.body_groups: Groups = []

    @property
    def classes(self) -> int:
        """Number of outputs: 1 is one logit for the positive class, K a softmax over K."""
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
        """Return the logits of examples given as one tensor (B, bands, N, N) a view.

        Parameters
        ----------
        views : sequence of tensors
            In the order of the model card's views.
        present : bool tensor, shape (B, views), optional
            Which views an example has; a network of one view reads that view in any case.
        """
        return self(views[0])

    def layer_groups(self) -> list[list[nn.Parameter]]:
        """Return all parameters, in groups from the first layers to the last; the head is last."""
        named = dict(self.named_parameters())
        body = [[named[name] for name in group] for group in self.body_groups]
        return [*body, list(self.head.parameters())]

    def attribution_layer(self) -> nn.Module | None:
        """Return the module whose output is the last feature map, None where there is none."""
        return None


class ScanNetwork(Network):
    """A body with a window of features and one logit.

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
        Makes the head; a linear layer if left out.
    head_cells : int
        Side h of the map of window means that the head reads: 1 for the mean of the window.

    Attributes
    ----------
    reach_px : int
        How far a feature cell sees in each direction [px], at most.
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
        super().__init__(channels * head_cells**2, make_head)
        self.settings = settings
        self.bands = bands
        self.bands_of_views, self.sizes_px = (bands,), (settings.size_px,)
        self.size_px: int = settings.size_px
        self.window_px: int = settings.window_px
        self.head_cells = head_cells
        self.body = body
        dropout = DENSE_DROPOUT if settings.dropout is None else settings.dropout
        self.dropout = nn.Dropout(dropout if head_cells == 1 else 0.0)  # larger heads have theirs
        self.head = make_head(self.width, 1)
        self.body_groups = grouped_names(body, "body.")
        self.set_stride(settings.output_stride)

    def set_stride(self, stride: int) -> None:
        """Take note of the body's stride [px], and of how far and where its cells look."""
        self.stride = stride
        self.reach_px = reach_px(self.body, self.bands, self.size_px)
        # Cells that look at another place than their middle would see every object off, and the
        # scan would report it there: the image is moved so far that they do (to half a pixel).
        offset = offset_px(self.body, self.bands, self.size_px)
        self._lead = math.floor((stride - 1) / 2 - offset + 0.5)

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """Return the feature map (B, C, H / S, W / S) of images (B, bands, H, W)."""
        if lead := self._lead:
            x = functional.pad(x, (-lead, lead, -lead, lead))
        return self.body(x)

    def embed(self, x: torch.Tensor) -> torch.Tensor:
        """Return the window's features (B, F) of crops (B, bands, N, N)."""
        return self.pool(self.features(x))

    def pool(self, features: torch.Tensor) -> torch.Tensor:
        """Return the window's means (B, C h h) of crops' feature maps (B, C, n, n)."""
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

        A linear layer goes before the mean: one channel is averaged, not C. Larger heads are
        convolutions of the map of means.
        """
        if self.head_cells > 1:
            part = self.settings.window_cells // self.head_cells
            means = functional.avg_pool2d(features, part, stride=1) if part > 1 else features
            return head_map(self.head, means, self.head_cells, part)[:, 0]
        weight, bias = self.head.get_parameter("weight"), self.head.get_parameter("bias")
        cells = torch.einsum("bchw,c->bhw", features, weight[0])
        pooled = functional.avg_pool2d(cells.unsqueeze(1), self.settings.window_cells, stride=1)
        return pooled.squeeze(1) + bias

    @cached_property
    def bytes_per_px(self) -> float:
        """Memory that a scan takes for each pixel of the image, about."""
        return bytes_per_px(self.body, self.bands, self.size_px)

    def attribution_layer(self) -> nn.Module:
        """Return the body, whose output is the feature map."""
        return self.body


DENSE_DROPOUT = 0.2
"""Dropout before the last layer of a dense network where the settings do not say."""
