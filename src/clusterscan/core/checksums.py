"""Lists of checksums, in the form that ``sha256sum -c`` reads.

The published folder has one list of all its files. Every job that is not a block job leaves one
list of the files it wrote, ``checksums/<its declared output>.sha256`` in the run's folder, so that
`clusterscan verify` knows the bytes of every file of a run. (Block jobs leave manifests instead.)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from clusterscan.core.atomic import atomic_path
from clusterscan.core.fingerprint import file_sha256

FOLDER = "published"
CHECKSUMS = "SHA256SUMS"

JOB_LISTS = "checksums"
"""The folder of a run that holds the jobs' lists."""

UNLISTED = ("logs", "costs", "failures", ".progress")
"""Folders of files about jobs, such as logs. They are no results, so no list names them."""


def checksums_text(sha256s: Mapping[str, str]) -> str:
    """Return the list: a line of sha256, two blanks and path for each file, sorted by path."""
    return "".join(f"{sha256}  {name}\n" for name, sha256 in sorted(sha256s.items()))


def read_checksums(path: Path) -> dict[str, str]:
    """Return the sha256 of each file that a list names, by path.

    Raises
    ------
    ValueError
        If a line does not have that form, or names a file outside of the list's folder.
    OSError
        If the list cannot be read.
    """
    found = {}
    text = path.read_text(encoding="utf-8")
    # Without its newline the last name may be cut short, and a file that never existed would be
    # missed.
    if not text.endswith("\n"):
        raise ValueError(f"{path}: the last line is cut short")
    for number, line in enumerate(text[:-1].split("\n"), start=1):
        sha256, _, name = line.partition("  ")
        # `verify --forget` removes bad files by these names: none may lie outside of the folder.
        if len(sha256) != 64 or not name.strip("./") or leads_out(name):
            raise ValueError(f"{path}: line {number} is not a sha256 and a file of this folder")
        found[name] = sha256
    return found


def leads_out(name: str) -> bool:
    """Return True for an absolute path, one that climbs out of its folder, and what is no path."""
    if not isinstance(name, str) or not name.isprintable():
        return True
    parts = Path(name).parts
    return Path(name).is_absolute() or ".." in parts or any(len(p.encode()) > 255 for p in parts)


def job_list_path(root: Path, output: Path) -> Path:
    """Return the path of the list of the job that declares ``output``."""
    name = output.relative_to(root)
    return root / JOB_LISTS / name.with_name(name.name + ".sha256")


def write_job_list(root: Path, output: Path, written: Iterable[Path]) -> None:
    """Write the list of one job: every file below ``root`` that it wrote and that is still there.

    Parameters
    ----------
    root : Path
        The run's folder.
    output : Path
        The declared output that the job writes last; it names the list.
    written : iterable of Path
        Files and folders, from `clusterscan.core.atomic.noting_writes`. A folder with a list of
        its own counts as that list alone.
    """
    files: set[Path] = set()
    for path in {*written, output}:
        # Its own list already holds the checksums of all its files, so the list alone is enough.
        if (path / CHECKSUMS).is_file():
            files.add(path / CHECKSUMS)
        elif path.is_dir():
            files.update(inner for inner in path.rglob("*") if inner.is_file())
        elif path.is_file():
            files.add(path)
    names = {f.relative_to(root).as_posix(): f for f in files if f.is_relative_to(root)}
    listed = {
        name: file_sha256(file)
        for name, file in names.items()
        if Path(name).parts[0] not in UNLISTED
    }
    with atomic_path(job_list_path(root, output)) as temporary:
        temporary.write_text(checksums_text(listed), encoding="utf-8")
