"""Settings of a network: its body, its strides, and the crop that it sees."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field, field_validator, model_validator

from clusterscan.config.base import Settings

OWN_NETWORKS = ("baseline", "resnet18")


class NetworkSettings(Settings):
    """One network. A crop of ``size_px`` is a window of ``window_px`` with its surroundings."""

    name: str = Field(
        "baseline",
        description="Architecture: 'baseline', 'resnet18', or 'timm/<any timm name with "
        "feature maps>'.",
    )
    stem_stride: Literal[1, 2, 4] = Field(
        4,
        description="Pixels that resnet18's stem merges: 4 as published, 2 without the stride "
        "of its convolution, 1 without its pooling as well. Other networks ignore it.",
    )
    output_stride: Literal[2, 4, 8, 16, 32] = Field(
        16, description="Pixels between two cells of the feature map."
    )
    stages: Literal[2, 3, 4] = Field(
        4,
        description="Stages of resnet18 to keep: 4 as published; without the last, which sees "
        "furthest, it takes half the time at the same stride. Other networks ignore it.",
    )
    size_px: int = Field(80, ge=8, le=1024, description="Crop size: window and surroundings [px].")
    window_px: int = Field(
        48, ge=2, le=1024, description="Central part of the crop whose features are pooled [px]."
    )
    dropout: float = Field(0.2, ge=0.0, lt=1.0, description="Dropout before the last layer.")
    pretrained: bool | str = Field(
        False,
        description="Start from timm's published weights (true; needs the network) or from a "
        "local .safetensors file (its path) instead of random numbers.",
    )

    @field_validator("name")
    @classmethod
    def _name_is_known(cls, name: str) -> str:
        if name not in OWN_NETWORKS and not re.fullmatch(r"timm/[A-Za-z0-9_.]+", name):
            raise ValueError(
                f"network {name!r} is unknown; give one of {', '.join(OWN_NETWORKS)}, "
                "or timm/<name> such as timm/efficientnet_b0"
            )
        return name

    @model_validator(mode="after")
    def _strides_fit(self) -> NetworkSettings:
        S, N, p = self.output_stride, self.size_px, self.window_px
        for key, value in (("size_px", N), ("window_px", p)):
            if value % S:
                lower = max(value // S, 1) * S
                raise ValueError(
                    f"{key} = {value} is not a multiple of output_stride = {S}; "
                    f"give {lower} or {lower + S}"
                )
        if p > N:
            raise ValueError(f"window_px = {p} is larger than the crop, size_px = {N}")
        if (N - p) // S % 2:
            # An odd rest would put the pooled cells half a cell off the crop's centre.
            raise ValueError(
                f"(size_px - window_px) / output_stride = {(N - p) // S} is odd, so the window "
                f"has no place at the crop's centre; give size_px = {N + S} or "
                f"window_px = {p + S if p + S <= N else p - S}"
            )
        if self.name == "resnet18" and S not in (
            allowed := resnet_strides(self.stem_stride, self.stages)
        ):
            raise ValueError(
                f"resnet18 with stem_stride = {self.stem_stride} and stages = {self.stages} can "
                f"have output_stride {', '.join(map(str, allowed))}, not {S}"
            )
        if self.name == "baseline" and S > 16:
            raise ValueError("baseline has output_stride 2, 4, 8 or 16")
        if self.name == "baseline" and self.pretrained:
            raise ValueError("there are no pretrained weights of baseline; set pretrained: false")
        return self

    @property
    def cells(self) -> int:
        """Cells along one side of a crop's feature map."""
        return self.size_px // self.output_stride

    @property
    def window_cells(self) -> int:
        """Cells along one side of the pooled window."""
        return self.window_px // self.output_stride


def resnet_strides(stem_stride: int, stages: int) -> tuple[int, ...]:
    """Return the output strides a residual network can have behind a stem."""
    return tuple(stem_stride * factor for factor in (2, 4, 8)[: stages - 1])
