"""Progress of a running job, written to one small file that `clusterscan run` shows.

A job may run on another machine, so it writes to the run's folder and never to a terminal.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

_SECONDS_BETWEEN_WRITES = 0.5


class Progress:
    """Write the progress of a job to a file; do nothing if no file is given."""

    def __init__(self, path: str | os.PathLike | None, title: str):
        self._path = Path(path) if path else None
        self._title = title
        self._last = 0.0

    def __call__(self, done: float, total: float, text: str = "") -> None:
        """Report that ``done`` of ``total`` is finished."""
        now = time.monotonic()
        if self._path is None or (now - self._last < _SECONDS_BETWEEN_WRITES and done < total):
            return
        self._last = now
        content = {"title": self._title, "done": done, "total": total, "text": text}
        # Not `atomic_path`: waiting for the disk twice a second would slow jobs, and a lost report
        # is no loss.
        temporary = self._path.with_suffix(".part")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_text(json.dumps(content), encoding="utf-8")
            os.replace(temporary, self._path)
        except OSError:
            pass  # progress is a courtesy: a full disk is reported by what needs the disk

    def close(self) -> None:
        """Remove the file: the job ended."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)


SILENT = Progress(None, "")
"""Reports nothing; the default of functions that report their progress."""
