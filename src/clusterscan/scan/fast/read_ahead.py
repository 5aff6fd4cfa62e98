"""Read the tiles that come next while one is scanned, so that a GPU does not wait for a disk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Generic, TypeVar

Item = TypeVar("Item")


class ReadAhead(Generic[Item]):
    """Reads tiles by a function, a few of them on other threads before they are asked for.

    The next tiles are guessed from an order. A wrong guess costs one reading and changes nothing;
    a reading that fails raises its error when its tile is asked for, as without reading ahead.

    Parameters
    ----------
    read : callable
        Reads a tile's item; called on other threads.
    order : sequence of int
        The tiles, in roughly the order in which they will be asked for.
    ahead : int
        Number of tiles that are read ahead; 0: none, and no other thread is used.
    """

    def __init__(self, read: Callable[[int], Item], order: Sequence[int], ahead: int):
        self._read = read
        self._order = list(order)
        self._place = {tile: place for place, tile in enumerate(self._order)}
        self._ahead = ahead
        self._pool = ThreadPoolExecutor(ahead) if ahead else None
        self._coming: dict[int, Future[Item]] = {}

    def __enter__(self) -> ReadAhead[Item]:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._pool:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def __call__(self, tile: int) -> Item:
        """Return a tile's item."""
        if self._pool is None:
            return self._read(tile)
        mine = self._coming.pop(tile, None)
        place = self._place[tile] + 1
        following = self._order[place : place + self._ahead]
        # Wrong guesses are dropped, so memory never holds more tiles than are read ahead.
        for other in set(self._coming) - set(following):
            self._coming.pop(other).cancel()
        for other in following:
            if other not in self._coming:
                self._coming[other] = self._pool.submit(self._read, other)
        return mine.result() if mine else self._read(tile)
