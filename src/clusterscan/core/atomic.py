"""Write files whole or not at all, and remove the temporary files of killed jobs.

A file is written under a temporary name in its own folder and then renamed. The name holds the
machine and the process that writes, so that `sweep` never touches what another job is writing.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

HOST = re.sub(r"[^\w-]", "-", platform.node())
"""This machine, in the names of temporary files: a process number alone means nothing."""

# Must match the names of `hidden_name`. The leading dot keeps them out of every glob for products.
_TEMPORARY = re.compile(r"^\..*\.(?P<pid>\d+)@(?P<host>[\w-]*)\.part(\.\w+)?$")
_SECONDS_ELSEWHERE = 7 * 86400.0
"""Age at which another machine's temporary file is swept: no job writes one file for that long."""


_notes: list[list[Path]] = []


@contextmanager
def noting_writes() -> Iterator[list[Path]]:
    """Yield a list that collects every file and folder that this process puts in place.

    All threads of the process add to it, because they work for the same job.
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
    """Return a name that only this process gives to the file it is writing."""
    return f".{stem}.{os.getpid()}@{HOST}.part{suffix}"


@contextmanager
def atomic_path(path: str | os.PathLike) -> Iterator[Path]:
    """Yield a temporary path that becomes ``path`` if the block ends without an error.

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


def link_or_copy(source: Path, target: Path) -> None:
    """Give a file a second name, atomically, which keeps the bytes when the first is replaced."""
    with atomic_path(target) as temporary:
        temporary.unlink(missing_ok=True)
        try:
            os.link(source, temporary)
        except OSError:  # another file system, or one without links
            shutil.copyfile(source, temporary)


@contextmanager
def atomic_folder(path: str | os.PathLike) -> Iterator[Path]:
    """Yield an empty temporary folder that replaces ``path`` if the block ends without an error.

    A process that is killed between the removal of the old folder and the renaming leaves none.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_name(target)
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        yield temporary
        # A folder that holds files cannot be renamed over, so for a moment there is none of this
        # name: a job that dies here is simply repeated, while a mixture of old and new files would
        # be believed.
        if target.exists():
            shutil.rmtree(target)
        os.replace(temporary, target)
        for written in _notes:
            written.append(target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def to_json(value: Any) -> str:
    """Return a value as JSON: sorted keys, no NaN, a newline at the end; always the same text."""
    # Changes are noticed by comparing bytes, so the text must not depend on how a dict was filled.
    return json.dumps(value, sort_keys=True, indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def write_json(path: str | os.PathLike, value: Any) -> None:
    """Write a value as JSON, atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(to_json(value), encoding="utf-8")


def write_json_if_changed(path: str | os.PathLike, value: Any) -> bool:
    """Write JSON and return True; if the bytes are the same, keep the file and return False."""
    return write_text_if_changed(path, to_json(value))


def write_text_if_changed(path: str | os.PathLike, text: str) -> bool:
    """Write a text unless the file already holds it; return True if it was written."""
    try:
        # A newer time alone can make Snakemake run everything behind a file, so equal text stays.
        if Path(path).read_bytes() == text.encode():
            return False
    except FileNotFoundError:
        pass
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return True


def sweep(root: Path) -> int:
    """Remove the temporary files and folders of dead jobs below a folder; return their number."""
    count = 0
    for folder, inner, names in os.walk(root):
        for name in names:
            if _is_orphan(Path(folder, name)):
                Path(folder, name).unlink(missing_ok=True)
                count += 1
        for name in [name for name in inner if _is_orphan(Path(folder, name))]:
            shutil.rmtree(Path(folder, name), ignore_errors=True)
            inner.remove(name)  # do not walk into it
            count += 1
    return count


def _is_orphan(path: Path) -> bool:
    """Return True if a path is a temporary file and this machine knows that its writer is dead."""
    match = _TEMPORARY.match(path.name)
    if match is None:
        return False
    # Processes of another machine (on a shared disk) cannot be looked up: their files go by age.
    if match["host"] == HOST:
        try:
            os.kill(int(match["pid"]), 0)  # signal 0 only asks if the process exists
        except ProcessLookupError:
            return True
        # The process exists but is another user's, or the number is none.
        except (PermissionError, OverflowError):
            return False
        return False
    try:
        return time.time() - path.stat().st_mtime > _SECONDS_ELSEWHERE
    except FileNotFoundError:
        return False
