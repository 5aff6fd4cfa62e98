"""Stage scan: slide a network, of one survey or several, or a plain filter over a block's tiles."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from clusterscan.config.model import FUSION
from clusterscan.core import sky
from clusterscan.core.progress import Progress
from clusterscan.core.records import TileRecord, records_of
from clusterscan.flow.blocks import BlockJob, TileOutcome, run_block, tiles_to_compute
from clusterscan.flow.job import block_arguments, run_stage
from clusterscan.formats.map_tile import write_map_tile
from clusterscan.formats.tile_image import TileImage, read_tile
from clusterscan.scan.fast.read_ahead import ReadAhead
from clusterscan.scan.scanners import (
    FusionScanner,
    Scanner,
    filter_scanner,
    fusion_scanner,
    model_identity,
    network_scanner,
)
from clusterscan.scan.validity import flags_at


def main(args: argparse.Namespace, progress: Progress) -> None:
    """Scan the block named by the arguments."""
    stage = args.settings["stage"]
    job = BlockJob.of(args, "scan", "maps", ".fits")
    surveys = sorted(stage["how"]) if stage["kind"] == FUSION else [args.key.partition("/")[0]]
    records = {
        survey: records_of([manifest]) for survey, manifest in zip(surveys, args.tiles, strict=True)
    }
    tiles = sorted({number for found in records.values() for number in found})
    model = model_identity(args.model[0]) if args.model else ""
    scanner = scanner_of(stage, args.model)

    def present(number: int) -> dict[str, TileRecord]:
        found = {survey: records[survey].get(number) for survey in surveys}
        return {survey: record for survey, record in found.items() if record and record.has_shard}

    def prepared(number: int) -> tuple[Any, np.ndarray | None]:
        images = {s: read_tile(r.checked_shard(args.root)) for s, r in present(number).items()}
        ra, dec = sky.map_pixels(number, job.tile_order, stage["map_order"])
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
        header = {"TTYPE": "S/N" if stage["kind"] == "filter" else "probability"}
        write_map_tile(shard, values, reason, header, flags)
        counts = np.bincount(reason, minlength=4)
        return TileOutcome(counts={f"reason_{code}": int(n) for code, n in enumerate(counts)})

    # Of one survey the identity stands alone, as it did before there were fusions.
    made_from: dict[int, Any] = {
        n: [found[n].identity if n in found else "" for found in records.values()] for n in tiles
    }
    inputs = {n: [known if len(known) > 1 else known[0], model] for n, known in made_from.items()}
    # Tiles that are kept are not asked for: reading them ahead would only be in the way.
    coming = tiles_to_compute(job, inputs) if args.read_ahead else tiles
    with ReadAhead(prepared, [n for n in coming if present(n)], args.read_ahead) as ready:
        run_block(
            job,
            inputs,
            scan,
            manifest=args.output,
            max_failed_fraction=args.max_failed_fraction,
            progress=progress,
        )


def flags_of(images: Mapping[str, TileImage], ra: np.ndarray, dec: np.ndarray) -> np.ndarray | None:
    """Return the planes of any of the images that flag candidates at positions, if one does."""
    found = [flags_at(image.mask, *image.to_pixel(ra, dec)) for image in images.values()]
    flagged = [planes for planes in found if planes is not None]
    return np.bitwise_or.reduce(flagged) if flagged else None


def scanner_of(stage: dict[str, Any], model: list[Path]) -> Scanner | FusionScanner:
    """Return what scans as the settings say."""
    if not model:
        return filter_scanner(stage["how"])
    if stage["kind"] == FUSION:
        return fusion_scanner(model[0], stage["how"])
    return network_scanner(model[0], stage["how"])


if __name__ == "__main__":
    parser = block_arguments("scan", __doc__)
    parser.add_argument(
        "--tiles", type=Path, nargs="+", required=True, help="the block's tiles, by survey"
    )
    parser.add_argument("--model", type=Path, nargs="*", default=[], help="a network's card")
    parser.add_argument("--read-ahead", type=int, default=0, help="tiles read while one is scanned")
    run_stage(parser, main)
