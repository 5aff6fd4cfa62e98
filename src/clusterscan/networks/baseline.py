"""The small network: four blocks of convolution, batch norm and ReLU, with pooling between."""

from __future__ import annotations

from torch import nn

WIDTHS = (32, 64, 128, 256)


def baseline_body(bands: int, output_stride: int) -> nn.Sequential:
    """Return the body: 2 x 2 max pooling after the first log2(output_stride) blocks."""
    layers: list[nn.Module] = []
    channels, stride = bands, 1
    for width in WIDTHS:
        layers += [
            nn.Conv2d(channels, width, kernel_size=3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
        ]
        if stride < output_stride:
            layers.append(nn.MaxPool2d(2))
            stride *= 2
        channels = width
    return nn.Sequential(*layers)
