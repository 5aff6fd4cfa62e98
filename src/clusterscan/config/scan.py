"""Settings of the scan: how a network slides over a tile."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from clusterscan.config.base import Settings
from clusterscan.config.networks import NetworkSettings

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


def step_fault(scan: ScanSettings, network: NetworkSettings, where: str) -> str | None:
    """Return what is wrong with the fine step for a network whose settings stand at ``where``."""
    step, stride = scan.step_px or 1, network.output_stride
    shared = scan.engine == "dense" and network.is_dense
    if not shared or step >= stride or stride % step == 0:
        return None
    return (
        f"scan.step_px = {step} does not divide {where}.output_stride = {stride}; "
        f"give {_divisor_near(step, stride)}"
    )


def coarse_fault(scan: ScanSettings, network: NetworkSettings, where: str) -> str | None:
    """Return what is wrong with the coarse step for a network whose settings stand at ``where``."""
    coarse = scan.coarse_step_px
    if coarse is None:
        return None
    if scan.engine != "dense" or not network.is_dense:
        if coarse <= network.window_px:
            return None
        return (
            f"scan.coarse_step_px = {coarse} is wider than {where}.window_px = "
            f"{network.window_px}, so sky between its windows is seen by none; give less"
        )
    stride = network.output_stride
    if coarse < stride and stride % coarse:
        return (
            f"scan.coarse_step_px = {coarse} does not divide {where}.output_stride = {stride}; "
            f"give {_divisor_near(coarse, stride)}"
        )
    if scan.step_px is not None and coarse <= scan.step_px:
        return (
            f"scan.coarse_step_px = {coarse} is no coarser than scan.step_px = {scan.step_px}, so "
            "all would be looked at twice; give more, or null"
        )
    return None


def _divisor_near(step: int, stride: int) -> int:
    return max(n for n in range(1, step + 1) if stride % n == 0)
