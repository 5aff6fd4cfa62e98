"""Forecast the time that a run still takes, from the cost of its jobs so far."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

# Seconds a job of each rule took on two cores with the shipped configuration; only where this
# run and earlier ones have not yet shown better.
_FIRST_GUESS_S = {
    "fetch": 40.0,
    "fetch_catalogue": 4.0,
    "known": 3.0,
    "preprocess": 12.0,
    "sample": 8.0,
    "train": 90.0,
    "scan": 25.0,
    "detect": 4.0,
    "merge": 5.0,
    "validate": 10.0,
    "probe": 30.0,
    "selection": 15.0,
    "publish": 30.0,
    "examples": 10.0,
    "experiment": 60.0,
    "extra": 60.0,
    "report": 20.0,
}


class Forecast:
    """Expected seconds to the end of a run.

    Parameters
    ----------
    counts : mapping of str to int
        Jobs to run, by rule.
    cores : int
        Jobs that can run side by side, at most.
    earlier_s : mapping of str to float, optional
        Mean seconds of each rule's jobs in earlier runs.
    """

    def __init__(
        self, counts: Mapping[str, int], cores: int, earlier_s: Mapping[str, float] | None = None
    ):
        self._left = Counter(counts)
        self._cores = cores
        self._guess = {**_FIRST_GUESS_S, **(earlier_s or {})}
        self._seen: dict[str, list[float]] = {}

    def finished(self, rule: str, seconds: float) -> None:
        """Record the time of a finished job."""
        self._left[rule] -= 1
        self._seen.setdefault(rule, []).append(seconds)

    def seconds_left(self, running: Mapping[str, list[float]]) -> float:
        """Return the expected seconds left, given how long each rule's running jobs have run."""
        work = 0.0
        for rule, count in self._left.items():
            mean = self._mean(rule)
            work += max(count, 0) * mean
            # A job's past is not ahead of it, but a late job is not done yet either.
            work -= sum(min(spent, 0.9 * mean) for spent in running.get(rule, []))
        # The last jobs cannot fill all cores.
        side_by_side = max(1, min(self._cores, sum(self._left.values())))
        return max(work, 0.0) / side_by_side

    def _mean(self, rule: str) -> float:
        seen = self._seen.get(rule, [])
        guess = self._guess.get(rule, 5.0)
        # The guess counts as one job: the first job of a rule may be an odd one.
        return (sum(seen) + guess) / (len(seen) + 1)
