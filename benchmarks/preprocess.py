"""Measure the speed of making tile images, beside bare calls of `reproject` on the same images.

Both sides of a comparison run in one process, in turn, on one thread. The best time of each
counts, in seconds of processor time (equal to wall time on an idle machine). Rates are per pixel
and band of the raw image. Cases:

- stage: `preprocess_file`, from the raw file to the tile's file (check, bin 2 × 2, median, masks,
  write), beside `reproject_interp` and `reproject_exact` of the arrays to the binned frame, which
  read and write nothing. `reproject_exact` sees a smaller tile: it is slow.
- archive: a published image on disk to the tile's file (`fetch_tile`, then the stage), beside
  `reproject_interp` of the same image, already in memory, to the same frame.
- atlas: a tile of order 5 under seven full-size images of the unWISE atlas, two bands, weights in
  gzip as there (`fetch_tile`, from disk to disk), beside `reproject_and_coadd` of the same images,
  already in memory and without its round trips; both make the same image. `peak_mib` is ours.
- masks: the stage with stars, beside the stage without.
- workers: tiles per second of wall time with two Dask workers, beside one.

Prints one JSON object per line. Needs no arguments and about three minutes.
"""

from __future__ import annotations

import argparse
import gzip
import io
import json
import os
import platform
import resource
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS
from reproject import reproject_exact, reproject_interp
from reproject.mosaicking import reproject_and_coadd

from clusterscan.config.execution import DownloadSettings
from clusterscan.config.image_sources import ArchiveSource
from clusterscan.config.preprocess import PreprocessSettings
from clusterscan.core import sky
from clusterscan.fetch.archive import Atlas
from clusterscan.fetch.download.store import Access
from clusterscan.fetch.registry import open_source
from clusterscan.fetch.source import tokens_by_tile
from clusterscan.flow.blocks import BlockJob, TileOutcome, run_block
from clusterscan.formats.image_spec import ImageSpec
from clusterscan.formats.raw_image import RawImage, read_raw, write_raw
from clusterscan.preprocess.make_tile import preprocess_file
from clusterscan.preprocess.mask_regions import COLUMNS, empty_regions
from clusterscan.preprocess.reduction import bin_wcs
from clusterscan.preprocess.tile_masks import TileMasks

BANDS, UNIT, SCALE_ARCSEC, BINNING = ("W1", "W2"), "nanomaggy", 2.75, 2
SETTINGS = PreprocessSettings(binning=BINNING, combine="sum", background={"kind": "median"})
GOAL = 0.8
ATLAS_TILE = 4500  # under seven of unWISE's images


@dataclass
class Clock:
    """Seconds of one side: processor and wall."""

    cpu: list[float]
    wall: list[float]

    @property
    def best_s(self) -> float:
        """The quickest run's processor seconds."""
        return min(self.cpu)


def in_turn(*works: Callable[[], object], times: int = 3) -> list[Clock]:
    """Run each in turn, several times, so that other load on the machine affects all alike."""
    clocks = [Clock([], []) for _ in works]
    for _ in range(times):
        for work, clock in zip(works, clocks, strict=True):
            cpu, wall = time.process_time(), time.perf_counter()
            work()
            clock.cpu.append(time.process_time() - cpu)
            clock.wall.append(time.perf_counter() - wall)
    return clocks


def emit(measure: str, case: str, **values: object) -> None:
    """Print one line."""
    print(json.dumps({"measure": measure, "case": case, **values}), flush=True)


def tile_at(order: int) -> int:
    """Return a tile of an order in the middle of the simulated footprint."""
    return 1105 * 4 ** (order - 4)


def spec_of(order: int, bands: tuple[str, ...] = BANDS) -> ImageSpec:
    """Return the expected tile image."""
    return ImageSpec("unwise", bands, UNIT, SCALE_ARCSEC, order, 4.3, 0.0, BINNING)


def raw_file(path: Path, order: int, tile: int | None = None) -> tuple[np.ndarray, WCS]:
    """Write a raw image of noise, a hundredth of it saturated or without data; return it."""
    spec = spec_of(order)
    tile = tile_at(order) if tile is None else tile
    wcs, shape = sky.tile_frame(tile, order, SCALE_ARCSEC, spec.raw_halo_arcmin, BINNING)
    rng = np.random.default_rng(tile)
    image = rng.normal(size=(len(BANDS), *shape)).astype(np.float32)
    mask = (rng.random(shape) < 0.005).astype(np.uint8)
    mask |= np.where(rng.random(shape) < 0.005, 2, 0).astype(np.uint8)
    write_raw(path, RawImage(image, mask, wcs, UNIT), BANDS, tile)
    return image, wcs


def conditions(pixels: int, **values: object) -> dict[str, object]:
    """Return the conditions of a measurement, for each line."""
    return {"mpx": round(pixels / 1e6, 2), "machine": platform.machine(), "threads": 1, **values}


def compare(name: str, case: str, pixels: int, ours: Clock, other: Clock, **values: object) -> None:
    """Print the rates of two sides."""
    rates = pixels / 1e6 / ours.best_s, pixels / 1e6 / other.best_s
    emit(
        name, case, ours=round(rates[0], 2), other=round(rates[1], 2), unit="Mpx/s per core",
        ratio=round(rates[0] / rates[1], 2), goal=GOAL,
        conditions=conditions(
            pixels, cpu_s=[round(min(c.cpu), 3) for c in (ours, other)],
            wall_s=[round(min(c.wall), 3) for c in (ours, other)], **values,
        ),
    )  # fmt: skip


def measure_stage(folder: Path) -> None:
    """Compare the stage with `reproject_interp`, and on a smaller tile with the exact one."""
    for order, bare, name in ((6, reproject_interp, "interp"), (8, reproject_exact, "exact")):
        image, wcs = raw_file(folder / "raw.fits", order)
        binned = bin_wcs(wcs, BINNING)
        shape = tuple(side // BINNING for side in image.shape[1:])
        stage = partial(
            preprocess_file, folder / "raw.fits", folder / "tile.fits", SETTINGS, spec_of(order)
        )

        def other(image=image, wcs=wcs, binned=binned, shape=shape, bare=bare) -> None:
            for plane in image:
                bare((plane, wcs), binned, shape_out=shape)

        ours, theirs = in_turn(stage, other)
        compare(f"preprocess.stage_vs_{name}", f"order {order}", image.size, ours, theirs)


def measure_archive(folder: Path) -> None:
    """Compare image on disk to tile on disk with `reproject_interp` in memory."""
    order = 6
    spec = spec_of(order, ("W1",))
    frame, shape = sky.tile_frame(tile_at(order), order, SCALE_ARCSEC, spec.raw_halo_arcmin, 2)
    centre = frame.pixel_to_world((shape[1] - 1) / 2, (shape[0] - 1) / 2)
    side = int(1.5 * max(shape))  # north up, so the turned tile lies within
    wcs = north_up(centre.ra.deg, centre.dec.deg, side)
    values = np.random.default_rng(2).normal(size=(side, side)).astype(np.float32)
    header = wcs.to_header()
    header["BUNIT"] = UNIT
    fits.PrimaryHDU(values, header).writeto(folder / "image.fits")
    settings = ArchiveSource(kind="archive", files={"W1": {"image": str(folder / "image.fits")}})
    source = open_source(settings, spec, access=Access(DownloadSettings(), folder / "cache"))
    tile = tile_at(order)
    source = source.prepare(tokens_by_tile(source.objects([tile]), [tile]))

    def ours() -> None:
        source.fetch_tile(tile, folder / "fetched.fits")
        preprocess_file(folder / "fetched.fits", folder / "tile.fits", SETTINGS, spec)

    mine, theirs = in_turn(ours, lambda: reproject_interp((values, wcs), frame, shape_out=shape))
    compare("preprocess.archive_vs_interp", f"order {order}", shape[0] * shape[1], mine, theirs)


def atlas_source(folder: Path, spec: ImageSpec, values: np.ndarray, weight: np.ndarray):
    """Write an atlas' images around a tile, all of the same pixels; return its source and WCSs."""
    side = len(values)
    rows, count = np.arange(-3, 4) * 1.514444, 238  # unWISE's, near the equator
    names = [
        (f"t{i:03d}{k}", 360 / count * i, dec) for k, dec in enumerate(rows) for i in range(30)
    ]
    table = folder / "tiles.csv"
    lines = "".join(f"{name},{ra},{dec}\n" for name, ra, dec in names)
    table.write_text("coadd_id,ra,dec\n" + lines, encoding="utf-8")
    files = {
        band: {
            "image": str(folder / f"{{tile}}-{band}.fits"),
            "weight": str(folder / f"{{tile}}-{band}-invvar.fits.gz"),
            "unit": UNIT,
        }
        for band in spec.bands
    }
    settings = ArchiveSource(
        kind="archive", versions="mtime", files=files,
        atlas={"table": str(table), "size_px": side, "pixel_scale_arcsec": SCALE_ARCSEC},
    )  # fmt: skip
    source = open_source(settings, spec, access=Access(DownloadSettings(), folder / "cache"))
    users = Atlas(settings.atlas, table).users({ATLAS_TILE: source.frame(ATLAS_TILE)})
    frames = []
    for name, ra, dec in (row for row in names if row[0] in users):
        frames.append(north_up(ra, dec, side))
        header = frames[-1].to_header()
        inverse = gzip.compress(hdu_bytes(weight, header), compresslevel=1)
        for band in spec.bands:
            fits.PrimaryHDU(values, header).writeto(folder / f"{name}-{band}.fits")
            (folder / f"{name}-{band}-invvar.fits.gz").write_bytes(inverse)
    tokens = tokens_by_tile(source.objects([ATLAS_TILE]), [ATLAS_TILE])
    return source.prepare(tokens), frames


def north_up(ra: float, dec: float, side: int) -> WCS:
    """Return the WCS of a square image around a position."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [ra, dec]
    wcs.wcs.cdelt = [-SCALE_ARCSEC / 3600, SCALE_ARCSEC / 3600]
    wcs.wcs.crpix = [(side + 1) / 2] * 2
    return wcs


def hdu_bytes(values: np.ndarray, header: fits.Header) -> bytes:
    """Return an image as a file's bytes."""
    buffer = io.BytesIO()
    fits.PrimaryHDU(values, header).writeto(buffer)
    return buffer.getvalue()


def peak_mib(work: Callable[[], object]) -> int:
    """Return the most memory that a process of its own takes for some work."""
    child = os.fork()
    if child == 0:
        work()
        os._exit(0)
    _, status, usage = os.wait4(child, 0)
    assert status == 0
    return round(usage.ru_maxrss / 1024)


def measure_atlas(folder: Path) -> None:
    """Compare a tile under an atlas' images with the same by `reproject` alone."""
    spec, rng = spec_of(5), np.random.default_rng(4)
    values = rng.normal(size=(2048, 2048)).astype(np.float32)
    weight = rng.uniform(0.5, 2.0, values.shape).astype(np.float32)
    source, frames = atlas_source(folder, spec, values, weight)
    wcs, shape = source.frame(ATLAS_TILE)
    path, found = folder / "raw.fits", []

    def theirs() -> None:
        images = [(values, frame) for frame in frames]
        found[:] = [
            reproject_and_coadd(
                images, wcs, shape_out=shape, input_weights=[weight] * len(frames),
                reproject_function=reproject_interp, roundtrip_coords=False,
            )[0]
            for _ in spec.bands
        ]  # fmt: skip

    peak = peak_mib(partial(source.fetch_tile, ATLAS_TILE, path))
    ours, other = in_turn(partial(source.fetch_tile, ATLAS_TILE, path), theirs, times=2)
    np.testing.assert_allclose(read_raw(path, BANDS).image, found, atol=1e-5)
    case = f"{len(frames)} images of 2048 px, {len(BANDS)} bands, order 5"
    pixels = len(BANDS) * shape[0] * shape[1]
    compare("preprocess.atlas_vs_coadd", case, pixels, ours, other, peak_mib=peak)


def measure_masks(folder: Path) -> None:
    """Measure the cost of masks of many stars."""
    order, count = 6, 2000
    image, wcs = raw_file(folder / "raw.fits", order)
    rng = np.random.default_rng(3)
    ny, nx = image.shape[1:]
    where = wcs.pixel_to_world(rng.uniform(0, nx, count), rng.uniform(0, ny, count))
    radius = 10 ** rng.uniform(-3.5, -1.5, count)
    rows = empty_regions().reindex(range(count)).assign(
        bits=132, ra_deg=where.ra.deg, dec_deg=where.dec.deg, a_deg=radius, b_deg=radius, pa_deg=0.0
    )  # fmt: skip
    masks = TileMasks(rows.astype(COLUMNS))
    files = folder / "raw.fits", folder / "tile.fits"
    with_stars, without = in_turn(
        partial(preprocess_file, *files, SETTINGS, spec_of(order), masks),
        partial(preprocess_file, *files, SETTINGS, spec_of(order)),
    )
    cost = (with_stars.best_s - without.best_s) / count
    emit(
        "preprocess.masks", f"{count} stars of 1 to 110 arcsec, order {order}",
        value=round(1e6 * cost, 1), unit="cpu us / star",
        conditions=conditions(
            image.size, cpu_s=[round(c.best_s, 3) for c in (with_stars, without)]
        ),
    )  # fmt: skip


def cpu_of_all() -> float:
    """Return processor seconds of this process and of its ended children."""
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in usage)


def compute(folder: Path, order: int, tile: int, shard: Path) -> TileOutcome:
    """Make one tile's image (in a worker)."""
    return preprocess_file(folder / f"{tile}.fits", shard, SETTINGS, spec_of(order))


def measure_workers(folder: Path, tiles: int = 16) -> None:
    """Measure tiles per second of one and of two workers, without the time to start them.

    The wall's clock means nothing on a machine that is busy: then `load` in the conditions, before
    the case began, is not near 0.
    """
    load = round(os.getloadavg()[0], 1)
    order, first = 7, tile_at(7)
    numbers = range(first, first + tiles)
    pixels = sum(raw_file(folder / f"{n}.fits", order, n)[0].size for n in numbers)
    seconds, spent = {}, {}
    for workers in (1, 2):
        for count in (2, tiles):
            job = BlockJob(
                "preprocess", 1, "unwise", folder / f"run-{workers}-{count}", "tiles/unwise",
                ".fits", {}, order, 3, first >> 8, folder / "m.json", workers,
            )  # fmt: skip
            started, cpu = time.perf_counter(), cpu_of_all()
            run_block(
                job, {n: str(n) for n in numbers[:count]}, partial(compute, folder, order)
            )  # fmt: skip
            seconds[workers, count] = time.perf_counter() - started
            spent[workers, count] = cpu_of_all() - cpu
    # Two tiles are the cost of starting the workers, and a little more.
    rates = [(tiles - 2) / (seconds[w, tiles] - seconds[w, 2]) for w in (1, 2)]
    emit(
        "preprocess.workers", f"2 workers beside 1, {tiles} tiles of order {order}",
        ours=round(rates[1], 2), other=round(rates[0], 2), unit="tiles/s",
        ratio=round(rates[1] / rates[0], 2),
        conditions=conditions(
            pixels, cores=len(os.sched_getaffinity(0)), load=load,
            cpu_s={f"{w} workers, {n} tiles": round(c, 2) for (w, n), c in spent.items()},
            wall_s={f"{w} workers, {n} tiles": round(s, 2) for (w, n), s in seconds.items()},
        ),
    )  # fmt: skip


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    cases = {
        "stage": measure_stage, "archive": measure_archive, "atlas": measure_atlas,
        "masks": measure_masks, "workers": measure_workers,
    }  # fmt: skip
    parser.add_argument("--only", choices=cases)
    only = parser.parse_args().only
    # In memory where that can be had: a disk that others use would decide.
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108
    for name, measure in cases.items():
        if only in (None, name):
            with tempfile.TemporaryDirectory(dir=memory) as folder:
                measure(Path(folder))


if __name__ == "__main__":
    main()
