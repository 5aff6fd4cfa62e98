"""Faults of a download, and the checks that a file passes before it is kept.

DownloadError
├── TransientError    ask again, not before ``retry_after_s``
│   └── ContentError  what arrived is not the file: truncated, damaged, an error page
├── AbsentError       the server says that there is no such file
└── PermanentError    asking again does not help
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
import os
import re
import warnings
from collections.abc import Container, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from pathlib import Path

from astropy.io import fits
from astropy.utils.exceptions import AstropyUserWarning

_BLOCK = 2880
_END = b"END     "
_MOST_SUMMED_BYTES = 1_000_000_000
_CHECKSUMS = frozenset({"CHECKSUM", "DATASUM"})


@dataclass(frozen=True)
class Head:
    """A FITS header with the quantities that every check needs.

    Attributes
    ----------
    header : fits.Header
        The header.
    keywords : frozenset of str
        Its keywords; looking one up here is much cheaper than in astropy's header.
    data_bytes : int
        Size of the data that follow, without padding.
    axes : (nx, ny)
        Sides of an image, compressed or not; (0, 0) for any other HDU.
    """

    header: fits.Header
    keywords: frozenset[str]
    data_bytes: int
    axes: tuple[int, int]


def check_fits(path: Path) -> list[Head]:
    """Check that a file is a whole FITS file, and return its headers.

    Raises
    ------
    ContentError
        If the file is empty, a web page, not FITS, truncated, followed by extra bytes, or
        contradicts its own checksums (verified for files of up to 1 GB).

    Notes
    -----
    astropy parses the headers, but it only warns of a truncated file, so lengths are compared
    here. HiPS servers leave out the padding of the last block; nothing else may be missing.
    """
    with open(path, "rb", buffering=0) as handle:
        size = os.fstat(handle.fileno()).st_size
        block = handle.read(_BLOCK)
        if not block.startswith(b"SIMPLE  ="):
            body = block + handle.read(_BLOCK)
            what = "a web page" if is_html(body) else "other bytes"
            raise ContentError(f"{what} instead of FITS: {server_words(body) or 'it is empty'}")
        heads = _heads(handle, block, size)
    # astropy loads the whole file to verify its checksums. Above 1 GB we rely on the length and on
    # the checksums that the server sends.
    if size <= _MOST_SUMMED_BYTES and any(head.keywords & _CHECKSUMS for head in heads):
        _check_sums(path)
    return heads


def _heads(handle: io.FileIO, block: bytes, size: int) -> list[Head]:
    """Read all headers of a file whose first block has been read."""
    heads: list[Head] = []
    start = 0
    # After the last HDU only padding may follow: less than one block.
    while not heads or block.startswith(b"XTENSION"):
        head, begin = _head_at(handle, start, block)
        end = begin + head.data_bytes
        if end > size:
            raise ContentError(f"truncated: {size} of at least {end} bytes")
        heads.append(head)
        start = end + -end % _BLOCK
        if start >= size:
            return heads
        handle.seek(start)
        block = handle.read(_BLOCK)
    raise ContentError(f"{size - start} extra bytes follow the end of the FITS file")


def _head_at(handle: io.FileIO, start: int, block: bytes) -> tuple[Head, int]:
    """Read the header that starts with this block; return it and the offset of its data."""
    stop = start + len(block)
    while not _ends(block):
        if len(block) < _BLOCK:
            raise ContentError(f"truncated: the header at byte {start} has no END")
        block = handle.read(_BLOCK)
        stop += len(block)
    if (stop - start) % _BLOCK:
        raise ContentError(f"truncated in a header, after {stop} bytes")
    text = block
    # Longer headers are read a second time: collecting blocks would fill the memory if a large
    # file has no END.
    if stop - start > _BLOCK:
        handle.seek(start)
        text = handle.read(stop - start)
    try:
        return _parsed(text), stop
    except (OSError, ValueError, TypeError, fits.VerifyError, Warning) as error:
        raise ContentError(f"the FITS header at byte {start} is damaged: {error}") from error


def _ends(block: bytes) -> bool:
    found = block.find(_END)
    while found % 80 and found > 0:
        found = block.find(_END, found + 1)
    return found >= 0


@lru_cache(maxsize=64)
def _parsed(text: bytes) -> Head:
    """Parse a header. Cached, because all tiles of a HiPS tree often share one header."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", AstropyUserWarning)
        header = fits.Header.fromfile(io.BytesIO(text), endcard=True)
        for card in header.cards:
            card.verify("exception")
    return Head(header, frozenset(header), _data_size(header), _axes(header))


def _axes(header: fits.Header) -> tuple[int, int]:
    if header.get("ZIMAGE"):
        return header.get("ZNAXIS1", 0), header.get("ZNAXIS2", 0)
    if header.get("NAXIS", 0) < 2 or header.get("XTENSION", "IMAGE").strip() != "IMAGE":
        return 0, 0
    return header["NAXIS1"], header["NAXIS2"]


def _data_size(header: fits.Header) -> int:
    try:
        axes = [int(header[f"NAXIS{i + 1}"]) for i in range(int(header["NAXIS"]))]
        bits = abs(int(header["BITPIX"]))
        elements = 1 if axes else 0
        # Random groups (FITS standard, section 6) write NAXIS1 = 0 and do not count it.
        for axis in axes[1:] if header.get("GROUPS") and axes[0] == 0 else axes:
            elements *= axis
        extra, groups = int(header.get("PCOUNT", 0)), int(header.get("GCOUNT", 1))
        # A negative size would make the scan of the file run backwards for ever.
        if min(extra, groups, *axes) < 0 or bits not in (8, 16, 32, 64):
            raise ValueError(f"BITPIX {bits}, axes {axes}, PCOUNT {extra}, GCOUNT {groups}")
        return bits * groups * (extra + elements) // 8
    except (KeyError, ValueError, TypeError, fits.VerifyError) as error:
        raise ContentError(f"the FITS header is damaged: {error}") from error


def _check_sums(path: Path) -> None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", AstropyUserWarning)
            warnings.filterwarnings("error", message=r"(Checksum|Datasum) verification failed")
            with fits.open(path, checksum=True, memmap=False) as hdus:
                for hdu in hdus:
                    hdu.verify("silentfix")
    except (OSError, ValueError, TypeError, Warning) as error:
        raise ContentError(f"damaged: {error}") from error


TRANSIENT_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})

_MOST_WORDS = 200


class DownloadError(Exception):
    """Base of all faults. They end up as a file's recorded status, never as a traceback."""


class TransientError(DownloadError):
    """A fault that may go away if the request is repeated."""

    def __init__(self, words: str, retry_after_s: float = 0.0):
        super().__init__(words)
        self.retry_after_s = retry_after_s


class ContentError(TransientError):
    """The bytes that arrived are not the requested file."""


class AbsentError(DownloadError):
    """The server says that there is no such file."""


class PermanentError(DownloadError):
    """Repeating the request will not help."""


def fault_of(
    status: int, reason: str | None, body: bytes, retry_after: str, absent: Container[int]
) -> DownloadError:
    """Build the fault for a response with an error status, quoting the server's page."""
    words = f"HTTP {status} {reason or ''}".strip()
    if said := server_words(body):
        words += f": {said}"
    if status in absent:
        return AbsentError(words)
    if status in TRANSIENT_STATUS:
        return TransientError(words, seconds_until(retry_after))
    return PermanentError(words)


def server_words(body: bytes) -> str:
    """Return the first words of an error page, without its markup."""
    text = body.decode("utf-8", errors="replace")
    text = re.sub(r"(?is)<(script|style)\b.*?</\1>", " ", text)
    text = " ".join(re.sub(r"<[^>]*>", " ", text).split())
    text = "".join(c for c in text if c.isprintable())
    return text if len(text) <= _MOST_WORDS else text[: _MOST_WORDS - 1] + "…"


def seconds_until(retry_after: str, now: datetime | None = None) -> float:
    """Return the wait [s] that a Retry-After header asks for (a number or a date); 0 if invalid.

    References
    ----------
    RFC 9110, section 10.2.3.
    """
    text = retry_after.strip()
    if text.isdecimal():
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return 0.0
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - (now or datetime.now(UTC))).total_seconds())


_HASH_NAMES = {"sha-512": "sha512", "sha-256": "sha256", "md5": "md5", "sha": "sha1"}
_DIGEST_FIELDS = ("repr-digest", "digest", "x-goog-hash")


def stated_digests(headers: Mapping[str, str]) -> dict[str, bytes]:
    """Return the checksums of the whole file that a response states: hash name -> digest.

    Reads Repr-Digest (RFC 9530), Digest (RFC 3230), Content-MD5 and Google's x-goog-hash. Values
    that are not valid base64 or have the wrong length are ignored.
    """
    found: dict[str, bytes] = {}
    fields = [headers[name] for name in _DIGEST_FIELDS if name in headers]
    for name, value in re.findall(r"([\w-]+)=:?([A-Za-z0-9+/]+=*):?", ",".join(fields)):
        if name.lower() in _HASH_NAMES and (digest := _decoded(value)):
            found[_HASH_NAMES[name.lower()]] = digest
    if digest := _decoded(headers.get("content-md5", "")):
        found["md5"] = digest
    # A digest of the wrong length comes from a faulty server and proves nothing about the file.
    lengths = {name: hashlib.new(name, usedforsecurity=False).digest_size for name in found}
    return {name: digest for name, digest in found.items() if len(digest) == lengths[name]}


def check_digests(path: Path, stated: dict[str, bytes]) -> None:
    """Compare a file with the checksums that the server sent.

    Raises
    ------
    ContentError
        If one differs.
    """
    for name, digest in stated.items():
        with path.open("rb") as handle:
            actual = hashlib.file_digest(handle, name).digest()
        if actual != digest:
            raise ContentError(f"damaged: {name} is {actual.hex()}, the server says {digest.hex()}")


def is_html(head: bytes) -> bool:
    """Return True if a file starts like a web page."""
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    return start.startswith((b"<!doctype html", b"<html", b"<head", b"<?xml"))


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        return b""
