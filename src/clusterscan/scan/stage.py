"""Stage scan: a network, of one survey or several, or a plain filter slides over a block's tiles.

A tile image and a network give a map tile: a probability (or S/N) at each map pixel, the reason
where there is none, and flags of masks. A tile is computed again only if its images or the network
have changed (`clusterscan.flow.blocks`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from clusterscan.core import sky
from clusterscan.core.records import TileRecord, records_of
from clusterscan.flow.blocks import BlockJob, TileOutcome, run_block, tiles_to_compute
from clusterscan.flow.job import Job
from clusterscan.flow.stage_settings import ScanStage
from clusterscan.formats.map_tile import write_map_tile
from clusterscan.formats.tile_image import TileImage, read_tile
from clusterscan.scan.fast.read_ahead import ReadAhead
from clusterscan.scan.scanners import FusionScanner, model_identity, open_scanner
from clusterscan.scan.validity import flags_at


def scan_block(
    job: Job[ScanStage], tiles: Sequence[Path], model: Path | None, read_ahead: int
) -> None:
    """Write the map of each tile of a block.

    Parameters
    ----------
    job : Job
        Settings, block and place of the output.
    tiles : sequence of Path
        The block's manifests of `preprocess`, one for each survey in alphabetical order; several
        for a fusion.
    model : Path, optional
        The network's card; None for the plain filter.
    read_ahead : int
        Tiles that are read while one is scanned; it changes no result.
    """
    settings = job.settings
    surveys = sorted(settings.how) if isinstance(settings.how, dict) else [job.key.split("/")[0]]
    records = {
        survey: records_of([manifest]) for survey, manifest in zip(surveys, tiles, strict=True)
    }
    numbers = sorted({number for found in records.values() for number in found})
    scanner = open_scanner(model, settings.how)

    # A fusion scans a tile wherever one of its surveys has an image.
    def present(number: int) -> dict[str, TileRecord]:
        found = {survey: records[survey].get(number) for survey in surveys}
        return {survey: record for survey, record in found.items() if record and record.has_shard}

    # Reading and preparing can run ahead on other threads; `scan` below runs tile after tile.
    def prepared(number: int) -> tuple[Any, np.ndarray | None]:
        images = {s: read_tile(r.checked_shard(job.root)) for s, r in present(number).items()}
        ra, dec = sky.map_pixels(number, job.sky.tile_order, settings.map_order)
        flags = flags_of(images, ra, dec)
        if isinstance(scanner, FusionScanner):
            return scanner.prepare(images, ra, dec), flags
        (image,) = images.values()
        return scanner.prepare(image, *image.to_pixel(ra, dec)), flags

    def scan(number: int, shard: Path) -> TileOutcome:
        if not present(number):
            lacking = [found[number] for found in records.values() if number in found]
            return TileOutcome("no_coverage", "; ".join(dict.fromkeys(r.reason for r in lacking)))
        tile, flags = ready(number)
        values, reason = scanner.scan(tile)
        if not np.isfinite(values).any():
            return TileOutcome("no_coverage", "no map pixel has a window of good image")
        header = {"TTYPE": "S/N" if settings.kind == "filter" else "probability"}
        write_map_tile(shard, values, reason, header, flags)
        counts = np.bincount(reason, minlength=4)
        return TileOutcome(counts={f"reason_{code}": int(n) for code, n in enumerate(counts)})

    identity = model_identity(model) if model else ""
    inputs = {
        n: [[found[n].identity if n in found else "" for found in records.values()], identity]
        for n in numbers
    }
    block = BlockJob.of(job, "scan", "maps", ".fits")
    # Only tiles that will be computed are read ahead; reading the others would waste the disk.
    coming = tiles_to_compute(block, inputs) if read_ahead else numbers
    with ReadAhead(prepared, [n for n in coming if present(n)], read_ahead) as ready:
        run_block(block, inputs, scan)


def flags_of(images: Mapping[str, TileImage], ra: np.ndarray, dec: np.ndarray) -> np.ndarray | None:
    """Return the planes that flag positions in any of the images, None if no image has any."""
    found = [flags_at(image.mask, *image.to_pixel(ra, dec)) for image in images.values()]
    flagged = [planes for planes in found if planes is not None]
    return np.bitwise_or.reduce(flagged) if flagged else None
