"""Find what is missing or damaged of all that Snakemake does not watch.

Snakemake knows a run's block manifests, training sets and model cards. The shards that manifests
name, the examples that training sets name and the weights that cards name are looked at here.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from clusterscan import sky
from clusterscan.errors import ProductError
from clusterscan.provenance.fingerprint import file_sha256
from clusterscan.provenance.records import read_manifest
from clusterscan.provenance.release import read_release

Problem = Literal["missing", "damaged"]


@dataclass(frozen=True)
class Fault:
    """One bad file.

    Attributes
    ----------
    problem : str
        ``missing`` or ``damaged``.
    path : str
        The file, relative to the run's folder.
    owner : str
        What it belongs to, in words.
    forget : tuple of Path
        What must go so that the next run makes the file anew.
    """

    problem: Problem
    path: str
    owner: str
    forget: tuple[Path, ...]


def verify(root: Path) -> tuple[int, list[Fault]]:
    """Compare every file that a manifest, a training set or a card names with its sha256.

    Parameters
    ----------
    root : Path
        The run's folder.

    Returns
    -------
    checked : int
        Number of files looked at.
    bad : list of Fault
        Those that are missing or differ.
    """
    looked = [*_shards(root), *_releases(root), *_weights(root)]
    return len(looked), [fault for fault in looked if fault is not None]


def forget(bad: list[Fault]) -> None:
    """Remove bad files with all that vouches for them, so that the next run makes them anew."""
    for path in {path for fault in bad for path in fault.forget}:
        path.unlink(missing_ok=True)


def _shards(root: Path) -> Iterator[Fault | None]:
    for path in sorted((root / "manifests").rglob("*.json")):
        manifest = read_manifest(path)
        for record in manifest.records:
            if not record.has_shard:
                continue
            shard = root / record.path
            place = sky.shard_path(record.tile, manifest.tile_order, ".json")
            note = root / "records" / manifest.stage / manifest.key / place
            owner = f"{manifest.stage} {manifest.key}"
            yield _compared(shard, record.sha256, root, owner, (note, path))


def _releases(root: Path) -> Iterator[Fault | None]:
    for path in sorted((root / "releases").glob("*.json")):
        try:
            release = read_release(path)
        except ProductError:
            yield _bad("damaged", path, root, "training set", ())
            continue
        for shard, sha256 in release.shards(root):
            yield _compared(shard, sha256, root, f"training set {release.survey}", (path,))


def _weights(root: Path) -> Iterator[Fault | None]:
    for path in sorted((root / "models").glob("*/model.json")):
        owner = f"network {path.parent.name}"
        try:
            named = json.loads(path.read_text(encoding="utf-8"))["weights"]
            weights, sha256 = path.parent / Path(named["file"]).name, str(named["sha256"])
        except (OSError, ValueError, KeyError, TypeError):
            yield _bad("damaged", path, root, owner, ())
            continue
        yield _compared(weights, sha256, root, owner, (path,))


def _compared(
    path: Path, sha256: str, root: Path, owner: str, vouching: tuple[Path, ...]
) -> Fault | None:
    if not path.is_file():
        return _bad("missing", path, root, owner, vouching)
    if file_sha256(path) != sha256:
        return _bad("damaged", path, root, owner, vouching)
    return None


def _bad(problem: Problem, path: Path, root: Path, owner: str, vouching: tuple[Path, ...]) -> Fault:
    return Fault(problem, path.relative_to(root).as_posix(), owner, (path, *vouching))
