"""One file over http(s): ask for it, resume it, check it, and only then put it in its place.

`Transfer` turns one response into a finished file or a fault, `Host` remembers what a server asked
of all requests, and `Client` repeats attempts (tenacity decides when and how often).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import BinaryIO, TypeVar
from urllib.parse import urlsplit

import tenacity
import xxhash

from clusterscan.config.execution import DownloadSettings
from clusterscan.fetch.download.checks import (
    AbsentError,
    ContentError,
    DownloadError,
    PermanentError,
    TransientError,
    check_digests,
    fault_of,
    server_words,
    stated_digests,
)
from clusterscan.fetch.download.store import (
    Entry,
    Item,
    Outcome,
    Record,
    Store,
    Version,
    file_checksum,
    locked_part,
    validator,
)
from clusterscan.fetch.download.transport import Receive, Response, Transport

_LOCK_POLL_S = 0.2

T = TypeVar("T")


class Client:
    """Downloads files into a store. One client serves all workers of a batch."""

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
        """Bring one file into the store; faults become its outcome."""
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
            words = f"not finished within deadline_s = {self._settings.deadline_s:g} s"
            self._host(item.url).failed(words)
            return Outcome("failed", None, f"{item.url}: {words}")

    async def probe(self, item: Item) -> Outcome:
        """Ask which version of a file the server has, without downloading it."""
        try:
            async with asyncio.timeout(self._settings.deadline_s):
                version = await self._with_retries(item.url, partial(self._version, item.url))
            return Outcome("ok", None, "", version)
        except AbsentError as fault:
            return Outcome("absent", None, str(fault))
        except DownloadError as fault:
            return Outcome("failed", None, f"{item.url}: {fault}")
        except TimeoutError:
            words = f"no response within deadline_s = {self._settings.deadline_s:g} s"
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
            # The job that held the lock may have fetched the file.
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
        if response.status in (405, 501):  # the server does not support HEAD
            return await self._version_by_get(url)
        if response.status != 200:
            raise Refusal.of(response, self._settings).fault()
        return Version.of(response.headers)

    async def _version_by_get(self, url: str) -> Version:
        """Request the file and hang up after the header."""
        refusals: list[Refusal] = []

        def hang_up_or_collect(response: Response) -> Receive:
            if response.status == 200:
                raise _LeftError(Version.of(response.headers))
            refusals.append(Refusal.of(response, self._settings))
            return refusals[-1].take

        try:
            await self._transport.get(url, hang_up_or_collect)
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
        except AbsentError:  # "there is no such file" is a proper answer of a working server
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
            return await attempt()  # nearly always succeeds; skips the overhead of tenacity
        except TransientError as error:
            faults = [error]

        async def again() -> T:
            if faults:
                raise faults.pop()
            return await attempt()

        return await tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception_type(TransientError),
            stop=tenacity.stop_after_attempt(settings.retries + 1),
            # Full jitter: clients that failed together must not retry together.
            wait=tenacity.wait_random_exponential(
                multiplier=settings.backoff_s, max=settings.backoff_max_s
            ),
            reraise=True,
        )(again)

    async def _once(self, host: Host, attempt: Callable[[], Awaitable[T]]) -> T:
        await host.admit()  # every attempt, so that a Retry-After stops retries, too
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
    """Raised to end a transfer after the header."""

    def __init__(self, version: Version):
        super().__init__()
        self.version = version


_WORTH_RESUMING = 1_250_000  # bytes; above the size of a 512 px HiPS tile (1.05 MB)
_ENOUGH_OF_A_PAGE = 16_384
_COMPRESSED = frozenset({"gzip", "x-gzip", "compress", "x-compress", "deflate", "br", "zstd"})
_COMPRESSED_NAMES = (".gz", ".tgz", ".z", ".bz2", ".xz", ".zst", ".br")


class Refusal:
    """Collects the body of a response that is not the file, and turns it into a fault."""

    def __init__(self, fault: Callable[[bytes], DownloadError]):
        self._fault = fault
        self._page = b""

    @classmethod
    def of(cls, response: Response, settings: DownloadSettings) -> Refusal:
        """Build the refusal for a response with an error status."""
        retry_after = response.headers.get("retry-after", "")
        return cls(
            lambda page: fault_of(
                response.status, response.reason, page, retry_after, settings.absent_status
            )
        )

    def take(self, piece: bytes) -> None:
        """Collect a piece; read short pages to the end, so that the connection can be reused."""
        self._page += piece
        if len(self._page) > _ENOUGH_OF_A_PAGE:
            raise self.fault()

    def fault(self) -> DownloadError:
        """Build the fault, quoting the server's page."""
        return self._fault(self._page[:4000])


class Transfer:
    """One response to a request for one file, and the locked part file that it fills.

    Three kinds of request are made. If a part of a known version exists, the rest is requested with
    ``Range`` and ``If-Range``; a server that has another version by now sends the whole file (200)
    instead of the rest (206), so bytes of two versions are never joined. If the whole file exists,
    the request is conditional and 304 means unchanged. Otherwise the whole file is requested.
    """

    def __init__(
        self,
        item: Item,
        entry: Entry,
        part: BinaryIO,
        known: Record | None,
        settings: DownloadSettings,
        received: Callable[[int], None],
    ):
        self._item, self._entry, self._part, self._known = item, entry, part, known
        self._settings = settings
        self._received = received
        self._size = part.tell()
        self._resume = entry.resumable(item, self._size)
        self._refusal: Refusal | None = None
        self._version: Version | None = None
        self._resumed = False
        self._checksum = xxhash.xxh3_128()

    @property
    def conditions(self) -> list[str]:
        """Headers of a resumed or conditional request."""
        if self._resume is not None:
            start, version = self._resume
            return [f"Range: bytes={start}-", f"If-Range: {validator(version)}"]
        known = self._known
        if known is None or known.status != "ok":
            return []
        if known.etag:
            return [f"If-None-Match: {known.etag}"]
        return [f"If-Modified-Since: {known.last_modified}"] if known.last_modified else []

    def begin(self, response: Response) -> Receive:
        """Examine the response's header, and return the function that takes its body."""
        if response.status == 416:  # range not satisfiable: the file has become shorter
            self._restart()
            raise TransientError("the server refuses to resume the transfer")
        if response.status not in (200, 206):
            self._refusal = Refusal.of(response, self._settings)
            return self._refusal.take
        version = Version.of(response.headers)
        if response.status == 206:
            version = self._go_on(response)
        else:
            self._restart()
        # Servers under maintenance answer 200 with a web page.
        if "html" in response.headers.get("content-type", ""):
            self._refusal = Refusal(_not_the_file)
            return self._refusal.take
        self._refuse_compressed(response)
        limit = self._settings.max_file_bytes
        if (version.length or 0) > limit:
            raise PermanentError(f"{version.length} bytes, more than max_file_bytes = {limit}")
        self._version = version
        # Written before the bytes arrive, so that the part of a killed job can be resumed, too.
        if (version.length or 0) > _WORTH_RESUMING:
            self._entry.note_part(self._item, version)
        return self._take

    def broke_off(self) -> None:
        """Keep the bytes received so far, so that the next request resumes.

        Raises
        ------
        DownloadError
            If an error page broke off: its status is known, so the fault is, too.
        """
        if self._refusal is not None:
            raise self._refusal.fault()
        if self._version is not None:
            self._part.flush()
            self._entry.note_part(self._item, self._version)

    def finish(self, response: Response) -> Outcome:
        """Check the whole file and move it into place."""
        # A 304 counts only if this request was conditional; otherwise it says nothing.
        asked_for_changes = self._resume is None and bool(self.conditions)
        if response.status == 304 and self._known is not None and asked_for_changes:
            self._entry.drop_part()
            return self._entry.renew(self._item, self._known)
        if self._refusal is not None:
            raise self._refusal.fault()
        assert self._version is not None
        self._part.flush()
        part = self._entry.part
        try:
            self._check(part, stated_digests(response.headers) if response.status == 200 else {})
        except ContentError:
            self._restart()
            raise
        # The running checksum misses the bytes that an earlier transfer wrote.
        checksum = file_checksum(part) if self._resumed else self._checksum.hexdigest()
        return self._entry.keep(self._item, self._version, self._size, checksum)

    def _go_on(self, response: Response) -> Version:
        if self._resume is None or not _continues(response, *self._resume):
            self._restart()
            raise ContentError("the server sent another byte range than requested")
        self._resumed = True
        return self._resume[1]

    def _refuse_compressed(self, response: Response) -> None:
        encoding = response.headers.get("content-encoding", "").lower()
        # Many servers label a .fits.gz this way, too; then the bytes as sent are the file.
        path = urlsplit(self._item.url).path.lower()
        if encoding in _COMPRESSED and not path.endswith(_COMPRESSED_NAMES):
            raise PermanentError(
                f"the server compressed the file ({encoding}), although it was asked not to"
            )

    def _take(self, piece: bytes) -> None:
        self._part.write(piece)
        self._checksum.update(piece)
        self._size += len(piece)
        self._received(len(piece))
        if self._size > self._settings.max_file_bytes:
            raise PermanentError(f"more than max_file_bytes = {self._settings.max_file_bytes}")

    def _check(self, part: Path, stated: dict[str, bytes]) -> None:
        assert self._version is not None
        if self._version.length not in (None, self._size):
            raise ContentError(f"truncated: {self._size} of {self._version.length} bytes")
        check_digests(part, stated)
        if self._item.check is not None:
            self._item.check(part)

    def _restart(self) -> None:
        if self._size:
            self._part.seek(0)  # truncating does not move the write position
            self._part.truncate()
            self._size = 0
        # Otherwise a job killed now would leave new bytes recorded as the old version.
        self._entry.drop_part_record()


def _not_the_file(page: bytes) -> ContentError:
    return ContentError(f"a web page instead of the file: {server_words(page)}")


def _continues(response: Response, start: int, version: Version) -> bool:
    """Return True if a 206 response continues the partial file we already have."""
    stated = response.headers.get("content-range", "")
    now = Version.of(response.headers)
    # A 206 need not repeat all validators (RFC 9110, 15.3.7), but those it sends must agree.
    same = (not now.etag or now.etag == version.etag) and (
        not now.last_modified or now.last_modified == version.last_modified
    )
    return same and stated == f"bytes {start}-{(version.length or 0) - 1}/{version.length}"


class GivenUpError(PermanentError):
    """Too many files in a row failed, so the server is no longer asked."""


class Host:
    """State shared by all requests to one server.

    Without it, each of many requests would find out by itself, with all its retries, that the
    server is overloaded or down: a request storm.
    """

    def __init__(self, name: str, give_up_after: int):
        self._name = name
        self._give_up_after = give_up_after
        self._not_before = 0.0
        self._failed_in_a_row = 0
        self._last_words = ""

    async def admit(self) -> None:
        """Wait until a request may be sent.

        Raises
        ------
        GivenUpError
            If the server was given up.
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
        """Delay all requests (Retry-After)."""
        self._not_before = max(self._not_before, time.monotonic() + seconds)

    def answered(self) -> None:
        """Note that the server works: it sent a file, or said that there is none."""
        self._failed_in_a_row = 0

    def failed(self, words: str) -> None:
        """Note that a file failed with all its retries."""
        self._failed_in_a_row += 1
        self._last_words = words
