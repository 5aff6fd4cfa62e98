"""One file over http(s): conditional, resumed, checked, and only then put in its place.

Built on aiohttp (connection pool, limits by host, streaming) and tenacity (which waits and
stops). Both know nothing of files; what a response means for a file is said here.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import Awaitable, Callable
from functools import partial
from typing import BinaryIO, NoReturn, TypeVar
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
import tenacity

from clusterscan import __version__
from clusterscan.config.download import DownloadSettings
from clusterscan.fetch.download.digests import check_digests, stated_digests
from clusterscan.fetch.download.faults import (
    AbsentError,
    ContentError,
    DownloadError,
    PermanentError,
    TransientError,
    fault_of,
    server_words,
)
from clusterscan.fetch.download.host import GivenUpError, Host
from clusterscan.fetch.download.item import Item, Outcome, Version
from clusterscan.fetch.download.store import Entry, Record, Store, locked_part, validator
from clusterscan.provenance.fingerprint import file_sha256

_CHUNK = 256 * 1024
_WORTH_RESUMING = 1_250_000  # more than a HiPS tile of 512 px
_LOCK_POLL_S = 0.2

T = TypeVar("T")


def open_session(settings: DownloadSettings) -> aiohttp.ClientSession:
    """Return a session: pooled connections, limits, timeouts, User-Agent."""
    contact = f"; {settings.contact}" if settings.contact else ""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(
            limit=4 * settings.connections_per_host, limit_per_host=settings.connections_per_host
        ),
        timeout=aiohttp.ClientTimeout(
            total=None, sock_connect=settings.connect_s, sock_read=settings.stall_s
        ),
        headers={
            "User-Agent": f"clusterscan/{__version__} (astronomical survey images{contact})",
            # Compressed on the way, a file could neither be resumed nor its length be compared.
            "Accept-Encoding": "identity",
        },
        middlewares=(_repeat_nothing,),
        read_bufsize=_CHUNK,  # its own 64 KiB stop and start the transfer of a tile many times
    )


async def _repeat_nothing(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """Keep aiohttp from repeating a lost request at once: repeats wait, and are counted."""
    try:
        return await handler(request)
    except aiohttp.ClientSSLError:
        raise  # a bad certificate stays bad
    except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
        raise TransientError(f"{type(error).__name__}: {error}") from error


class Client:
    """Downloads files into a store."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        store: Store,
        settings: DownloadSettings,
        received: Callable[[int], None] = lambda count: None,
    ):
        self._session = session
        self._store = store
        self._settings = settings
        self._received = received
        self._hosts: dict[str, Host] = {}
        self._proxies: dict[str | None, str | None] = {}

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
                version = await self._with_retries(item.url, partial(self._head, item.url))
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

    def _proxy(self, url: str) -> str | None:
        """Return the proxy that the environment names for a server."""
        # aiohttp's trust_env looks in a thread for each request: half of a small file's time.
        parts = urlsplit(url)
        if parts.hostname not in self._proxies:
            bypass = parts.hostname is None or proxy_bypass(parts.hostname)
            self._proxies[parts.hostname] = None if bypass else getproxies().get(parts.scheme)
        return self._proxies[parts.hostname]

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

    async def _with_retries(self, url: str, attempt: Callable[[], Awaitable[T]]) -> T:
        host = self._host(url)
        try:
            result = await self._repeated(partial(self._once, url, host, attempt))
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

    async def _once(self, url: str, host: Host, attempt: Callable[[], Awaitable[T]]) -> T:
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
        except aiohttp.TooManyRedirects as error:
            limit = self._settings.max_redirects
            raise PermanentError(f"redirected more than {limit} times") from error
        except (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError) as error:
            raise PermanentError(f"{type(error).__name__}: {error}") from error
        except aiohttp.ClientSSLError as error:
            raise PermanentError(str(error)) from error
        except aiohttp.ClientPayloadError as error:
            raise TransientError(f"cut short: {error}") from error
        except TimeoutError as error:
            raise TransientError(f"stalled: {error or type(error).__name__}") from error
        except aiohttp.ClientError as error:
            raise TransientError(f"{type(error).__name__}: {error}") from error

    async def _head(self, url: str) -> Version:
        redirects = self._settings.max_redirects
        async with self._session.head(
            url, allow_redirects=True, max_redirects=redirects, proxy=self._proxy(url)
        ) as response:
            if response.status == 200:
                return Version.of(response.headers)
            if response.status not in (405, 501):
                await self._raise_fault(response)
        # A server without HEAD: ask for the file, and leave after its headers.
        async with self._session.get(
            url, max_redirects=redirects, proxy=self._proxy(url)
        ) as response:
            if response.status != 200:
                await self._raise_fault(response)
            version = Version.of(response.headers)
            response.close()
            return version

    async def _raise_fault(self, response: aiohttp.ClientResponse) -> NoReturn:
        body = b""
        with contextlib.suppress(aiohttp.ClientError, TimeoutError):
            body = await response.content.read(4000)
        retry_after = response.headers.get("Retry-After", "")
        absent = self._settings.absent_status
        raise fault_of(response.status, response.reason, body, retry_after, absent)

    async def _transfer(
        self, item: Item, entry: Entry, part: BinaryIO, known: Record | None
    ) -> Outcome:
        resume = entry.resumable(item)
        headers = _conditions(known, resume)
        async with self._session.get(
            item.url,
            headers=headers,
            max_redirects=self._settings.max_redirects,
            proxy=self._proxy(item.url),
        ) as response:
            if response.status == 304 and known is not None and "Range" not in headers:
                entry.drop_part()
                return entry.renew(item, known)
            if response.status == 416:
                _empty(part)
                entry.part_record.unlink(missing_ok=True)
                raise TransientError("the server refuses to go on where the transfer broke off")
            version = await self._begin(response, part, resume)
            sha256 = await self._receive(response, item, entry, part, version)
            stated = stated_digests(response.headers) if response.status == 200 else {}
        return self._finish(item, entry, part, version, stated, sha256)

    async def _begin(
        self,
        response: aiohttp.ClientResponse,
        part: BinaryIO,
        resume: tuple[int, Version] | None,
    ) -> Version:
        """Check the response's head and place the part file; return the whole file's version."""
        if response.status not in (200, 206):
            await self._raise_fault(response)
        version = Version.of(response.headers)
        if response.status == 206:
            if resume is None or not _continues(response, *resume):
                _empty(part)
                raise ContentError("the server sent another part than was asked for")
            version = resume[1]
        else:
            _empty(part)
        if "html" in response.headers.get("Content-Type", ""):
            page = await response.content.read(4000)
            raise ContentError(f"a web page instead of the file: {server_words(page)}")
        if (version.length or 0) > self._settings.max_file_bytes:
            raise PermanentError(
                f"{version.length} bytes are more than max_file_bytes = "
                f"{self._settings.max_file_bytes}"
            )
        return version

    async def _receive(
        self,
        response: aiohttp.ClientResponse,
        item: Item,
        entry: Entry,
        part: BinaryIO,
        version: Version,
    ) -> str:
        """Write the bytes; return the whole file's sha256."""
        digest = hashlib.sha256()
        resumed = part.tell() > 0
        # Written before the bytes, so that even a killed job's part can be continued.
        if (version.length or 0) > _WORTH_RESUMING:
            entry.note_part(item, version)
        try:
            async for chunk in response.content.iter_chunked(_CHUNK):
                part.write(chunk)
                digest.update(chunk)
                self._received(len(chunk))
                if part.tell() > self._settings.max_file_bytes:
                    raise PermanentError(
                        f"more than max_file_bytes = {self._settings.max_file_bytes}"
                    )
        except (aiohttp.ClientError, TimeoutError):
            part.flush()
            entry.note_part(item, version)
            raise
        part.flush()
        return file_sha256(entry.part) if resumed else digest.hexdigest()

    def _finish(
        self,
        item: Item,
        entry: Entry,
        part: BinaryIO,
        version: Version,
        stated: dict[str, bytes],
        sha256: str,
    ) -> Outcome:
        try:
            size = part.tell()
            if version.length is not None and size != version.length:
                raise ContentError(f"cut short: {size} of {version.length} bytes")
            check_digests(entry.part, stated)
            if item.check is not None:
                item.check(entry.part)
        except ContentError:
            _empty(part)
            entry.part_record.unlink(missing_ok=True)
            raise
        return entry.keep(item, version, size, sha256)


def _empty(part: BinaryIO) -> None:
    if part.tell() > 0:
        part.seek(0)  # truncating alone would leave the position, and tell() a wrong size
        part.truncate()


def _conditions(known: Record | None, resume: tuple[int, Version] | None) -> dict[str, str]:
    """Return the headers of a resumed or a conditional request."""
    if resume is not None:
        return {"Range": f"bytes={resume[0]}-", "If-Range": validator(resume[1])}
    if known is None or known.status != "ok":
        return {}
    if known.etag:
        return {"If-None-Match": known.etag}
    return {"If-Modified-Since": known.last_modified} if known.last_modified else {}


def _continues(response: aiohttp.ClientResponse, start: int, version: Version) -> bool:
    """Whether a 206 is the rest of the version of which the part is."""
    stated = response.headers.get("Content-Range", "")
    now = Version.of(response.headers)
    same = (not now.etag or now.etag == version.etag) and (
        not now.last_modified or now.last_modified == version.last_modified
    )
    return same and stated == f"bytes {start}-{(version.length or 0) - 1}/{version.length}"
