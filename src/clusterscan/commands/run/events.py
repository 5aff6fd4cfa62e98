"""Read the events of jobs from Snakemake's log lines."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class JobCounts:
    """The table of jobs to run, by rule."""

    counts: dict[str, int]


@dataclass(frozen=True)
class JobStarted:
    """A job began."""

    rule: str
    jobid: int


@dataclass(frozen=True)
class JobFinished:
    """A job ended well."""

    jobid: int


@dataclass(frozen=True)
class NothingToDo:
    """All products are up to date."""


Event = JobCounts | JobStarted | JobFinished | NothingToDo

# Snakemake has no stable interface for following jobs, so its log is read. A line that is not
# understood makes the progress line less exact and does no other harm.
_RULE = re.compile(r"^(?:local)?rule (\w+):$")
_JOBID = re.compile(r"^\s+jobid: (\d+)$")
_FINISHED = re.compile(r"^Finished jobid: (\d+)")
_COUNT = re.compile(r"^(\w+)\s+(\d+)$")


class EventReader:
    """Turn log lines into events, one line at a time."""

    def __init__(self) -> None:
        self._rule: str | None = None
        self._counts: dict[str, int] | None = None

    def read(self, line: str) -> Event | None:
        """Return the event a line completes, if any."""
        line = line.rstrip()
        if line.startswith("Nothing to be done"):
            return NothingToDo()
        if line == "Job stats:":
            self._counts = {}
            return None
        if self._counts is not None:
            return self._read_count(line)
        if match := _RULE.match(line):
            self._rule = match[1]
        # A job's rule and its number are on two lines, with others between them.
        elif self._rule and (match := _JOBID.match(line)):
            rule, self._rule = self._rule, None
            return JobStarted(rule, int(match[1]))
        elif match := _FINISHED.match(line):
            return JobFinished(int(match[1]))
        return None

    def _read_count(self, line: str) -> Event | None:
        assert self._counts is not None
        match = _COUNT.match(line)
        if match and match[1] != "total":
            self._counts[match[1]] = int(match[2])
        elif match:
            counts, self._counts = self._counts, None
            return JobCounts(counts)
        return None
