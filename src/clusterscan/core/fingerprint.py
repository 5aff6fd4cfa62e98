"""Hashes of values and files, by which products name their inputs."""

from __future__ import annotations

import hashlib
import json
import os
from typing import Any


def fingerprint(value: Any) -> str:
    """Return the sha256 of a JSON-able value's canonical text (key order does not matter)."""
    # One value, one text: sorted keys and no blanks. NaN is refused, since it never equals itself.
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def file_sha256(path: str | os.PathLike) -> str:
    """Return the sha256 of a file's bytes."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
