"""Measure the cost of the scan: dense engine, windows, the bare network and the original way.

Both sides of a comparison run in one process, in turn, with the same weights on one thread. Rates
are per second of processor time, which depends least on what else the machine does (on an idle
machine it equals wall time; the conditions state it). Every network runs in a process of its own,
so that its memory is its own. Weights are random, since time does not depend on them. The tile is
one of order 6 (0.92 degrees) at unWISE's pixel scale; `--order 5` (1.83 degrees) loses less at the
borders. The windowed engine is timed on a sample of the positions, which all cost the same. Prints
one JSON object per line. Needs no arguments and about fifteen minutes on one core. `--device cuda`
measures a GPU instead (scan_gpu.py).
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from astropy.io import fits
from torch.utils.flop_counter import FlopCounterMode

from clusterscan.config.networks import NetworkSettings
from clusterscan.config.scan import ScanSettings
from clusterscan.core import sky
from clusterscan.formats.map_tile import write_map_tile
from clusterscan.formats.tile_image import TileImage, read_tile, write_tile
from clusterscan.networks.network import ScanNetwork
from clusterscan.networks.registry import build
from clusterscan.scan.dense_scan import CPU_BYTES, as_batch, dense_grid
from clusterscan.scan.fast.memory import keep_freed_memory
from clusterscan.scan.fast.scan_copy import finer, fused, scan_copy
from clusterscan.scan.tile_scan import scan_tile
from clusterscan.scan.windowed_scan import windowed_logits

SCALE_ARCSEC = 2.75
STEP_PX = 16  # 44 arcsec: the dense grid is finer than the positions read off it
POSITIONS_ARCSEC = 60.0
BANDS = ("W1", "W2")
THREADS = 1
TURNS = 2
GIB = 2**30
FIRST_TILE = 1105  # of order 4


@dataclass(frozen=True)
class Case:
    """A network and its window."""

    name: str
    window_px: int

    @property
    def settings(self) -> NetworkSettings:
        """The dense network at its published depth, with a rim of 32 or 16 px around the window."""
        shallow = self.name in ("baseline", "spinalnet_vgg") or self.window_px < 100
        return NetworkSettings(
            name=self.name,
            form="dense",
            output_stride=16 if shallow else 32,
            stages=3 if self.window_px < 100 else 4,
            window_px=self.window_px,
            size_px=self.window_px + (64 if self.window_px > 100 else 32),
        )

    @property
    def title(self) -> str:
        """Name in the results."""
        return f"{self.name}, windows of {self.window_px} px, steps of 1 arcmin"

    @property
    def overlap(self) -> float:
        """Pixels that crops send through the network for each pixel of the sky."""
        return (self.settings.size_px * SCALE_ARCSEC / POSITIONS_ARCSEC) ** 2

    @property
    def goal(self) -> float:
        """30 at 224 px, and in proportion to the windows' overlap at other sizes."""
        return round(30 * (self.window_px / 224) ** 2, 2)


CASES = [
    *(Case(name, 224) for name in
      ("baseline", "resnet18", "efficientnet_b0", "densenet121", "spinalnet_vgg")),
    *(Case(name, 64) for name in ("baseline", "resnet18", "efficientnet_b0", "densenet121")),
    Case("spinalnet_vgg", 112),  # the smallest window for its head of 7 x 7 means at stride 16
]  # fmt: skip
CARD = {
    "views": [
        {"normalisation": {"kind": "asinh", "softening": 3.0, "median": [0, 0], "sigma": [1, 1]}}
    ]
}


def emit(measure: str, case: str, **values: object) -> None:
    """Print one line."""
    print(json.dumps({"measure": measure, "case": case, **values}), flush=True)


class Clock:
    """Seconds of the wall's clock and of the processor, over several turns."""

    def __init__(self, work: Callable[[], object]):
        self._work = work
        self.wall: list[float] = []
        self.cpu: list[float] = []

    def turn(self) -> None:
        """Run the work once and measure its time."""
        wall, cpu = time.perf_counter(), time.process_time()
        self._work()
        self.wall.append(time.perf_counter() - wall)
        self.cpu.append(time.process_time() - cpu)

    @property
    def best_s(self) -> float:
        """Processor seconds of the quickest turn."""
        return min(self.cpu)


def in_turn(*works: Callable[[], object]) -> list[Clock]:
    """Time several works in turn."""
    clocks = [Clock(work) for work in works]
    for _ in range(TURNS):
        for clock in clocks:
            clock.turn()
    return clocks


def tile_on_disk(folder: Path, order: int, tile: int, size_px: int) -> Path:
    """Write a tile's image of noise with sources, with the halo that crops of a size need."""
    halo = 1.05 * size_px / 2 * SCALE_ARCSEC / 60 * 2**0.5
    wcs, shape = sky.tile_frame(tile, order, SCALE_ARCSEC, halo)
    rng = np.random.default_rng([order, tile])
    image = rng.normal(size=(2, *shape)).astype(np.float32)
    image += 50 * (rng.random((2, *shape), dtype=np.float32) > 0.999)
    path = folder / f"tile{tile}.fits"
    write_tile(path, TileImage(image, np.zeros(shape, np.uint8), wcs, "nanomaggy", BANDS))
    return path


def every_arcminute(tile: TileImage, order: int, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Return pixel positions 1 arcmin apart over a tile's own sky."""
    step = POSITIONS_ARCSEC / SCALE_ARCSEC
    ny, nx = tile.mask.shape
    x, y = (v.ravel() for v in np.meshgrid(np.arange(0, nx, step), np.arange(0, ny, step)))
    lon, lat = tile.wcs.pixel_to_world_values(x, y)
    own = sky.owning_cell(lon, lat, order) == number
    return x[own], y[own]


def conv_gflops() -> float:
    """Return the rate of the best of a few convolutions, the machine's practical peak [GFLOP/s]."""
    best = 0.0
    for channels, width in ((64, 112), (128, 56), (256, 56)):
        conv = torch.nn.Conv2d(channels, channels, 3, padding=1).eval()
        conv = conv.to(memory_format=torch.channels_last)
        x = torch.randn(1, channels, width, width).to(memory_format=torch.channels_last)
        with torch.inference_mode():
            clock = Clock(lambda conv=conv, x=x: [conv(x) for _ in range(4)])
            for _ in range(4):
                clock.turn()
        best = max(best, 4 * 18 * channels**2 * width**2 / clock.best_s / 1e9)
    return best


def bare(network: ScanNetwork, image: np.ndarray) -> Callable[[], None]:
    """Return a function that runs the network over parts of an image, without any overlap."""
    S = network.stride
    most = max(int((CPU_BYTES / network.bytes_per_px) ** 0.5) // S * S, S * network.settings.cells)
    ny, nx = (n // S * S for n in image.shape[1:])
    spans = [[(a, min(a + most, n)) for a in range(0, n, most)] for n in (ny, nx)]
    least = S * network.settings.cells
    parts = [
        as_batch(np.ascontiguousarray(image[None, :, max(min(y, y2 - least), 0) : y2,
                                            max(min(x, x2 - least), 0) : x2]), network)
        for y, y2 in spans[0] for x, x2 in spans[1]
    ]  # fmt: skip

    @torch.inference_mode()
    def run() -> None:
        for part in parts:
            network.logit_grid(network.features(part))

    return run


def measure(case: Case, order: int) -> None:
    """Print the lines of one network."""
    torch.set_num_threads(THREADS)
    network = build(case.settings, len(BANDS), seed=1).eval()
    quick = scan_copy(network, STEP_PX)
    assert isinstance(quick, ScanNetwork)
    keep_freed_memory()
    settings = ScanSettings(step_px=STEP_PX, device="cpu", threads=THREADS)
    number = FIRST_TILE * 4 ** (order - 4)
    with tempfile.TemporaryDirectory() as folder:
        path = tile_on_disk(Path(folder), order, number, case.settings.size_px)
        tile = read_tile(path)
        x, y = every_arcminute(tile, order, number)
        ra, dec = sky.map_pixels(number, order, order + 7)

        def stage() -> None:
            one = read_tile(path)
            values, reason = scan_tile(
                quick, CARD, one.image, one.mask, *one.to_pixel(ra, dec), settings
            )
            write_map_tile(Path(folder) / "map.fits", values, reason, {})

        stage()  # memory of a job, before anything else runs here
        peak_gib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / GIB
        few = np.random.default_rng(1).permutation(len(x))[: 8 if case.window_px > 100 else 32]
        windows, alone = fused(network), fused(finer(network, STEP_PX))
        clocks = in_turn(
            lambda: dense_grid(quick, tile.image, x, y, step_px=STEP_PX).at(x, y),
            lambda: windowed_logits(windows, tile.image, x[few], y[few], batch_size=4),
            stage,
            bare(alone, tile.image),
        )
    conditions = {
        "tile": f"order {order}, {tile.mask.shape[1]} x {tile.mask.shape[0]} px",
        "positions": len(x),
        "windowed_positions": len(few),
        "crop_px": case.settings.size_px,
        "threads": THREADS, "machine": platform.machine(),
    }  # fmt: skip
    report(case, len(ra) * sky.cell_area_deg2(order + 7), peak_gib, clocks, conditions)
    if case.window_px > 100:
        measure_fraction(case, quick)


def report(
    case: Case, area_deg2: float, peak_gib: float, clocks: list[Clock], conditions: dict[str, Any]
) -> None:
    """Time the dense engine, windows, the stage and the network, and print the results."""
    whole, windowed, job, network_alone = clocks
    ours = conditions["positions"] / whole.best_s
    other = conditions["windowed_positions"] / windowed.best_s
    wall = [round(min(c.wall), 2) for c in clocks]
    emit(
        "scan.dense_vs_windowed", case.title, ours=round(ours, 1), other=round(other, 2),
        unit="positions/s", ratio=round(ours / other, 1), goal=case.goal,
        overlap=round(case.overlap, 1), of_overlap=round(ours / other / case.overlap, 3),
        conditions=conditions | {"wall_s": wall[:2]},
    )  # fmt: skip
    if case.window_px < 100:
        return
    ratio = network_alone.best_s / job.best_s
    emit(
        "scan.stage_vs_network", case.title, ours=round(area_deg2 / job.best_s, 4),
        other=round(area_deg2 / network_alone.best_s, 4), unit="deg2/s", ratio=round(ratio, 3),
        goal=0.7, conditions=conditions | {"wall_s": wall[2:]},
    )  # fmt: skip
    emit(
        "scan.memory", case.title, value=round(peak_gib, 2), limit=2.0, unit="GiB resident",
        conditions=conditions,
    )  # fmt: skip


def measure_fraction(case: Case, network: ScanNetwork) -> None:
    """Print the bare network's share of the machine's convolution peak."""
    image = torch.randn(1, len(BANDS), 768, 768).to(memory_format=torch.channels_last)

    @torch.inference_mode()
    def run() -> None:
        network.logit_grid(network.features(image))

    with FlopCounterMode(display=False) as counter:
        run()
    peaks = [conv_gflops()]
    (clock,) = in_turn(run)
    peaks.append(conv_gflops())
    rate = counter.get_total_flops() / clock.best_s / 1e9
    emit(
        "scan.network_vs_peak", case.title, value=round(rate / max(peaks), 3), unit="of the peak",
        conditions={
            "network_gflops": round(rate, 1), "peak_gflops": [round(p, 1) for p in peaks],
            "gflop_per_mpx": round(counter.get_total_flops() / 768**2 / 1e3, 1),
            "image_px": 768, "threads": THREADS,
        },
    )  # fmt: skip


def measure_original() -> None:
    """Compare the original way with ours: 441 positions in a box of 10 arcmin."""
    torch.set_num_threads(THREADS)
    keep_freed_memory()
    case = Case("resnet18", 224)
    network = build(case.settings, len(BANDS), seed=1).eval()
    quick = scan_copy(network, STEP_PX)
    whole = NetworkSettings(name="resnet18", form="whole", size_px=224, classes=2)
    published = build(whole, len(BANDS), seed=1).eval()
    step, side = POSITIONS_ARCSEC / SCALE_ARCSEC, 21
    size = int(side * step) + case.settings.size_px + 2
    image = np.random.default_rng(1).normal(size=(2, size, size)).astype(np.float32)
    places = case.settings.size_px / 2 + step * np.arange(side)
    x, y = (v.ravel() for v in np.meshgrid(places, places))
    some = np.random.default_rng(2).permutation(len(x))[:40]
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{n}.fits" for n in range(len(some))]
        for n, path in zip(some, paths, strict=True):
            left, top = int(x[n]) - 112, int(y[n]) - 112
            fits.writeto(path, image[:, top : top + 224, left : left + 224])
        box = Path(folder) / "box.fits"
        fits.writeto(box, image)

        @torch.no_grad()
        def original() -> None:
            for path in paths:
                crop = fits.getdata(path).astype(np.float32)
                torch.softmax(published(torch.from_numpy(crop)[None]), dim=1)

        def ours() -> None:
            data = fits.getdata(box).astype(np.float32)
            dense_grid(quick, data, x, y, step_px=STEP_PX).at(x, y)

        mine, theirs = in_turn(ours, original)
    rates = len(x) / mine.best_s, len(some) / theirs.best_s
    emit(
        "scan.vs_original_way", "resnet18, a box of 10 arcmin, 441 positions, windows of 224 px",
        ours=round(rates[0], 1), other=round(rates[1], 2), unit="positions/s",
        ratio=round(rates[0] / rates[1], 1),
        conditions={"positions": [len(x), len(some)], "threads": THREADS,
                    "other": "one FITS file and one forward pass a position, files on disk"},
    )  # fmt: skip


def measure_footprint(tiles: int) -> None:
    """Print the cost of an area and the memory of a process that scanned footprints of tiles."""
    torch.set_num_threads(THREADS)
    order, case = 7, Case("resnet18", 64)
    network = scan_copy(build(case.settings, len(BANDS), seed=1).eval(), STEP_PX)
    keep_freed_memory()
    settings = ScanSettings(step_px=STEP_PX, device="cpu", threads=THREADS)
    area = tiles * sky.cell_area_deg2(order)
    with tempfile.TemporaryDirectory() as folder:
        first = FIRST_TILE * 4**3
        paths = {n: tile_on_disk(Path(folder), order, n, 96) for n in range(first, first + tiles)}

        def scan() -> None:
            for number, path in paths.items():
                tile = read_tile(path)
                place = tile.to_pixel(*sky.map_pixels(number, order, order + 7))
                values, reason = scan_tile(network, CARD, tile.image, tile.mask, *place, settings)
                write_map_tile(Path(folder) / "map.fits", values, reason, {})

        (clock,) = in_turn(scan)
    emit(
        "scan.cost_vs_area", f"{tiles} tiles of order {order}, {case.title}",
        value=round(clock.best_s / area, 2), unit="cpu s / deg2",
        conditions={
            "area_deg2": round(area, 2), "wall_s_per_deg2": round(min(clock.wall) / area, 2),
            "peak_gib": round(
                resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / GIB, 3
            ),
        },
    )  # fmt: skip


def main() -> None:
    """Measure and print, every case in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--order", type=int, default=6, help="of the tile; 5: a whole one")
    parser.add_argument("--device", default="cpu", help="cuda: the GPU's part (scan_gpu.py)")
    parser.add_argument("--only", help="one network by name, 'original' or 'area'")
    parser.add_argument("--case", nargs=2, help="be the process of a case (used by itself)")
    args = parser.parse_args()
    if args.device != "cpu":
        script = [sys.executable, str(Path(__file__).with_name("scan_gpu.py"))]
        subprocess.run([*script, "--device", args.device], check=True)
        return
    if args.case:
        kind, which = args.case
        {
            "network": lambda: measure(CASES[int(which)], args.order),
            "area": lambda: measure_footprint(int(which)),
            "original": measure_original,
        }[kind]()
        return
    works = [("network", str(n)) for n, c in enumerate(CASES) if args.only in (None, c.name)]
    works += [("original", "0")] if args.only in (None, "original") else []
    works += [("area", n) for n in ("1", "4", "16")] if args.only in (None, "area") else []
    for work in works:
        command = [sys.executable, __file__, "--case", *work]
        subprocess.run([*command, "--order", str(args.order)], check=True)


if __name__ == "__main__":
    main()
