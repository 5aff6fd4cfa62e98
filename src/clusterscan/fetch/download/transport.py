"""HTTP by libcurl: requests over kept connections, and what their failures mean.

libcurl does the network on the event loop's own thread (pycurl's asyncio multi handle). It knows
nothing of files: a body is handed on piece by piece, as it arrives.
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
from clusterscan.fetch.download.faults import DownloadError, PermanentError, TransientError

Receive = Callable[[bytes], object]
"""Takes one piece of a body."""

_BUFFER = 512 * 1024
_NO_PROTOCOL = "Protocol "
"""How libcurl begins to say that it does not speak a URL's protocol."""
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
        self._http_proxy = _http_proxy()

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
        settings = self._settings
        curl = self._idle.pop() if self._idle else _handle(settings)
        answer = _Answer(begin, settings)
        curl.setopt(pycurl.URL, _quoted(url))
        curl.setopt(pycurl.NOBODY, nobody)
        if self._http_proxy and url.lower().startswith("http:"):
            curl.setopt(pycurl.PROXY, self._http_proxy)
        elif self._http_proxy:
            curl.unsetopt(pycurl.PROXY)
        # Compressed on the way, a file could neither be resumed nor its length be compared.
        lines = ["Accept-Encoding: identity", *headers]
        curl.setopt(pycurl.HTTPHEADER, [_encoded(line) for line in lines])
        curl.setopt(pycurl.PREREQFUNCTION, answer.admit)
        curl.setopt(pycurl.HEADERFUNCTION, answer.take_line)
        curl.setopt(pycurl.WRITEFUNCTION, answer.take_piece)
        try:
            # Until a request is sent, libcurl's limit for the connection comes first.
            longest_s = 9 / 8 * max(settings.connect_s, settings.stall_s)
            async with asyncio.timeout(longest_s) as answer.limit:
                await self._multi.perform(curl)
        except TimeoutError:
            words = f"stalled: nothing came for stall_s = {settings.stall_s:g} s"
            raise TransientError(words) from None
        except pycurl.error as error:
            self._idle.append(curl)
            if answer.raised is not None:
                raise answer.raised from None
            raise _fault(error, settings) from error
        self._idle.append(curl)
        return answer.begun()


class _Answer:
    """What libcurl hands over of one answer."""

    def __init__(self, begin: Callable[[Response], Receive], settings: DownloadSettings):
        self.limit: asyncio.Timeout | None = None
        self.raised: BaseException | None = None
        self._begin = begin
        self._receive: Receive = self._take_first
        self._response: Response | None = None
        self._lines: list[bytes] = []
        self._sent_unanswered = 0
        self._stall_s = settings.stall_s
        quick = settings.connect_s <= settings.stall_s  # then the limit stands well to begin with
        self._put_off_after = time.monotonic() + self._stall_s / 8 if quick else 0.0

    def admit(self, *addresses: object) -> int:
        """Let a request be sent: a first time, and once more by libcurl itself.

        libcurl repeats at once what met a kept connection that the server had closed. Often it
        is right, but other repeats wait, and are counted.
        """
        if self._sent_unanswered > 1:
            self.raised = TransientError("the server closed two connections without an answer")
            return pycurl.PREREQFUNC_ABORT
        self._sent_unanswered += 1
        if time.monotonic() > self._put_off_after:
            self._put_off()
        return pycurl.PREREQFUNC_OK

    def take_line(self, line: bytes) -> None:
        """Take one line of a head."""
        self._sent_unanswered = 0
        if line.startswith(b"HTTP/"):
            self._lines.clear()  # what came before was the head of a redirect
        self._lines.append(line)
        if time.monotonic() > self._put_off_after:
            self._put_off()

    def take_piece(self, piece: bytes) -> int | None:
        """Hand on a piece of the body, of 16 KiB at most: called often, so lean."""
        try:
            self._receive(piece)
            if time.monotonic() > self._put_off_after:
                self._put_off()
        except BaseException as error:  # libcurl would print it and go on
            self.raised = error
            return -1
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
        # Not with every piece, moving a timer costs more than a piece does; and by so much more
        # that nothing is cut within stall_s.
        self._put_off_after = time.monotonic() + self._stall_s / 8
        if self.limit is not None:
            self.limit.reschedule(asyncio.get_running_loop().time() + 9 / 8 * self._stall_s)


def _nothing(piece: bytes) -> None:
    pass


def _response(lines: list[bytes]) -> Response:
    texts = [line.decode("latin-1").strip() for line in lines]
    status = _STATUS_LINE.match(texts[0]) if texts else None
    if status is None:
        raise TransientError(f"no HTTP answer: {''.join(texts[:1])[:80]!r}")
    if "" not in texts:  # libcurl takes it for an empty file
        raise TransientError("cut short: the answer ends within its head")
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
    curl.setopt(pycurl.COOKIEFILE, "")  # of no file: cookies that a redirect sets are sent back
    _trust(curl)
    return curl


def _http_proxy() -> str:
    """Return the proxy for http that the environment names, where libcurl does not look."""
    # In HTTP_PROXY: a web server may set it from a header, and Python too leaves it out there.
    return "" if "http_proxy" in os.environ else getproxies().get("http", "")


def _trust(curl: pycurl.Curl) -> None:
    """Trust the certificates that Python trusts: the user's or the system's, else certifi's."""
    # pycurl's wheels come without; SSL_CERT_FILE is what Python and OpenSSL heed.
    found = ssl.get_default_verify_paths()
    if found.cafile and os.path.isfile(found.cafile):
        curl.setopt(pycurl.CAINFO, found.cafile)
        return
    curl.setopt(pycurl.CAINFO, certifi.where())
    if found.capath and os.path.isdir(found.capath):  # all that Debian's OpenSSL names
        curl.setopt(pycurl.CAPATH, found.capath)


def _encoded(line: str) -> bytes:
    # A server's ETag may hold other letters than ASCII: it gets back what it sent. Earlier
    # stores noted such letters as surrogates.
    return line.encode("latin-1", errors="surrogateescape")


def _quoted(url: str) -> str:
    """Return a URL with what may not stand in one quoted; what is quoted already stays."""
    found = _HOST_PART.match(url)
    end = found.end() if found else 0
    # Brackets may stand around the address of a host, and nowhere else.
    host, rest = quote(url[:end], safe="!$%&'()*+,/:;=@[]~"), url[end:]
    return host + _BARE_PERCENT.sub("%25", quote(rest, safe="!#$%&'()*+,/:;=?@~"))


def _fault(error: pycurl.error, settings: DownloadSettings) -> DownloadError:
    code, words = error.args
    words = words or f"libcurl's error {code}"
    if code == pycurl.E_TOO_MANY_REDIRECTS:
        return PermanentError(f"redirected more than {settings.max_redirects} times")
    # An answer that is no HTTP has the same code as a URL that is none, and may be a bad moment's.
    if code in _PERMANENT or words.startswith(_NO_PROTOCOL):
        return PermanentError(words)
    return TransientError(f"cut short: {words}" if code == pycurl.E_PARTIAL_FILE else words)
