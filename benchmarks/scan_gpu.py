"""Measure the cost of a scan on a GPU: every network, in each precision, compiled or not.

Prints one JSON object per line: positions and square degrees per second of wall time, the share of
the device's measured peak of matrix products, GPU-hours for the full sky, and the CPU time for
reading and normalising a tile (`execution.read_ahead_tiles` threads do that while the GPU works).
Weights are random, since time does not depend on them. `--device cpu` only shows that the script
runs.

    python benchmarks/scan_gpu.py --device cuda
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from scan import (
    BANDS,
    CARD,
    CASES,
    FIRST_TILE,
    STEP_PX,
    TURNS,
    Case,
    emit,
    every_arcminute,
    tile_on_disk,
)
from torch.utils.flop_counter import FlopCounterMode

from clusterscan.config.scan import ScanSettings
from clusterscan.core import sky
from clusterscan.formats.tile_image import read_tile
from clusterscan.networks.device import choose_device
from clusterscan.networks.registry import build
from clusterscan.scan.fast.scan_copy import scan_copy
from clusterscan.scan.tile_scan import prepare_tile, scan_prepared

FULL_SKY_DEG2 = 12 * sky.cell_area_deg2(0)


def seconds(work: Callable[[], object], device: torch.device) -> float:
    """Return the shortest time of some work on a device, after one turn to warm up."""
    taken = []
    for _ in range(TURNS + 1):
        started = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        taken.append(time.perf_counter() - started)
    return min(taken[1:])


def peak_tflops(device: torch.device, precision: str) -> float:
    """Return the rate of a large matrix product, the device's practical peak [TFLOP/s]."""
    n = 8192 if device.type == "cuda" else 512
    a = torch.randn(n, n, device=device, dtype=getattr(torch, precision))
    return 2 * n**3 / seconds(lambda: a @ a, device) / 1e12


def measure(case: Case, precision: str, compile_network: bool, device_name: str, order: int):
    """Print the line of one network, in one precision."""
    device = choose_device(device_name)
    settings = ScanSettings(
        step_px=STEP_PX, device=device_name, precision=precision, compile_network=compile_network
    )
    whole = build(case.settings, len(BANDS), seed=1).eval()
    network = scan_copy(whole, STEP_PX)
    number = FIRST_TILE * 4 ** (order - 4)
    with tempfile.TemporaryDirectory() as folder:
        path = tile_on_disk(Path(folder), order, number, case.settings.size_px)
        started = time.perf_counter()
        tile = read_tile(path)
        place = tile.to_pixel(*sky.map_pixels(number, order, order + 7))
        ready = prepare_tile(network, CARD, tile.image, tile.mask, *place, settings)
        preparing = time.perf_counter() - started
        positions = len(every_arcminute(tile, order, number)[0])
    with FlopCounterMode(display=False) as counter:
        scan_prepared(network, ready, settings)
    if compile_network:
        network = scan_copy(whole, STEP_PX, compile_it=True)
    taken = seconds(lambda: scan_prepared(network, ready, settings), device)
    area = sky.cell_area_deg2(order)
    peak = peak_tflops(device, precision)
    rate = counter.get_total_flops() / taken / 1e12
    memory = torch.cuda.max_memory_allocated(device) / 2**30 if device.type == "cuda" else 0.0
    emit(
        "scan.gpu", case.title, precision=precision, compiled=compile_network,
        positions_per_s=round(positions / taken, 1), deg2_per_s=round(area / taken, 4),
        full_sky_hours=round(FULL_SKY_DEG2 / area * taken / 3600, 2),
        of_peak=round(rate / peak, 3), preparing_s=round(preparing, 3), scanning_s=round(taken, 3),
        conditions={"device": str(device), "order": order, "peak_tflops": round(peak, 2),
                    "tile_px": list(tile.mask.shape), "memory_gib": round(memory, 2)},
    )  # fmt: skip


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--order", type=int, default=5, help="of the tile")
    parser.add_argument("--only", help="one network by name")
    parser.add_argument("--precisions", nargs="*", default=["float32", "bfloat16", "float16"])
    parser.add_argument("--no-compile", action="store_true", help="leave torch.compile out")
    args = parser.parse_args()
    for case in CASES:
        if args.only in (None, case.name):
            for precision in args.precisions:
                for compile_network in [False] if args.no_compile else [False, True]:
                    measure(case, precision, compile_network, args.device, args.order)


if __name__ == "__main__":
    main()
