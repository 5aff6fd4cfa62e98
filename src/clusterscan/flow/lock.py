"""One process at a time changes a run's folder."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from clusterscan.core.errors import ClusterscanError

#: Names the descriptor of a lock that a parent process holds for this one.
INHERITED = "CLUSTERSCAN_LOCK"


def inherits_lock(root: Path) -> bool:
    """Return True if a parent process holds the folder's lock and passed it to this process."""
    try:
        # By device and inode: a lock file that was removed and made again is another lock.
        held, there = os.fstat(int(os.environ[INHERITED])), os.stat(root / ".lock")
    except (KeyError, ValueError, OSError):
        return False
    return (held.st_dev, held.st_ino) == (there.st_dev, there.st_ino)


@contextmanager
def hold_lock(root: Path) -> Iterator[int]:
    """Hold the lock of a run's folder, and yield the lock's file descriptor.

    A child process that inherits the descriptor keeps the lock. The operating system drops the
    lock when the last of these processes ends, however it ends: a killed run never blocks the
    next one.

    Raises
    ------
    ClusterscanError
        If another process holds the lock.
    """
    root.mkdir(parents=True, exist_ok=True)
    # The file stays when the lock is dropped: removing it would let two processes lock two files.
    descriptor = os.open(root / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise ClusterscanError(
            f"another run is at work in {root}; wait for it, or end it (pgrep -f snakemake)"
        ) from error
    try:
        # Closing drops the lock with its last holder. LOCK_UN would take it from the children too.
        yield descriptor
    finally:
        os.close(descriptor)
