"""What one server has asked of us: to wait, or by its silence to be left alone."""

from __future__ import annotations

import asyncio
import time

from clusterscan.fetch.download.faults import PermanentError


class GivenUpError(PermanentError):
    """The server is no longer asked."""


class Host:
    """The common knowledge of all requests to one server.

    Without it each of many requests would find out for itself that the server is overloaded or
    down, each with all its retries: a request storm.
    """

    def __init__(self, name: str, give_up_after: int):
        self._name = name
        self._give_up_after = give_up_after
        self._not_before = 0.0
        self._failed_in_a_row = 0
        self._last_words = ""

    async def admit(self) -> None:
        """Wait until the server may be asked.

        Raises
        ------
        GivenUpError
            If it was given up.
        """
        while True:
            if self._failed_in_a_row >= self._give_up_after:
                raise GivenUpError(
                    f"not asked: {self._failed_in_a_row} files in a row failed at {self._name}, "
                    f"the last with: {self._last_words}"
                )
            wait = self._not_before - time.monotonic()
            if wait <= 0:
                return
            await asyncio.sleep(wait)

    def ask_to_wait(self, seconds: float) -> None:
        """Let nobody ask for some time (Retry-After)."""
        self._not_before = max(self._not_before, time.monotonic() + seconds)

    def answered(self) -> None:
        """Note that it works: it gave a file, or said that there is none."""
        self._failed_in_a_row = 0

    def failed(self, words: str) -> None:
        """Note that a file could not be had with all retries."""
        self._failed_in_a_row += 1
        self._last_words = words
