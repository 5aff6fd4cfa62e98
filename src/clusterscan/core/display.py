"""The progress line: running jobs, their progress, and the expected time to the end."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import TextIO

_SECONDS_BETWEEN_LINES = 15.0  # where the output is a file: a line now and then


class Display:
    """One line that is drawn again and again on a terminal, or a line now and then in a log."""

    def __init__(self, stream: TextIO, progress_folder: Path):
        self._stream = stream
        self._folder = progress_folder
        self._live = stream.isatty()
        self._last = -_SECONDS_BETWEEN_LINES
        self._started = time.monotonic()

    def show(self, done: int, total: int, seconds_left: float | None, *, now: bool = False) -> None:
        """Draw the line, unless it was drawn a moment ago in a log."""
        elapsed = time.monotonic() - self._started
        if not self._live and not now and elapsed - self._last < _SECONDS_BETWEEN_LINES:
            return
        self._last = elapsed
        left = "" if seconds_left is None else f", about {clock(seconds_left)} left"
        text = f"{bar(done, total)} {done}/{total} jobs, {clock(elapsed)} gone{left} | "
        text += "; ".join(running_jobs(self._folder)) or "..."
        if self._live:
            # Back to the start of the line and erase it (ANSI). A line that wraps could not be
            # erased.
            width = shutil.get_terminal_size().columns - 1
            self._stream.write("\r\033[K" + text[:width])
        else:
            self._stream.write(text + "\n")
        self._stream.flush()

    def clear(self) -> None:
        """Remove the line, so that other text can follow."""
        if self._live:
            self._stream.write("\r\033[K")
            self._stream.flush()


def bar(done: int, total: int, width: int = 20) -> str:
    """Return a bar such as ``[#####...............]``."""
    filled = width * done // max(total, 1)
    return "[" + "#" * filled + "." * (width - filled) + "]"


def clock(seconds: float) -> str:
    """Return minutes and seconds (hours where needed), such as 04:20."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes:02d}:{rest:02d}"


def running_jobs(folder: Path) -> list[str]:
    """Return the title and progress of each running job, such as ``train act/baseline 40 %``."""
    texts = []
    for path in sorted(folder.glob("*.json")):
        try:
            job = json.loads(path.read_text(encoding="utf-8"))
            percent = f"{100 * job['done'] / max(job['total'], 1e-9):.0f} %"
            texts.append(" ".join(x for x in (job["title"], percent, job["text"]) if x))
        except (OSError, ValueError, KeyError):
            continue  # being written or just removed: the next look sees it
    return texts
