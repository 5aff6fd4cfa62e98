"""One file over http(s): conditional, resumed, checked, and only then put in its place.

Built on libcurl (connections, limits by host, streaming) and tenacity (which waits and stops).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import BinaryIO, TypeVar
from urllib.parse import urlsplit

import tenacity

from clusterscan.config.execution import DownloadSettings
from clusterscan.fetch.download.faults import (
    AbsentError,
    DownloadError,
    PermanentError,
    TransientError,
)
from clusterscan.fetch.download.host import GivenUpError, Host
from clusterscan.fetch.download.item import Item, Outcome, Version
from clusterscan.fetch.download.store import Entry, Record, Store, locked_part
from clusterscan.fetch.download.transfer import Refusal, Transfer
from clusterscan.fetch.download.transport import Receive, Response, Transport

_LOCK_POLL_S = 0.2

T = TypeVar("T")


class Client:
    """Downloads files into a store."""

    def __init__(
        self,
        transport: Transport,
        store: Store,
        settings: DownloadSettings,
        received: Callable[[int], None] = lambda count: None,
    ):
        self._transport = transport
        self._store = store
        self._settings = settings
        self._received = received
        self._hosts: dict[str, Host] = {}

    async def get(self, item: Item) -> Outcome:
        """Bring one file into the store; faults end as its outcome."""
        entry = self._store.entry(item.url)
        known = entry.record()
        if kept := entry.as_outcome(known, item.token):
            return kept
        try:
            async with asyncio.timeout(self._settings.deadline_s):
                return await self._get_locked(item, entry, known)
        except AbsentError as fault:
            return entry.note_absent(item, str(fault))
        except DownloadError as fault:
            return Outcome("failed", None, f"{item.url}: {fault}")
        except TimeoutError:
            words = f"not finished after deadline_s = {self._settings.deadline_s:g} s"
            self._host(item.url).failed(words)
            return Outcome("failed", None, f"{item.url}: {words}")

    async def probe(self, item: Item) -> Outcome:
        """Ask which version of a file the server has, without its bytes."""
        try:
            async with asyncio.timeout(self._settings.deadline_s):
                version = await self._with_retries(item.url, partial(self._version, item.url))
            return Outcome("ok", None, "", version)
        except AbsentError as fault:
            return Outcome("absent", None, str(fault))
        except DownloadError as fault:
            return Outcome("failed", None, f"{item.url}: {fault}")
        except TimeoutError:
            words = f"no answer after deadline_s = {self._settings.deadline_s:g} s"
            self._host(item.url).failed(words)
            return Outcome("failed", None, f"{item.url}: {words}")

    def _host(self, url: str) -> Host:
        parts = urlsplit(url)
        name = f"{parts.scheme}://{parts.netloc}"
        if name not in self._hosts:
            self._hosts[name] = Host(name, self._settings.give_up_after)
        return self._hosts[name]

    async def _get_locked(self, item: Item, entry: Entry, known: Record | None) -> Outcome:
        while True:
            with locked_part(entry) as handle:
                if handle is not None:
                    transfer = partial(self._transfer, item, entry, handle, known)
                    return await self._with_retries(item.url, transfer)
            await asyncio.sleep(_LOCK_POLL_S)
            # The job that held the lock may have fetched it.
            known = entry.record()
            if kept := entry.as_outcome(known, item.token):
                return kept

    async def _transfer(
        self, item: Item, entry: Entry, part: BinaryIO, known: Record | None
    ) -> Outcome:
        transfer = Transfer(item, entry, part, known, self._settings, self._received)
        try:
            response = await self._transport.get(item.url, transfer.begin, transfer.conditions)
        except TransientError:
            transfer.broke_off()
            raise
        return transfer.finish(response)

    async def _version(self, url: str) -> Version:
        response = await self._transport.head(url)
        if response.status in (405, 501):  # a server without HEAD
            return await self._version_by_get(url)
        if response.status != 200:
            raise Refusal.of(response, self._settings).fault()
        return Version.of(response.headers)

    async def _version_by_get(self, url: str) -> Version:
        """Ask for the file, and leave after the head."""
        refusals: list[Refusal] = []

        def leave_or_refuse(response: Response) -> Receive:
            if response.status == 200:
                raise _LeftError(Version.of(response.headers))
            refusals.append(Refusal.of(response, self._settings))
            return refusals[-1].take

        try:
            await self._transport.get(url, leave_or_refuse)
        except _LeftError as left:
            return left.version
        except TransientError:
            if not refusals:
                raise
        raise refusals[-1].fault()

    async def _with_retries(self, url: str, attempt: Callable[[], Awaitable[T]]) -> T:
        host = self._host(url)
        try:
            result = await self._repeated(partial(self._once, host, attempt))
        except AbsentError:
            host.answered()
            raise
        except GivenUpError:
            raise
        except DownloadError as fault:
            host.failed(str(fault))
            raise
        host.answered()
        return result

    async def _repeated(self, attempt: Callable[[], Awaitable[T]]) -> T:
        settings = self._settings
        try:
            return await attempt()  # as a rule the last: spares tenacity's bookkeeping
        except TransientError as error:
            faults = [error]

        async def again() -> T:
            if faults:
                raise faults.pop()
            return await attempt()

        return await tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception_type(TransientError),
            stop=tenacity.stop_after_attempt(settings.retries + 1),
            # Full jitter: clients that failed together do not come back together.
            wait=tenacity.wait_random_exponential(
                multiplier=settings.backoff_s, max=settings.backoff_max_s
            ),
            reraise=True,
        )(again)

    async def _once(self, host: Host, attempt: Callable[[], Awaitable[T]]) -> T:
        await host.admit()
        try:
            return await attempt()
        except TransientError as fault:
            if fault.retry_after_s > self._settings.deadline_s:
                raise PermanentError(
                    f"{fault} (asks to wait {fault.retry_after_s:.0f} s, longer than deadline_s)"
                ) from fault
            host.ask_to_wait(fault.retry_after_s)
            raise


class _LeftError(Exception):
    """The head is all that was asked for."""

    def __init__(self, version: Version):
        super().__init__()
        self.version = version
