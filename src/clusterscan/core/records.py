"""Records of each tile's outcome at each stage, gathered in block manifests.

Snakemake knows only the manifests. Records stay when a manifest is made again, so that a block job
computes only the tiles whose fingerprint changed or whose shard is gone. Manifests and records hold
the sha256 of their own content: one flipped bit makes them unreadable instead of a wrong answer.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from clusterscan.core.atomic import write_json
from clusterscan.core.checksums import leads_out
from clusterscan.core.errors import ProductError
from clusterscan.core.fingerprint import file_sha256, fingerprint

# Shards are not declared to Snakemake. It deletes the declared outputs of a job before running it
# again, so one changed tile would cost its whole block, and it would have to plan with a node for
# every tile of the sky. It sees one manifest per block; records tell which shards are still good.
Status = Literal["ok", "no_coverage", "partial", "failed"]


@dataclass(frozen=True)
class TileRecord:
    """One tile's outcome at one stage.

    Attributes
    ----------
    tile : int
        NESTED index at the run's tile order.
    status : str
        ``ok``, ``no_coverage`` (a success without a shard), ``partial`` or ``failed``.
    fingerprint : str
        sha256 of all that determines the shard.
    path, size, sha256 : str, int, str
        The shard, relative to the run's folder; empty where there is none.
    reason : str
        Why the tile is not ``ok``.
    counts : dict
        Whatever the stage counts (rows, valid pixels, dropped examples ...).
    """

    tile: int
    status: Status
    fingerprint: str
    path: str = ""
    size: int = 0
    sha256: str = ""
    reason: str = ""
    counts: dict[str, Any] = field(default_factory=dict)

    @property
    def has_shard(self) -> bool:
        """Return True if the tile has a shard."""
        return self.path != ""

    @property
    def identity(self) -> str:
        """Return the sha256 of the shard, or the status if there is no shard.

        Later stages depend on this value alone.
        """
        # Bytes, not times: a tile made again with the same bytes reruns nothing behind it.
        return self.sha256 or self.status

    def is_intact(self, root: Path, *, check_bytes: bool = False) -> bool:
        """Return True if the shard has its size (and, with ``check_bytes``, its sha256)."""
        if not self.has_shard:
            return True
        shard = root / self.path
        # Every job looks at all its tiles, so this check is cheap: a size catches lost and
        # truncated files. Flipped bits are caught where a shard is read (`checked_shard`) and by
        # `verify`.
        if not shard.is_file() or shard.stat().st_size != self.size:
            return False
        return not check_bytes or file_sha256(shard) == self.sha256

    def checked_shard(self, root: Path) -> Path:
        """Return the shard's path after comparing its bytes with the recorded sha256.

        Raises
        ------
        ProductError
            If the shard is missing or its bytes differ.
        """
        if not self.is_intact(root, check_bytes=True):
            raise ProductError(
                f"{root / self.path}: missing or damaged (its sha256 is not the one recorded when "
                "it was written); `clusterscan verify --forget`, then run again: it is made again"
            )
        return root / self.path


# What reading JSON that is not a record raises; deeply nested brackets exhaust the stack.
_NO_RECORD = (ValueError, TypeError, AttributeError, RecursionError)


def read_record(path: Path) -> TileRecord | None:
    """Return a tile's record, or None if it is missing or damaged."""
    try:
        # A record that cannot be trusted costs one tile's time; a wrong one could hide a bad shard.
        return _record(_checked(json.loads(path.read_text(encoding="utf-8"))))
    except (FileNotFoundError, IsADirectoryError, *_NO_RECORD):
        return None


def write_record(path: Path, record: TileRecord) -> None:
    """Write a tile's record."""
    write_json(path, _with_checksum(asdict(record)))


def _record(values: dict[str, Any]) -> TileRecord:
    record = TileRecord(**values)
    if type(record.tile) is not int or record.tile < 0:
        raise ValueError(f"{record.tile!r} is no tile")
    # The path is read and, by `verify --forget`, removed, so damage must not lead it elsewhere.
    if leads_out(record.path):
        raise ValueError(f"tile {record.tile}: {record.path!r} is no file of the run's folder")
    return record


_CHECKSUM = "content_sha256"


def _with_checksum(content: dict[str, Any]) -> dict[str, Any]:
    return {**content, _CHECKSUM: fingerprint(content)}


def _checked(content: dict[str, Any]) -> dict[str, Any]:
    """Return the content without its checksum, which files of earlier versions do not hold."""
    written = content.pop(_CHECKSUM, None)
    if written not in (None, fingerprint(content)):
        raise ValueError("its content does not have the sha256 that it holds")
    return content


@dataclass(frozen=True)
class BlockManifest:
    """The outcome of one block at one stage: the only output of a block job that Snakemake sees."""

    stage: str
    version: int
    key: str
    block_order: int
    block: int
    tile_order: int
    records: tuple[TileRecord, ...]

    def write(self, path: Path) -> None:
        """Write the manifest, tiles in order."""
        write_json(path, _with_checksum(asdict(self)))


def read_manifest(path: str | Path) -> BlockManifest:
    """Read a block manifest.

    Raises
    ------
    ProductError
        If the file is missing, damaged or no manifest, or names files outside of the run's folder.
    """
    try:
        raw = _checked(json.loads(Path(path).read_text(encoding="utf-8")))
        raw["records"] = tuple(_record(record) for record in raw["records"])
        manifest = BlockManifest(**raw)
        if leads_out(manifest.stage) or leads_out(manifest.key):
            raise ValueError("its stage or key is no name")
        if type(manifest.tile_order) is not int:
            raise ValueError(f"{manifest.tile_order!r} is no order")
        return manifest
    except (OSError, KeyError, *_NO_RECORD) as error:
        raise ProductError(
            f"{path}: not a block manifest ({error}); delete it and run again: "
            "its tiles are kept and only the manifest is made again"
        ) from error


def records_of(manifests: Iterable[str | Path]) -> dict[int, TileRecord]:
    """Return the records of several blocks by tile, in tile order (blocks never share a tile)."""
    found = {r.tile: r for path in manifests for r in read_manifest(path).records}
    return dict(sorted(found.items()))
