"""Stage preprocess: raw images to calibrated, masked tile images."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from clusterscan.core.records import TileRecord, records_of
from clusterscan.flow.blocks import BlockJob, TileOutcome, run_block
from clusterscan.flow.job import Job
from clusterscan.flow.stage_settings import PreprocessStage
from clusterscan.preprocess.make_tile import preprocess_file
from clusterscan.preprocess.tile_masks import MaskList, read_mask_list


def preprocess_block(job: Job[PreprocessStage], raw: Path, mask_list: Path | None) -> None:
    """Write the tile image of each tile of a block that has a raw one.

    Parameters
    ----------
    job : Job
        The settings, and where to write.
    raw : Path
        The block's manifest of `fetch`.
    mask_list : Path, optional
        The stars, galaxies and mask files that reach the block, if the survey has any.
    """
    records = records_of([raw])
    masks = None if mask_list is None else read_mask_list(mask_list)

    def inputs(tile: int, identity: str) -> str | list[str]:
        # A tile that no mask reaches depends on none: its fingerprint is as without any.
        token = "" if masks is None else masks.token(tile)
        return [identity, token] if token else identity

    run_block(
        BlockJob.of(job, "preprocess", "tiles", ".fits"),
        {tile: inputs(tile, record.identity) for tile, record in records.items()},
        partial(preprocess_tile, job.root, records, job.settings, masks),
    )


def preprocess_tile(
    root: Path,
    raw: dict[int, TileRecord],
    settings: PreprocessStage,
    masks: MaskList | None,
    tile: int,
    shard: Path,
) -> TileOutcome:
    """Make one tile image, if there is a raw one."""
    if not raw[tile].has_shard:
        return TileOutcome("no_coverage", raw[tile].reason)
    spec = settings.spec
    here = None if masks is None else masks.masks(tile, spec)
    return preprocess_file(raw[tile].checked_shard(root), shard, settings.preprocess, spec, here)
