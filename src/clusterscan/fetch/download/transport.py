"""HTTP by libcurl: requests over kept connections, and what their failures mean.

libcurl does the network on the event loop's own thread (pycurl's asyncio multi handle). It knows
nothing of files: a body is handed on piece by piece, as it arrives.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Self
from urllib.parse import quote

import certifi
import pycurl

from clusterscan import __version__
from clusterscan.config.download import DownloadSettings
from clusterscan.fetch.download.faults import DownloadError, PermanentError, TransientError

Receive = Callable[[bytes], object]
"""Takes one piece of a body."""

_BUFFER = 512 * 1024
_PERMANENT = frozenset(
    {
        pycurl.E_UNSUPPORTED_PROTOCOL,
        pycurl.E_URL_MALFORMAT,
        pycurl.E_PEER_FAILED_VERIFICATION,
        pycurl.E_SSL_CACERT_BADFILE,
        pycurl.E_SSL_CERTPROBLEM,
    }
)


@dataclass(frozen=True)
class Response:
    """The head of a server's answer, after all redirects.

    Attributes
    ----------
    status : int
        HTTP status.
    reason : str
        Its words.
    headers : mapping of str to str
        By name in lower case; those that come several times are joined with commas
        (RFC 9110, section 5.3).
    """

    status: int
    reason: str
    headers: Mapping[str, str]


class Transport:
    """Sends requests; to be used as ``async with``, in one event loop."""

    def __init__(self, settings: DownloadSettings):
        self._settings = settings
        self._multi = pycurl.AsyncCurlMulti()
        self._multi.setopt(pycurl.M_MAX_HOST_CONNECTIONS, settings.connections_per_host)
        self._multi.setopt(pycurl.M_MAXCONNECTS, 4 * settings.connections_per_host)
        self._idle: list[pycurl.Curl] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._multi.aclose()

    async def head(self, url: str) -> Response:
        """Ask for a head alone."""
        return await self._send(url, lambda response: _nothing, (), nobody=True)

    async def get(
        self, url: str, begin: Callable[[Response], Receive], headers: Iterable[str] = ()
    ) -> Response:
        """Ask for a file.

        Parameters
        ----------
        url : str
            http or https.
        begin : callable
            Given the answer's head once, before its body; returns what takes the body's pieces.
            What either raises ends the transfer and is raised here.
        headers : iterable of str
            More headers, ``Name: value``.

        Returns
        -------
        Response
            The head, when the body is through.

        Raises
        ------
        TransientError
            If the transfer broke off, or nothing came for ``stall_s``.
        PermanentError
            If the URL, the server's certificate or its redirects are no good.
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
        curl = self._idle.pop() if self._idle else _handle(self._settings)
        answer = _Answer(begin, self._settings.stall_s)
        curl.setopt(pycurl.URL, _quoted(url))
        curl.setopt(pycurl.NOBODY, nobody)
        # Compressed on the way, a file could neither be resumed nor its length be compared.
        curl.setopt(pycurl.HTTPHEADER, ["Accept-Encoding: identity", *headers])
        curl.setopt(pycurl.HEADERFUNCTION, answer.take_line)
        curl.setopt(pycurl.WRITEFUNCTION, answer.take_piece)
        try:
            async with asyncio.timeout(self._settings.stall_s) as answer.limit:
                await self._multi.perform(curl)
        except TimeoutError:
            words = f"stalled: nothing came for stall_s = {self._settings.stall_s:g} s"
            raise TransientError(words) from None
        except pycurl.error as error:
            self._idle.append(curl)
            if answer.raised is not None:
                raise answer.raised from None
            raise _fault(error, self._settings) from error
        self._idle.append(curl)
        return answer.begun()


class _Answer:
    """What libcurl hands over of one answer."""

    def __init__(self, begin: Callable[[Response], Receive], stall_s: float):
        self.limit: asyncio.Timeout | None = None
        self.raised: BaseException | None = None
        self._begin = begin
        self._receive: Receive = self._take_first
        self._response: Response | None = None
        self._lines: list[bytes] = []
        self._stall_s = stall_s
        self._put_off_after = time.monotonic() + stall_s / 8

    def take_line(self, line: bytes) -> None:
        """Take one line of a head."""
        if line.startswith(b"HTTP/"):
            self._lines.clear()  # what came before was the head of a redirect
        self._lines.append(line)

    def take_piece(self, piece: bytes) -> int | None:
        """Hand on a piece of the body, of 16 KiB at most: called often, so lean."""
        try:
            self._receive(piece)
        except BaseException as error:  # libcurl would print it and go on
            self.raised = error
            return -1
        if time.monotonic() > self._put_off_after:
            self._put_off()
        return None

    def begun(self) -> Response:
        """Return the head; tell it where there was no body to tell it."""
        if self._response is None:
            self._response = _response(self._lines)
            self._receive = self._begin(self._response)
        return self._response

    def _take_first(self, piece: bytes) -> None:
        self.begun()
        self._receive(piece)

    def _put_off(self) -> None:
        # Not with every piece: moving a timer costs more than a piece does.
        self._put_off_after = time.monotonic() + self._stall_s / 8
        if self.limit is not None:
            self.limit.reschedule(asyncio.get_running_loop().time() + self._stall_s)


def _nothing(piece: bytes) -> None:
    pass


def _response(lines: list[bytes]) -> Response:
    _, _, rest = lines[0].decode("latin-1").partition(" ")
    status, _, reason = rest.strip().partition(" ")
    headers: dict[str, str] = {}
    for line in lines[1:]:
        name, colon, value = line.decode("latin-1").partition(":")
        if colon:
            name, value = name.lower(), value.strip()
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return Response(int(status), reason, headers)


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
    curl.setopt(pycurl.CONNECTTIMEOUT_MS, max(1, round(1000 * settings.connect_s)))
    curl.setopt(pycurl.CAINFO, _certificates())
    return curl


def _certificates() -> str:
    """Return the file of trusted certificates: the system's or the user's, else certifi's."""
    # pycurl's wheels come without; SSL_CERT_FILE is what Python and OpenSSL heed.
    found = ssl.get_default_verify_paths().cafile
    return found if found and os.path.isfile(found) else certifi.where()


def _quoted(url: str) -> str:
    """Return a URL with what may not stand in one quoted; what is quoted already stays."""
    return quote(url, safe="!#$%&'()*+,/:;=?@[]~")


def _fault(error: pycurl.error, settings: DownloadSettings) -> DownloadError:
    code, words = error.args
    if code == pycurl.E_TOO_MANY_REDIRECTS:
        return PermanentError(f"redirected more than {settings.max_redirects} times")
    if code in _PERMANENT:
        return PermanentError(words)
    return TransientError(f"cut short: {words}" if code == pycurl.E_PARTIAL_FILE else words)
