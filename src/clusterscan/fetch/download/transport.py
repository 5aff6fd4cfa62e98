"""HTTP requests with libcurl, over kept connections.

libcurl does the network I/O on the event loop's own thread (pycurl's asyncio multi handle). This
module knows nothing about files: a body is passed on piece by piece as it arrives.
"""

from __future__ import annotations

import asyncio
import os
import re
import ssl
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Self
from urllib.parse import quote
from urllib.request import getproxies

import certifi
import pycurl

from clusterscan import __version__
from clusterscan.config.execution import DownloadSettings
from clusterscan.fetch.download.checks import DownloadError, PermanentError, TransientError

Receive = Callable[[bytes], object]
"""Function that takes one piece of a body."""

_BUFFER = 512 * 1024
_NO_PROTOCOL = "Protocol "  # libcurl's message about an unsupported protocol starts like this
_LONGEST_MS = 2**31 - 1
_STATUS_LINE = re.compile(r"HTTP/\S+\s+(\d{3})\s*(.*)", re.DOTALL)
_HOST_PART = re.compile(r"[^:/?#]+://[^/?#]*")
_BARE_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_PERMANENT = frozenset(
    {
        pycurl.E_URL_MALFORMAT,
        pycurl.E_PEER_FAILED_VERIFICATION,
        pycurl.E_SSL_CACERT_BADFILE,
        pycurl.E_SSL_CERTPROBLEM,
    }
)


@dataclass(frozen=True)
class Response:
    """Status and headers of the final response, after all redirects.

    Attributes
    ----------
    status : int
        HTTP status.
    reason : str
        Reason phrase.
    headers : mapping of str to str
        By name in lower case; repeated headers are joined with commas (RFC 9110, section 5.3).
    """

    status: int
    reason: str
    headers: Mapping[str, str]


class Transport:
    """Sends requests. Use it as ``async with``, in one event loop."""

    def __init__(self, settings: DownloadSettings):
        self._settings = settings
        self._multi = pycurl.AsyncCurlMulti()
        self._multi.setopt(pycurl.M_MAX_HOST_CONNECTIONS, settings.connections_per_host)
        self._multi.setopt(pycurl.M_MAXCONNECTS, 4 * settings.connections_per_host)
        self._idle: list[pycurl.Curl] = []
        self._http_proxy = _http_proxy()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._multi.aclose()

    async def head(self, url: str) -> Response:
        """Send a HEAD request."""
        return await self._send(url, lambda response: _nothing, (), nobody=True)

    async def get(
        self, url: str, begin: Callable[[Response], Receive], headers: Iterable[str] = ()
    ) -> Response:
        """Send a GET request.

        Parameters
        ----------
        url : str
            http or https.
        begin : callable
            Called once with the response, before its body; returns the function that takes the
            pieces of the body. An exception in either ends the transfer and is raised here.
        headers : iterable of str
            Additional headers, ``Name: value``.

        Returns
        -------
        Response
            Status and headers, after the whole body has been passed on.

        Raises
        ------
        TransientError
            If the transfer broke off, or no byte arrived for ``stall_s``.
        PermanentError
            If the URL, the server's certificate or its redirects are invalid.
        """
        return await self._send(url, begin, headers, nobody=False)

    async def _send(
        self,
        url: str,
        begin: Callable[[Response], Receive],
        headers: Iterable[str],
        *,
        nobody: bool,
    ) -> Response:
        settings = self._settings
        curl = self._idle.pop() if self._idle else _handle(settings)
        answer = _Answer(begin, settings)
        curl.setopt(pycurl.URL, _quoted(url))
        curl.setopt(pycurl.NOBODY, nobody)
        if self._http_proxy and url.lower().startswith("http:"):
            curl.setopt(pycurl.PROXY, self._http_proxy)
        elif self._http_proxy:
            curl.unsetopt(pycurl.PROXY)
        # If the server compressed the file in transit, it could not be resumed and its length
        # could not be compared.
        lines = ["Accept-Encoding: identity", *headers]
        curl.setopt(pycurl.HTTPHEADER, [_encoded(line) for line in lines])
        curl.setopt(pycurl.PREREQFUNCTION, answer.admit)
        curl.setopt(pycurl.HEADERFUNCTION, answer.take_line)
        curl.setopt(pycurl.WRITEFUNCTION, answer.take_piece)
        try:
            # The stall limit starts before the connection stands, so it must not be shorter than
            # the limit for connecting; the factor is explained in `_Answer._put_off`.
            longest_s = 9 / 8 * max(settings.connect_s, settings.stall_s)
            async with asyncio.timeout(longest_s) as answer.limit:
                await self._multi.perform(curl)
        except TimeoutError:
            words = f"stalled: no byte arrived for stall_s = {settings.stall_s:g} s"
            raise TransientError(words) from None
        except pycurl.error as error:
            self._idle.append(curl)
            if answer.raised is not None:
                raise answer.raised from None
            raise _fault(error, settings) from error
        self._idle.append(curl)
        return answer.begun()


class _Answer:
    """Callbacks that libcurl calls during one response."""

    def __init__(self, begin: Callable[[Response], Receive], settings: DownloadSettings):
        self.limit: asyncio.Timeout | None = None
        self.raised: BaseException | None = None
        self._begin = begin
        self._receive: Receive = self._take_first
        self._response: Response | None = None
        self._lines: list[bytes] = []
        self._sent_unanswered = 0
        self._stall_s = settings.stall_s
        quick = settings.connect_s <= settings.stall_s  # then the initial limit is the right one
        self._put_off_after = time.monotonic() + self._stall_s / 8 if quick else 0.0

    def admit(self, *addresses: object) -> int:
        """Allow a request to be sent: once, and once more if libcurl repeats it by itself.

        If the server has closed a kept connection, libcurl immediately repeats the request. One
        such repeat is fine. Further ones must go through our own retries, which wait and are
        counted.
        """
        if self._sent_unanswered > 1:
            self.raised = TransientError("the server closed two connections without a response")
            return pycurl.PREREQFUNC_ABORT
        self._sent_unanswered += 1
        if time.monotonic() > self._put_off_after:
            self._put_off()
        return pycurl.PREREQFUNC_OK

    def take_line(self, line: bytes) -> None:
        """Take one header line."""
        self._sent_unanswered = 0
        if line.startswith(b"HTTP/"):
            self._lines.clear()  # the previous lines belonged to a redirect
        self._lines.append(line)
        if time.monotonic() > self._put_off_after:
            self._put_off()

    def take_piece(self, piece: bytes) -> int | None:
        """Pass on a piece of the body (at most 16 KiB): called very often, so kept short."""
        try:
            self._receive(piece)
            if time.monotonic() > self._put_off_after:
                self._put_off()
        except BaseException as error:  # libcurl would print it and continue
            self.raised = error
            return -1
        return None

    def begun(self) -> Response:
        """Return the response; call ``begin`` now if there was no body."""
        if self._response is None:
            self._response = _response(self._lines)
            self._receive = self._begin(self._response)
        return self._response

    def _take_first(self, piece: bytes) -> None:
        self.begun()
        self._receive(piece)

    def _put_off(self) -> None:
        # Moving the timer costs more than handling a piece, so it is moved only every stall_s / 8.
        # The limit is 9/8 of stall_s, so that no transfer is cut off within stall_s of a piece.
        self._put_off_after = time.monotonic() + self._stall_s / 8
        if self.limit is not None:
            self.limit.reschedule(asyncio.get_running_loop().time() + 9 / 8 * self._stall_s)


def _nothing(piece: bytes) -> None:
    pass


def _response(lines: list[bytes]) -> Response:
    texts = [line.decode("latin-1").strip() for line in lines]
    status = _STATUS_LINE.match(texts[0]) if texts else None
    if status is None:
        raise TransientError(f"not an HTTP response: {''.join(texts[:1])[:80]!r}")
    if "" not in texts:  # libcurl would report an empty file
        raise TransientError("truncated: the response ends within its headers")
    headers: dict[str, str] = {}
    for text in texts[1 : texts.index("")]:
        name, colon, value = text.partition(":")
        if colon:
            name, value = name.lower(), value.strip()
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return Response(int(status[1]), status[2], headers)


def _handle(settings: DownloadSettings) -> pycurl.Curl:
    curl = pycurl.Curl()
    contact = f"; {settings.contact}" if settings.contact else ""
    agent = f"clusterscan/{__version__} (astronomical survey images{contact})"
    curl.setopt(pycurl.USERAGENT, agent)
    curl.setopt(pycurl.NOSIGNAL, 1)
    curl.setopt(pycurl.BUFFERSIZE, _BUFFER)
    curl.setopt(pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1)
    curl.setopt(pycurl.PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS)
    curl.setopt(pycurl.REDIR_PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS)
    curl.setopt(pycurl.FOLLOWLOCATION, 1)
    curl.setopt(pycurl.MAXREDIRS, settings.max_redirects)
    connect_ms = min(max(1.0, 1000 * settings.connect_s), _LONGEST_MS)
    curl.setopt(pycurl.CONNECTTIMEOUT_MS, round(connect_ms))
    curl.setopt(pycurl.COOKIEFILE, "")  # enables cookies, without a file: some redirects need them
    _trust(curl)
    return curl


def _http_proxy() -> str:
    """Return the http proxy from the environment, where libcurl does not look for it."""
    # libcurl ignores HTTP_PROXY, because a CGI server sets it from a client's header; Python
    # ignores it there, too, and reads it everywhere else.
    return "" if "http_proxy" in os.environ else getproxies().get("http", "")


def _trust(curl: pycurl.Curl) -> None:
    """Trust the certificates that Python trusts: the user's or the system's, else certifi's."""
    # pycurl's wheels contain no certificates. Python and OpenSSL honour SSL_CERT_FILE.
    found = ssl.get_default_verify_paths()
    if found.cafile and os.path.isfile(found.cafile):
        curl.setopt(pycurl.CAINFO, found.cafile)
        return
    curl.setopt(pycurl.CAINFO, certifi.where())
    if found.capath and os.path.isdir(found.capath):  # Debian's OpenSSL names a folder only
        curl.setopt(pycurl.CAPATH, found.capath)


def _encoded(line: str) -> bytes:
    # An ETag may contain non-ASCII bytes and must be sent back unchanged. Earlier versions of the
    # store recorded such bytes as surrogates.
    return line.encode("latin-1", errors="surrogateescape")


def _quoted(url: str) -> str:
    """Percent-encode the characters of a URL that need it; keep what is already encoded."""
    found = _HOST_PART.match(url)
    end = found.end() if found else 0
    # Brackets are allowed around an IPv6 host only.
    host, rest = quote(url[:end], safe="!$%&'()*+,/:;=@[]~"), url[end:]
    return host + _BARE_PERCENT.sub("%25", quote(rest, safe="!#$%&'()*+,/:;=?@~"))


def _fault(error: pycurl.error, settings: DownloadSettings) -> DownloadError:
    code, words = error.args
    words = words or f"libcurl's error {code}"
    if code == pycurl.E_TOO_MANY_REDIRECTS:
        return PermanentError(f"redirected more than {settings.max_redirects} times")
    # An unsupported protocol has the same code as a garbled response, which may be transient; only
    # the message tells them apart.
    if code in _PERMANENT or words.startswith(_NO_PROTOCOL):
        return PermanentError(words)
    return TransientError(f"truncated: {words}" if code == pycurl.E_PARTIAL_FILE else words)
