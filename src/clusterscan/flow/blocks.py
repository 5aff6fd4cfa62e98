"""Run one stage over the tiles of one block, computing only what changed.

Snakemake decides which blocks run, a tile's fingerprint decides which tiles. A tile that fails
is recorded with its reason and the others go on.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clusterscan.core import sky
from clusterscan.core.errors import ClusterscanError
from clusterscan.core.fingerprint import file_sha256, fingerprint
from clusterscan.core.progress import SILENT, Progress
from clusterscan.core.records import BlockManifest, Status, TileRecord, read_record, write_record
from clusterscan.flow.job import Job

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TileOutcome:
    """Outcome of computing one tile; the shard itself is already written."""

    status: Status = "ok"
    reason: str = ""
    counts: dict[str, Any] = field(default_factory=dict)


Compute = Callable[[int, Path], TileOutcome]
"""Compute one tile: (tile, path of its shard) -> outcome; writes the shard atomically."""


@dataclass(frozen=True)
class BlockJob:
    """One stage on one block.

    Attributes
    ----------
    stage, version : str, int
        The stage and the version of its code (raise it when its results change).
    key : str
        What is computed besides the sky: ``unwise`` or ``unwise/resnet18``.
    root : Path
        The run's folder.
    folder : str
        Where shards lie below the root, such as ``tiles/unwise``.
    suffix : str
        The shards' suffix, such as ``.fits``.
    settings : dict
        The settings that determine the result (JSON-able).
    tile_order, block_order, block : int
        The sky.
    manifest : Path
        The block's manifest. It is written last, so that it exists only for a finished block.
    workers : int
        Dask worker processes.
    max_failed_fraction : float
        The job fails if more of its tiles fail; what was computed is kept.
    progress : Progress
        Called after every tile.
    """

    stage: str
    version: int
    key: str
    root: Path
    folder: str
    suffix: str
    settings: dict[str, Any]
    tile_order: int
    block_order: int
    block: int
    manifest: Path
    workers: int = 1
    max_failed_fraction: float = 0.0
    progress: Progress = SILENT

    @classmethod
    def of(cls, job: Job[Any], stage: str, folder: str, suffix: str) -> BlockJob:
        """Return the block's part of a job; its shards lie in folder/key."""
        return cls(
            stage=stage,
            version=job.version,
            key=job.key,
            root=job.root,
            folder=f"{folder}/{job.key}",
            suffix=suffix,
            settings=job.settings.plain(),
            tile_order=job.sky.tile_order,
            block_order=job.sky.block_order,
            block=job.block,
            manifest=job.output,
            workers=job.workers,
            max_failed_fraction=job.max_failed_fraction,
            progress=job.progress,
        )

    def shard(self, tile: int) -> Path:
        """Return the path of a tile's shard."""
        return self.root / self.folder / sky.shard_path(tile, self.tile_order, self.suffix)

    def record_path(self, tile: int) -> Path:
        """Return the path of a tile's record."""
        place = sky.shard_path(tile, self.tile_order, ".json")
        return self.root / "records" / self.stage / self.key / place

    def fingerprint(self, tile: int, inputs: Any) -> str:
        """Return the hash of all that determines a tile's shard."""
        # Inputs count by the hashes of their bytes. Neither times nor paths are in it, so a run
        # folder that was copied or moved stays up to date, and nor is how jobs run (workers and the
        # like).
        return fingerprint(
            {
                "stage": self.stage,
                "version": self.version,
                "settings": self.settings,
                "tile": [self.tile_order, tile],
                "inputs": inputs,
            }
        )


def run_block(job: BlockJob, inputs: dict[int, Any], compute: Compute) -> BlockManifest:
    """Bring every tile of a block up to date and write the block's manifest.

    Parameters
    ----------
    job : BlockJob
        What to compute.
    inputs : dict of int to JSON-able
        For each tile of the block, the hashes of the earlier products that its shard is made from.
    compute : callable
        ``compute(tile, shard_path)``; must be picklable if ``job.workers > 1``.

    Raises
    ------
    ClusterscanError
        If too many tiles failed; the message lists each tile with its reason.
    """
    # Snakemake removes the manifest before this job starts, and an earlier try may have been
    # killed. Records survive both: a tile is kept if its record has the fingerprint wanted now and
    # its shard is whole.
    wanted = {tile: job.fingerprint(tile, inputs[tile]) for tile in sorted(inputs)}
    kept = {tile: _still_good(job, tile, mark) for tile, mark in wanted.items()}
    records = {tile: record for tile, record in kept.items() if record is not None}
    todo = {tile: mark for tile, mark in wanted.items() if tile not in records}
    log.info("%s %s: %d of %d tiles to compute", job.stage, job.key, len(todo), len(wanted))
    for record in _records(job, todo, compute):
        records[record.tile] = record
        job.progress(len(records), len(wanted), f"tile {record.tile}")
        log.info("tile %d: %s %s", record.tile, record.status, record.reason)
    # Before the manifest is written: without it Snakemake starts the block again, and only the
    # failed tiles are computed then.
    _raise_if_too_many_failed(job, records)
    result = BlockManifest(
        stage=job.stage,
        version=job.version,
        key=job.key,
        block_order=job.block_order,
        block=job.block,
        tile_order=job.tile_order,
        records=tuple(records[tile] for tile in sorted(records)),
    )
    result.write(job.manifest)
    return result


def tiles_to_compute(job: BlockJob, inputs: dict[int, Any]) -> list[int]:
    """Return the tiles of a block that `run_block` would compute: new, changed, failed, lost."""
    marks = {tile: job.fingerprint(tile, inputs[tile]) for tile in sorted(inputs)}
    return [tile for tile, mark in marks.items() if _still_good(job, tile, mark) is None]


def _still_good(job: BlockJob, tile: int, mark: str) -> TileRecord | None:
    record = read_record(job.record_path(tile))
    # A failure may have been the network's or the disk's, so it is always tried again.
    if record is None or record.fingerprint != mark or record.status == "failed":
        return None
    return record if record.is_intact(job.root) else None


def _records(job: BlockJob, todo: dict[int, str], compute: Compute) -> Iterator[TileRecord]:
    if job.workers == 1 or len(todo) < 2:
        for tile, mark in todo.items():
            yield _compute_tile(job, tile, mark, compute)
        return
    from dask.distributed import Client, LocalCluster, as_completed

    with (
        # One thread per worker, no dashboard, and reachable from this machine alone.
        LocalCluster(
            n_workers=min(job.workers, len(todo)),
            threads_per_worker=1,
            host="127.0.0.1",
            dashboard_address=None,
            local_directory=os.environ.get("TMPDIR"),
        ) as cluster,
        Client(cluster) as client,
    ):
        # Computing a tile writes files, so Dask must not treat it as a pure function.
        futures = [
            client.submit(_compute_tile, job, t, m, compute, pure=False) for t, m in todo.items()
        ]
        for future in as_completed(futures):
            yield future.result()


def _compute_tile(job: BlockJob, tile: int, mark: str, compute: Compute) -> TileRecord:
    shard = job.shard(tile)
    # A job that is killed between shard and record must not leave an older record beside the new
    # shard: with the older settings, that record would vouch for bytes that are gone.
    job.record_path(tile).unlink(missing_ok=True)
    try:
        outcome = compute(tile, shard)
        record = _record(job, tile, mark, outcome, shard)
    except ClusterscanError as error:
        record = _failed(tile, mark, shard, str(error))
    except Exception as error:  # one bad tile must not lose the block's other tiles
        log.exception("tile %d", tile)
        record = _failed(tile, mark, shard, f"{type(error).__name__}: {error}")
    # The record follows its shard: a job killed in between computes the tile again.
    write_record(job.record_path(tile), record)
    return record


def _failed(tile: int, mark: str, shard: Path, reason: str) -> TileRecord:
    shard.unlink(missing_ok=True)  # an older shard here would be mistaken for this result
    return TileRecord(tile, "failed", mark, reason=reason)


def _record(job: BlockJob, tile: int, mark: str, outcome: TileOutcome, shard: Path) -> TileRecord:
    if outcome.status in ("no_coverage", "failed"):
        shard.unlink(missing_ok=True)
        return TileRecord(tile, outcome.status, mark, reason=outcome.reason, counts=outcome.counts)
    return TileRecord(
        tile=tile,
        status=outcome.status,
        fingerprint=mark,
        path=shard.relative_to(job.root).as_posix(),
        size=shard.stat().st_size,
        sha256=file_sha256(shard),
        reason=outcome.reason,
        counts=outcome.counts,
    )


def _raise_if_too_many_failed(job: BlockJob, records: dict[int, TileRecord]) -> None:
    failed = [record for record in records.values() if record.status == "failed"]
    if len(failed) > job.max_failed_fraction * len(records):
        listed = "\n".join(f"  tile {r.tile}: {r.reason}" for r in failed)
        raise ClusterscanError(
            f"{job.stage} {job.key}: {len(failed)} of {len(records)} tiles of block {job.block} "
            f"failed:\n{listed}\nFix the cause and run again: only these tiles are computed. "
            f"To go on without them raise execution.max_failed_fraction "
            f"(now {job.max_failed_fraction:g})."
        )


def tiles_of_block(
    tiles: Iterable[int], tile_order: int, block: int, block_order: int
) -> list[int]:
    """Return the sorted tiles of a footprint that lie in a block."""
    return sorted(t for t in tiles if int(sky.ancestor(t, tile_order, block_order)) == block)
