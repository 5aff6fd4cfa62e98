"""What happened to each tile: one small record a tile and stage, gathered in block manifests.

Snakemake knows only the manifests. The shards beside them are known by their records, which
outlive a job, so that a job computes only the tiles whose fingerprint changed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from clusterscan.core.atomic import write_json
from clusterscan.core.errors import ProductError
from clusterscan.core.fingerprint import file_sha256

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
        """Whether a later stage finds a shard to read."""
        return self.path != ""

    @property
    def identity(self) -> str:
        """What later stages depend on: the shard's bytes, or the status where there is none."""
        return self.sha256 or self.status

    def is_intact(self, root: Path, *, check_bytes: bool = False) -> bool:
        """Whether the shard is still there, of the right size (and of the right bytes)."""
        if not self.has_shard:
            return True
        shard = root / self.path
        if not shard.is_file() or shard.stat().st_size != self.size:
            return False
        return not check_bytes or file_sha256(shard) == self.sha256

    def checked_shard(self, root: Path) -> Path:
        """Return the shard's path, after comparing its bytes with what its writer noted.

        Raises
        ------
        ProductError
            If the shard is gone or holds other bytes.
        """
        if not self.is_intact(root, check_bytes=True):
            raise ProductError(
                f"{root / self.path}: missing or damaged (its sha256 is not the one that was "
                "noted when it was written); `clusterscan verify --forget`, then run again: it is "
                "made anew"
            )
        return root / self.path


def read_record(path: Path) -> TileRecord | None:
    """Return a tile's record, or None where there is none (a damaged one counts as none)."""
    try:
        return TileRecord(**json.loads(path.read_text(encoding="utf-8")))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def write_record(path: Path, record: TileRecord) -> None:
    """Write a tile's record."""
    write_json(path, asdict(record))


@dataclass(frozen=True)
class BlockManifest:
    """The outcome of one block at one stage: the only output that Snakemake sees."""

    stage: str
    version: int
    key: str
    block_order: int
    block: int
    tile_order: int
    records: tuple[TileRecord, ...]

    def write(self, path: Path) -> None:
        """Write the manifest, tiles in order."""
        write_json(path, asdict(self))


def read_manifest(path: str | Path) -> BlockManifest:
    """Read a block manifest.

    Raises
    ------
    ProductError
        If the file is missing or is no manifest.
    """
    try:
        raw = json.loads(Path(path).read_text(encoding="utf-8"))
        raw["records"] = tuple(TileRecord(**record) for record in raw["records"])
        return BlockManifest(**raw)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ProductError(
            f"{path}: not a block manifest ({error}); delete it and run again, "
            "its tiles are kept and only this list is made anew"
        ) from error


def records_of(manifests: Iterable[str | Path]) -> dict[int, TileRecord]:
    """Return the records of several blocks by tile, in tile order (blocks never share a tile)."""
    found = {r.tile: r for path in manifests for r in read_manifest(path).records}
    return dict(sorted(found.items()))
