"""Download many files: a few workers share one transport and report their progress."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator

from clusterscan.config.execution import DownloadSettings
from clusterscan.core.progress import Progress
from clusterscan.fetch.download.client import Client
from clusterscan.fetch.download.store import Item, Outcome, Store
from clusterscan.fetch.download.transport import Transport

_MOST_COMPARED_BYTES = 1_000_000_000
_REPORT_INTERVAL_S = 0.2


class Meter:
    """Counts files and bytes, and reports the rate and the time left."""

    def __init__(self, total: int, progress: Progress | None, noun: str):
        self._total = total
        self._progress = progress
        self._noun = noun
        self._started = time.monotonic()
        self._next = self._started
        self._bytes = 0
        self._done = 0

    def received(self, count: int) -> None:
        """Count bytes."""
        self._bytes += count
        self._report()

    def finished_one(self) -> None:
        """Count a file."""
        self._done += 1
        self._report()

    def text(self, elapsed_s: float) -> str:
        """Return the progress as text."""
        rate = self._bytes / max(elapsed_s, 1e-9) / 1e6
        left = elapsed_s * (self._total - self._done) / self._done if self._done else None
        wait = "" if left is None else f", {_duration(left)} left"
        return f"{self._done} of {self._total} {self._noun}, {rate:.1f} MB/s{wait}"

    def _report(self) -> None:
        now = time.monotonic()  # called with every piece of every file, so kept cheap
        if self._progress is None or (now < self._next and self._done < self._total):
            return
        self._next = now + _REPORT_INTERVAL_S
        self._progress(self._done, max(self._total, 1), self.text(now - self._started))


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"


def download_all(
    items: Iterable[Item],
    store: Store,
    settings: DownloadSettings,
    progress: Progress | None = None,
) -> dict[str, Outcome]:
    """Download files into the store.

    Parameters
    ----------
    items : iterable of Item
        The files; names are distinct.
    store : Store
        Destination.
    settings : DownloadSettings
        Limits, retries, timeouts.
    progress : Progress, optional
        Receives the rate and the time left.

    Returns
    -------
    dict of str to Outcome
        Outcome by item name. A fault of one file never stops the others.
    """
    items = list(items)
    if settings.offline:
        return {item.name: _from_cache(item, store) for item in items}
    meter = Meter(len(items), progress, "files")
    found = _run(items, store, settings, meter, lambda client: client.get)
    return {item.name: found[item.name] for item in items}


def download_checked(
    items: Iterable[Item],
    store: Store,
    settings: DownloadSettings,
    progress: Progress | None = None,
) -> dict[str, Outcome]:
    """Download files into the store, and replace stored files that were damaged on disk.

    Files of up to 1 GB are compared with the checksum noted when they arrived. A damaged one is
    removed and downloaded again.
    """
    items = list(items)
    found = download_all(items, store, settings, progress)
    damaged = [item for item in items if found[item.name].path and _is_damaged(item, store)]
    for item in damaged:
        store.entry(item.url).forget()
    return {**found, **download_all(damaged, store, settings, progress)}


def _is_damaged(item: Item, store: Store) -> bool:
    entry = store.entry(item.url)
    record = entry.record()
    if record is None or record.size > _MOST_COMPARED_BYTES:
        return False
    return not record.is_of(entry.path)


def probe_all(
    items: Iterable[Item],
    store: Store,
    settings: DownloadSettings,
    progress: Progress | None = None,
) -> dict[str, Outcome]:
    """Ask which versions of files the server has: one request each, no file is transferred."""
    items = list(items)
    meter = Meter(len(items), progress, "files probed")
    return _run(items, store, settings, meter, lambda client: client.probe)


def _from_cache(item: Item, store: Store) -> Outcome:
    kept = store.entry(item.url).outcome(None)
    return kept or Outcome("failed", None, f"{item.url}: offline, and not in the cache")


def _run(
    items: list[Item],
    store: Store,
    settings: DownloadSettings,
    meter: Meter,
    act: Callable[[Client], Callable[[Item], Awaitable[Outcome]]],
) -> dict[str, Outcome]:
    if not items:
        return {}
    outcomes: dict[str, Outcome] = {}

    async def work(client: Client, queue: Iterator[Item]) -> None:
        for item in queue:
            outcomes[item.name] = await act(client)(item)
            meter.finished_one()

    async def run() -> None:
        # All workers take from one iterator, so a slow file holds up one worker only.
        async with Transport(settings) as transport:
            client = Client(transport, store, settings, meter.received)
            queue = iter(items)
            async with asyncio.TaskGroup() as group:
                for _ in range(min(len(items), settings.connections_per_host)):
                    group.create_task(work(client, queue))

    try:
        asyncio.run(run())
    except ExceptionGroup as group:
        raise group.exceptions[0] from None  # show a full disk as what it is
    return outcomes
