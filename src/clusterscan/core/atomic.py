"""Files appear whole or not at all."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

HOST = re.sub(r"[^\w-]", "-", platform.node())
"""This machine, in the names of temporary files: a number of a process means nothing without."""


_notes: list[list[Path]] = []


@contextmanager
def noting_writes() -> Iterator[list[Path]]:
    """Give a list to which each file or folder is added that this process puts in place.

    The list is of the process, not of the thread: a job's threads write for the same job.
    """
    written: list[Path] = []
    _notes.append(written)
    try:
        yield written
    finally:
        # By identity: two lists of the same paths are equal.
        _notes[:] = [notes for notes in _notes if notes is not written]


def temporary_name(path: Path) -> Path:
    """Return the name beside a file under which this process writes it."""
    return path.with_name(hidden_name(path.stem, path.suffix))


def hidden_name(stem: str, suffix: str = "") -> str:
    """Return a name that nothing but this process's half-written file has."""
    return f".{stem}.{os.getpid()}@{HOST}.part{suffix}"


@contextmanager
def atomic_path(path: str | os.PathLike) -> Iterator[Path]:
    """Give a temporary path that becomes ``path`` when the block ends without an error.

    The temporary file lies in the same folder (a rename across file systems is not atomic),
    keeps the suffix (writers choose the format by it) and is removed after an error.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_name(target)
    try:
        yield temporary
        with open(temporary, "rb") as handle:
            os.fsync(handle.fileno())  # a full disk shows here, before the old file is replaced
        os.replace(temporary, target)
        for written in _notes:
            written.append(target)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: str | os.PathLike) -> Iterator[Path]:
    """Give an empty temporary folder that takes the place of ``path`` when the block ends well.

    A process that is killed between the old folder's removal and the renaming leaves none.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_name(target)
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        yield temporary
        if target.exists():
            shutil.rmtree(target)
        os.replace(temporary, target)
        for written in _notes:
            written.append(target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def to_json(value: Any) -> str:
    """Return the one JSON text of a value: sorted keys, no NaN, a newline at the end."""
    return json.dumps(value, sort_keys=True, indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def write_json(path: str | os.PathLike, value: Any) -> None:
    """Write a value as JSON, atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(to_json(value), encoding="utf-8")


def write_json_if_changed(path: str | os.PathLike, value: Any) -> bool:
    """Write JSON only where the bytes differ, so an unchanged file keeps its time; say whether."""
    text = to_json(value)
    try:
        if Path(path).read_text(encoding="utf-8") == text:
            return False
    except FileNotFoundError:
        pass
    write_json(path, value)
    return True
