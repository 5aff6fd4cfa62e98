"""The network that is trained on crops and scans tiles: a body, a pooled window, one logit.

A crop of N px has n = N / S feature cells a side (S the stride); the mean of its central p x p
cells maps to one logit. The same body run once over a whole tile, box means of p x p cells and
the same last layer give the logits of all crops whose corner lies on a multiple of S:

    pooled cell j  <->  crop centre  x = S (j - (n - p) / 2) + (N - 1) / 2   [px]

Images are (bands, y, x) float32, normalised, with 0 for missing pixels.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn
from torch.nn import functional

from clusterscan.config.networks import NetworkSettings

Alignment = Literal["cell", "corner"]


class ScanNetwork(nn.Module):
    """A body with a pooled window and one logit.

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
    reach_px : int
        How far a feature cell sees in each direction [px], at most.
    alignment : 'cell' or 'corner'
        Where feature cell j looks: at the middle of its S pixels (networks with 2 x 2 pooling),
        or at the first of them, S * j (strided convolutions with odd kernels).
    """

    def __init__(
        self,
        body: nn.Module,
        channels: int,
        settings: NetworkSettings,
        bands: int,
        *,
        reach_px: int,
        alignment: Alignment,
    ):
        super().__init__()
        self.settings = settings
        self.bands = bands
        self.stride: int = settings.output_stride
        self.size_px: int = settings.size_px
        self.window_px: int = settings.window_px
        self.reach_px = reach_px
        self._lead = self.stride // 2 if alignment == "corner" else 0
        self.body = body
        self.dropout = nn.Dropout(settings.dropout)
        self.head = nn.Linear(channels, 1)

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """Return the feature map (B, C, H / S, W / S) of images (B, bands, H, W)."""
        if self._lead:
            # Cells that look at their first pixel would see every object half a stride off
            # and the scan would report it there: move the image so that cells look at their
            # middle (to half a pixel).
            lead = self._lead
            x = functional.pad(x, (-lead, lead, -lead, lead))
        return self.body(x)

    def pool_and_head(self, features: torch.Tensor) -> torch.Tensor:
        """Return the logits (B,) of crops' feature maps (B, C, n, n)."""
        p = self.settings.window_cells
        first = (features.shape[-1] - p) // 2
        window = features[..., first : first + p, first : first + p]
        return self.head(self.dropout(window.mean(dim=(2, 3)))).squeeze(1)

    def logit_grid(self, features: torch.Tensor) -> torch.Tensor:
        """Return the logits (B, my, mx) of all windows in feature maps (B, C, my+p-1, mx+p-1).

        The last layer is linear, so it goes before the mean: one channel is averaged, not C.
        """
        cells = torch.einsum("bchw,c->bhw", features, self.head.weight[0])
        pooled = functional.avg_pool2d(cells.unsqueeze(1), self.settings.window_cells, stride=1)
        return pooled.squeeze(1) + self.head.bias

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the logits (B,) of crops (B, bands, N, N)."""
        return self.pool_and_head(self.features(x))
