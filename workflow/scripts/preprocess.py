"""Stage preprocess: raw images to calibrated, masked tile images."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

from clusterscan.config.preprocess import PreprocessSettings
from clusterscan.core.progress import Progress
from clusterscan.core.records import TileRecord, records_of
from clusterscan.fetch.source import ImageSpec
from clusterscan.flow.blocks import BlockJob, TileOutcome, run_block
from clusterscan.flow.job import block_arguments, run_stage
from clusterscan.preprocess.stage import preprocess_file
from clusterscan.preprocess.tile_masks import MaskList, read_mask_list


def preprocess_tile(
    root: Path,
    raw: dict[int, TileRecord],
    settings: PreprocessSettings,
    spec: ImageSpec,
    masks: MaskList | None,
    tile: int,
    shard: Path,
) -> TileOutcome:
    """Make one tile image, where there is a raw one."""
    if not raw[tile].has_shard:
        return TileOutcome("no_coverage", raw[tile].reason)
    here = None if masks is None else masks.masks(tile, spec)
    return preprocess_file(raw[tile].checked_shard(root), shard, settings, spec, here)


def main(args: argparse.Namespace, progress: Progress) -> None:
    """Preprocess the block named by the arguments."""
    stage = args.settings["stage"]
    raw = records_of([args.raw])
    spec = ImageSpec(**{**stage["spec"], "bands": tuple(stage["spec"]["bands"])})
    settings = PreprocessSettings(**stage["preprocess"])
    masks = read_mask_list(args.masks[0]) if args.masks else None

    def inputs(tile: int, identity: str) -> str | list[str]:
        # A tile that no mask reaches depends on none: its fingerprint is as without any.
        token = "" if masks is None else masks.token(tile)
        return [identity, token] if token else identity

    run_block(
        BlockJob.of(args, "preprocess", "tiles", ".fits"),
        {tile: inputs(tile, record.identity) for tile, record in raw.items()},
        partial(preprocess_tile, args.root, raw, settings, spec, masks),
        manifest=args.output,
        workers=args.workers,
        max_failed_fraction=args.max_failed_fraction,
        progress=progress,
    )


if __name__ == "__main__":
    parser = block_arguments("preprocess", __doc__)
    parser.add_argument("--raw", type=Path, required=True, help="the block's manifest of fetch")
    parser.add_argument(
        "--masks", type=Path, nargs="*", default=[], help="the block's mask list, where it has one"
    )
    run_stage(parser, main)
