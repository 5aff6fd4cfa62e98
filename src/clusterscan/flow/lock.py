"""One process at a time changes a run's folder."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from clusterscan.core.errors import ClusterscanError

#: Names the descriptor of a lock that a parent process holds for this one.
INHERITED = "CLUSTERSCAN_LOCK"

#: How long a run waits for the last jobs of an earlier one, which may be about to end.
SECONDS_FOR_JOBS = 5.0


def inherits_lock(root: Path) -> bool:
    """Return True if a parent process holds the folder's lock and passed it to this process."""
    try:
        held, there = os.fstat(int(os.environ[INHERITED])), os.stat(root / ".lock")
    except (KeyError, ValueError, OSError):
        return False
    return (held.st_dev, held.st_ino) == (there.st_dev, there.st_ino)


@contextmanager
def hold_lock(root: Path) -> Iterator[int]:
    """Hold the lock of a run's folder, and yield the lock's file descriptor.

    A child process that inherits the descriptor keeps the lock. The operating system drops the
    lock when the last of these processes ends, however it ends: a killed run never blocks the
    next one. Its jobs may outlive it, though; see `job_at_work`.

    Raises
    ------
    ClusterscanError
        If another process holds the lock, a job of an earlier run is still at work, or the file
        system has no locks.
    """
    root.mkdir(parents=True, exist_ok=True)
    # The file stays when the lock is dropped: removing it would let two processes lock two files.
    descriptor = os.open(root / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ClusterscanError(
                f"another run is at work in {root}; wait for it, or end it (pgrep -f snakemake)"
            ) from error
        except OSError as error:
            raise ClusterscanError(
                f"{root}: its file system gives no locks ({error.strerror}), so two runs could "
                "mix; name an `output` on another disk, or mount this one with locks (flock)"
            ) from error
        _wait_for_jobs(root)
        # Closing drops the lock with its last holder. LOCK_UN would take it from the children too.
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def job_at_work(root: Path) -> Iterator[None]:
    """Have the next run know that a job is at work in a run's folder.

    Jobs go on when Snakemake is killed. Such a job has the settings of the killed run, and could
    replace what a new run with other settings has just written.
    """
    try:
        descriptor = os.open(root / ".jobs", os.O_RDWR | os.O_CREAT, 0o644)
    except OSError:  # what the job itself writes says what is wrong with the folder
        yield
        return
    try:
        _try_lock(descriptor, fcntl.LOCK_SH)
        yield
    finally:
        os.close(descriptor)


def _wait_for_jobs(root: Path) -> None:
    """Return once no job of an earlier run is at work.

    Raises
    ------
    ClusterscanError
        If one is still at work after some seconds.
    """
    if not (root / ".jobs").is_file():
        return
    descriptor = os.open(root / ".jobs", os.O_RDWR)
    give_up = time.monotonic() + SECONDS_FOR_JOBS
    try:
        while not _try_lock(descriptor, fcntl.LOCK_EX):
            if time.monotonic() > give_up:
                raise ClusterscanError(
                    f"a job of an earlier run, which was killed, is still at work in {root}; wait "
                    "for it, or end it (pgrep -f workflow/scripts)"
                )
            time.sleep(0.1)
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int, kind: int) -> bool:
    """Return False if another process holds the lock; a system without locks holds none."""
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True
