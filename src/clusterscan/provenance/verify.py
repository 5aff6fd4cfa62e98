"""Find shards that are missing or damaged: Snakemake knows only the manifests."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from clusterscan import sky
from clusterscan.provenance.fingerprint import file_sha256
from clusterscan.provenance.records import read_manifest


@dataclass(frozen=True)
class Fault:
    """One bad shard."""

    problem: Literal["missing", "damaged"]
    shard: str
    stage: str
    key: str
    tile: int
    tile_order: int
    manifest: Path


def verify(root: Path) -> tuple[int, list[Fault]]:
    """Compare every shard named by a manifest with its size and sha256.

    Parameters
    ----------
    root : Path
        The run's folder.

    Returns
    -------
    checked : int
        Number of shards looked at.
    bad : list of Fault
        Those that are missing or differ.
    """
    checked, bad = 0, []
    for path in sorted((root / "manifests").rglob("*.json")):
        manifest = read_manifest(path)
        for record in manifest.records:
            if not record.has_shard:
                continue
            checked += 1
            shard = root / record.path
            problem: Literal["missing", "damaged"] | None = None
            if not shard.is_file():
                problem = "missing"
            elif file_sha256(shard) != record.sha256:
                problem = "damaged"
            if problem:
                bad.append(
                    Fault(
                        problem,
                        record.path,
                        manifest.stage,
                        manifest.key,
                        record.tile,
                        manifest.tile_order,
                        path,
                    )
                )
    return checked, bad


def forget(root: Path, bad: list[Fault]) -> None:
    """Remove the records and manifests of bad shards, so that the next run makes them anew."""
    for fault in bad:
        (root / fault.shard).unlink(missing_ok=True)
        place = sky.shard_path(fault.tile, fault.tile_order, ".json")
        (root / "records" / fault.stage / fault.key / place).unlink(missing_ok=True)
        fault.manifest.unlink(missing_ok=True)
