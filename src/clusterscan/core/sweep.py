"""Remove what killed jobs left half written.

A file is written under a temporary name and then renamed (`provenance.atomic`); a job that is
killed in between leaves the temporary one. Its name tells machine and process, so that a file
which another job is just writing is never touched.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from pathlib import Path

from clusterscan.core.atomic import HOST

_NAME = re.compile(r"^\..*\.(?P<pid>\d+)@(?P<host>[\w-]*)\.part(\.\w+)?$")
_SECONDS_ELSEWHERE = 7 * 86400.0
"""How old another machine's file must be: no job writes one file for that long."""


def sweep(root: Path) -> int:
    """Remove orphaned temporary files and folders below a folder; return how many there were."""
    count = 0
    for folder, inner, names in os.walk(root):
        for name in names:
            if name.startswith(".") and _is_orphan(Path(folder, name)):
                Path(folder, name).unlink(missing_ok=True)
                count += 1
        for name in [name for name in inner if name.startswith(".")]:
            if _is_orphan(Path(folder, name)):
                shutil.rmtree(Path(folder, name), ignore_errors=True)
                inner.remove(name)
                count += 1
    return count


def _is_orphan(path: Path) -> bool:
    match = _NAME.match(path.name)
    if match is None:
        return False
    if match["host"] == HOST:
        return not _is_alive(int(match["pid"]))
    try:
        return time.time() - path.stat().st_mtime > _SECONDS_ELSEWHERE
    except FileNotFoundError:
        return False


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
