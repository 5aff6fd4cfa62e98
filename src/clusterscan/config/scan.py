"""Settings of the scan: how a network slides over a tile."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from clusterscan.config.base import Settings

Precision = Literal["float32", "bfloat16", "float16"]


class ScanSettings(Settings):
    """How a network slides over a tile's image."""

    engine: Literal["dense", "windowed"] = Field(
        "dense",
        description="'dense' computes the features of a whole tile once; 'windowed' one crop "
        "per map pixel: slow, but the very thing the network was trained on.",
    )
    step_px: int | None = Field(
        None,
        ge=1,
        description="Grid step of the dense engine [px], where a network's own output stride is "
        "coarser; divides it. null: the stride. Half the step costs four times the time.",
    )
    coarse_step_px: int | None = Field(
        None,
        ge=1,
        description="Look with this grid step first [px] (dense networks: at most their output "
        "stride), and finely only where that could show a candidate. null: finely everywhere.",
    )
    coarse_probability: float = Field(
        0.02,
        gt=0,
        lt=1,
        description="Where a coarse value nearby reaches this, the fine one is computed; well "
        "below detect.min_probability.",
    )
    batch_size: int = Field(64, ge=1, description="Crops per step of the windowed engine.")
    threads: int = Field(
        1, ge=1, description="CPU threads; fixed here because sums depend on it in the last bit."
    )
    min_valid_fraction: float = Field(
        0.7,
        ge=0,
        le=1,
        description="Map pixels with less good image than this in their window are left out.",
    )
    device: str = Field(
        "auto",
        pattern=r"^(auto|cpu|cuda(:\d+)?)$",
        description="'cpu', 'cuda', 'cuda:<n>', or 'auto': the first GPU if there is one.",
    )
    precision: Precision = Field(
        "float32",
        description="Of the features' convolutions; what the head reads of them is float32. "
        "The others are for GPUs, and change maps by their rounding.",
    )
    compile_network: bool = Field(
        False,
        description="Let torch.compile build the network before a job's first tile: for GPUs and "
        "jobs of many tiles.",
    )
