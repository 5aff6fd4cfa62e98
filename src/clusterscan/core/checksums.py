"""The published folder's list of checksums, in the form that ``sha256sum -c`` reads."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

FOLDER = "published"
CHECKSUMS = "SHA256SUMS"


def checksums_text(sha256s: Mapping[str, str]) -> str:
    """Return the list: a line of sha256, two blanks and path for each file, sorted by path."""
    return "".join(f"{sha256}  {name}\n" for name, sha256 in sorted(sha256s.items()))


def read_checksums(path: Path) -> dict[str, str]:
    """Return the sha256 of each file that a list in the form of sha256sum names.

    Raises
    ------
    ValueError
        If a line is not of that form, or names a file outside of the list's folder.
    OSError
        If the list cannot be read.
    """
    found = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        sha256, _, name = line.partition("  ")
        outside = Path(name).is_absolute() or ".." in Path(name).parts
        if len(sha256) != 64 or not name or outside:
            raise ValueError(f"{path}: line {number} is not a sha256 and a file of this folder")
        found[name] = sha256
    return found
