"""Find missing and damaged files of a run, and remove them so that the next run remakes them.

Every file of a finished run is vouched for by one of three kinds of list:

- block manifests name the shards and repeat the records of their tiles (probes have their own);
- the list of each other job, ``checksums/<its output>.sha256``, names every file that it wrote;
- ``published/SHA256SUMS`` names every file of the published folder.

Sources and settings are rewritten by each run. Logs and costs are no results and are not checked.
A list that cannot be read is a fault like any other, and the check goes on.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from clusterscan.core import sky
from clusterscan.core.checksums import (
    CHECKSUMS,
    FOLDER,
    JOB_LISTS,
    job_list_path,
    read_checksums,
)
from clusterscan.core.errors import ProductError
from clusterscan.core.fingerprint import file_sha256
from clusterscan.core.records import read_manifest, read_record
from clusterscan.flow.paths import SELECTION

Problem = Literal["missing", "damaged"]

#: The output that each job with a list declares, as patterns below the run's folder.
JOB_OUTPUTS = (
    "catalogs/*.parquet",
    "known/known.parquet",
    "releases/*.json",
    "models/*/model.json",
    "merged/objects.parquet",
    "validation/validation.json",
    f"{SELECTION}/selection.json",
    "summary.json",
)


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
        Description of the product that the file belongs to.
    forget : tuple of Path
        The files to remove so that the next run makes the bad one again. All lie in the run's
        folder.
    """

    problem: Problem
    path: str
    owner: str
    forget: tuple[Path, ...]


def verify(root: Path) -> tuple[int, list[Fault]]:
    """Compare every file in a run's folder with the manifest or list that names it.

    Returns
    -------
    checked : int
        Number of files compared.
    bad : list of Fault
        Those that are missing or differ.
    """
    # Each generator goes on after a fault, so that one call finds all of them.
    found = [
        *_block_jobs(root, root),
        *_block_jobs(root, root / SELECTION),
        *_other_jobs(root),
        *_published(root),
    ]
    return len(found), [fault for fault in found if fault is not None]


def forget(root: Path, bad: list[Fault]) -> None:
    """Remove bad files and the lists that name them, so that the next run makes them again.

    Nothing outside of the run's folder is ever removed, whatever a fault says.
    """
    for path in {path for fault in bad for path in fault.forget}:
        # Removing a link leaves its target alone, so only its folder has to be one of the run's.
        # A folder in the place of a file was made by somebody else: the job will name it.
        is_folder = path.is_dir() and not path.is_symlink()
        if path.parent.resolve().is_relative_to(root.resolve()) and not is_folder:
            path.unlink(missing_ok=True)


def _block_jobs(root: Path, base: Path) -> Iterator[Fault | None]:
    """Compare records and shards with the manifests below ``base``, where their paths start."""
    for path in sorted((base / "manifests").rglob("*.json")):
        try:
            manifest = read_manifest(path)
            named = base / "manifests" / manifest.stage / manifest.key
            # A whole manifest in the wrong place, such as a copied folder, would vouch for other
            # files.
            if not _lies_inside(path, root) or path.parent != named:
                raise ProductError(f"{path}: a manifest of {manifest.stage} {manifest.key}")
        except ProductError:
            yield _fault("damaged", path, root, "block manifest", (path,))
            yield from _shards_of_records(root, base, path)
            continue
        for record in manifest.records:
            owner = f"{manifest.stage} {manifest.key}"
            place = sky.shard_path(record.tile, manifest.tile_order, ".json")
            note = base / "records" / manifest.stage / manifest.key / place
            # A record that was made again, by a job that then failed, differs from its manifest
            # only while the manifest is gone: Snakemake removes it before the job starts.
            good = read_record(note) == record
            problem: Problem = "damaged" if note.is_file() else "missing"
            yield None if good else _fault(problem, note, root, f"record of {owner}", (note, path))
            if record.has_shard:
                shard = base / record.path
                # Without its manifest Snakemake starts the block's job again, which computes this
                # tile and keeps all others.
                yield _compared(shard, record.sha256, root, owner, path, (note, path))


def _shards_of_records(root: Path, base: Path, manifest: Path) -> Iterator[Fault | None]:
    """Compare shards with their records alone.

    The next run makes a bad manifest again from records and keeps every shard of the right size. A
    damaged shard behind a bad manifest must therefore be found now.
    """
    key = manifest.parent.relative_to(base / "manifests")
    for note in sorted((base / "records" / key).rglob("*.json")):
        record = read_record(note)
        if record is not None and record.has_shard:
            shard = base / record.path
            yield _compared(shard, record.sha256, root, key.as_posix(), note, (note,))


def _other_jobs(root: Path) -> Iterator[Fault | None]:
    for pattern in JOB_OUTPUTS:
        for output in sorted(root.glob(pattern)):
            # Without its list an output cannot be checked, so its job has to run again.
            if not job_list_path(root, output).is_file():
                listing = job_list_path(root, output)
                yield _fault("missing", listing, root, "list of checksums", (output,))
    for listing in sorted((root / JOB_LISTS).rglob("*.sha256")):
        output = root / listing.relative_to(root / JOB_LISTS).with_suffix("")
        if not output.is_file():
            continue  # Snakemake misses it, and the job writes all its files again
        try:
            named = read_checksums(listing)
            if not _lies_inside(listing, root):
                raise ValueError(f"{listing}: a link out of the run's folder")
        except (OSError, ValueError):
            yield _fault("damaged", listing, root, "list of checksums", (listing, output))
            continue
        for name, sha256 in named.items():
            owner = f"job of {output.relative_to(root).as_posix()}"
            yield _compared(root / name, sha256, root, owner, listing, (output, listing))


def _published(root: Path) -> Iterator[Fault | None]:
    """Compare the published folder with its checksums.

    Most of its files are second names of products. Damage to one is damage to both; the job's
    list then finds the product, so that both go and the damage is not published again.
    """
    sums = root / FOLDER / CHECKSUMS
    if not sums.is_file():  # not published yet: the next run does it
        return
    try:
        named = read_checksums(sums)
    except (OSError, ValueError):
        yield _fault("damaged", sums, root, "checksums", (sums,))
        return
    for name, sha256 in named.items():
        yield _compared(root / FOLDER / name, sha256, root, "published folder", sums, (sums,))


def _compared(
    path: Path, sha256: str, root: Path, owner: str, listing: Path, vouching: tuple[Path, ...]
) -> Fault | None:
    """Compare a file with its sha256; a bad file outside of the run's folder is its list's fault.

    A folder of a run may be a link to another disk. Its files are read there, but never removed:
    without what vouches for them, the next run makes them anew.
    """
    if not _lies_inside(path, root):
        if path.is_file() and file_sha256(path) == sha256:
            return None
        return _fault("damaged", listing, root, f"names {path}, outside of this run", vouching)
    if not path.is_file():
        return _fault("missing", path, root, owner, (path, *vouching))
    if file_sha256(path) != sha256:
        return _fault("damaged", path, root, owner, (path, *vouching))
    return None


def _lies_inside(path: Path, root: Path) -> bool:
    """Return True if a path lies below the run's folder after all symbolic links are followed."""
    return path.resolve().is_relative_to(root.resolve())


def _fault(problem: Problem, path: Path, root: Path, owner: str, remove: tuple[Path, ...]) -> Fault:
    return Fault(problem, path.relative_to(root).as_posix(), owner, remove)
