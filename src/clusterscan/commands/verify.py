"""Find what is missing or damaged of all that Snakemake does not watch.

Snakemake knows a run's block manifests, training sets, model cards and products. The shards that
manifests name (those of the selection function's probes as well), the examples that training sets
name, the weights that cards name and all files that the published folder's checksums name are
looked at here. What cannot be read is a fault like any other: the look goes on.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from clusterscan.core import sky
from clusterscan.core.checksums import CHECKSUMS, FOLDER, read_checksums
from clusterscan.core.errors import ProductError
from clusterscan.core.fingerprint import file_sha256
from clusterscan.core.records import read_manifest
from clusterscan.flow.paths import SELECTION
from clusterscan.formats.training_set import read_release

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
    """Compare every file that a manifest, training set, card or checksum list names with it.

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
    looked = [
        *_shards(root, root),
        *_shards(root, root / SELECTION),
        *_releases(root),
        *_weights(root),
        *_published(root),
    ]
    return len(looked), [fault for fault in looked if fault is not None]


def forget(bad: list[Fault]) -> None:
    """Remove bad files with all that vouches for them, so that the next run makes them anew."""
    for path in {path for fault in bad for path in fault.forget}:
        path.unlink(missing_ok=True)


def _shards(root: Path, base: Path) -> Iterator[Fault | None]:
    """Yield the shards of the manifests below a folder, in which their paths lead."""
    for path in sorted((base / "manifests").rglob("*.json")):
        try:
            manifest = read_manifest(path)
        except ProductError:
            yield _bad("damaged", path, root, "block manifest", ())
            continue
        for record in manifest.records:
            if not record.has_shard:
                continue
            shard = base / record.path
            place = sky.shard_path(record.tile, manifest.tile_order, ".json")
            note = base / "records" / manifest.stage / manifest.key / place
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


def _published(root: Path) -> Iterator[Fault | None]:
    """Yield the published folder's files, and the products that they are second names of."""
    sums = root / FOLDER / CHECKSUMS
    if not sums.is_file():  # not published yet: the next run does it
        return
    try:
        named = read_checksums(sums)
    except (OSError, ValueError):
        yield _bad("damaged", sums, root, "checksums", ())
        return
    for name, sha256 in named.items():
        published, product = root / FOLDER / name, root / name
        stage = next((s for s in VOUCHING if name.startswith(s)), None)
        vouching = (sums, *(root / v for v in VOUCHING.get(stage or "", ())))
        if len(parts := Path(name).parts) == 3 and parts[0] == "models":  # training makes it anew
            vouching = (sums, product.with_name("model.json"))
        same = _same_file(product, published)
        # The damage of a second name is the product's own: kept, it would be published again.
        besides = (product, *vouching) if same else (sums,)
        yield _compared(published, sha256, root, "published folder", besides)
        if stage is None:
            continue
        if not product.is_file():
            yield _bad("missing", product, root, "product", vouching)
        elif same or _made_since(product, sums):
            yield None  # not published yet, or looked at already
        else:
            yield _compared(product, sha256, root, "product", vouching)


#: Products that only the published folder's checksums vouch for, by the start of their path, and
#: what must go besides for them to be made anew. Models and map tiles have lists of their own.
VOUCHING: dict[str, tuple[str, ...]] = {
    "catalogue/": (),
    "selection/": (f"{SELECTION}/selection.json",),
    "validation/": (),
}


def _made_since(product: Path, sums: Path) -> bool:
    """Whether a product was made anew, and a run ended before it was published."""
    return product.stat().st_mtime_ns > sums.stat().st_mtime_ns


def _same_file(product: Path, published: Path) -> bool:
    return published.is_file() and product.is_file() and product.samefile(published)


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
