"""Whether a file is a whole FITS file: headers, lengths, and checksums where it has some.

Headers are read by astropy. Lengths are compared here, because astropy only warns of a short
file; and only the padding of the last block may be missing, as HiPS servers leave it out.
"""

from __future__ import annotations

import io
import os
import warnings
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from astropy.io import fits
from astropy.utils.exceptions import AstropyUserWarning

from clusterscan.fetch.download.digests import is_html
from clusterscan.fetch.download.faults import ContentError, server_words

_BLOCK = 2880
_END = b"END     "
_MOST_SUMMED_BYTES = 1_000_000_000
_CHECKSUMS = frozenset({"CHECKSUM", "DATASUM"})


@dataclass(frozen=True)
class Head:
    """A header, and what every check asks of it.

    Attributes
    ----------
    header : fits.Header
        The header.
    keywords : frozenset of str
        Its keywords (asking astropy's header costs far more).
    data_bytes : int
        Size of the data that follow, without padding.
    axes : (nx, ny)
        Sides of an image, compressed or not; (0, 0) for everything else.
    """

    header: fits.Header
    keywords: frozenset[str]
    data_bytes: int
    axes: tuple[int, int]


def check_fits(path: Path) -> list[Head]:
    """Return the headers of a whole FITS file.

    Raises
    ------
    ContentError
        If the file is empty, a web page, no FITS, cut short, followed by other bytes, or
        contradicts its own checksums (which are looked at up to a size of 1 GB).
    """
    with open(path, "rb", buffering=0) as handle:
        size = os.fstat(handle.fileno()).st_size
        block = handle.read(_BLOCK)
        if not block.startswith(b"SIMPLE  ="):
            body = block + handle.read(_BLOCK)
            what = "a web page" if is_html(body) else "no FITS file"
            raise ContentError(f"{what} instead of FITS: {server_words(body) or 'it is empty'}")
        heads = _heads(handle, block, size)
    # astropy sums a file in memory; of a larger one the length must do (and HTTP's own digests).
    if size <= _MOST_SUMMED_BYTES and any(head.keywords & _CHECKSUMS for head in heads):
        _check_sums(path)
    return heads


def _heads(handle: io.FileIO, block: bytes, size: int) -> list[Head]:
    """Read all headers of a file of which the first block is read."""
    heads: list[Head] = []
    start = 0
    # What follows the last data is padding: less than a block, and no extension.
    while not heads or block.startswith(b"XTENSION"):
        head, begin = _head_at(handle, start, block)
        end = begin + head.data_bytes
        if end > size:
            raise ContentError(f"cut short: {size} bytes of at least {end}")
        heads.append(head)
        start = end + -end % _BLOCK
        if start >= size:
            return heads
        handle.seek(start)
        block = handle.read(_BLOCK)
    raise ContentError(f"{size - start} bytes follow the end of the FITS file")


def _head_at(handle: io.FileIO, start: int, block: bytes) -> tuple[Head, int]:
    """Read the header that begins with a block; return it, and where its data begin."""
    stop = start + len(block)
    while not _ends(block):
        if len(block) < _BLOCK:
            raise ContentError(f"cut short: the header at byte {start} does not end")
        block = handle.read(_BLOCK)
        stop += len(block)
    if (stop - start) % _BLOCK:
        raise ContentError(f"cut short: {stop} bytes, in a header")
    text = block
    if stop - start > _BLOCK:  # read again, for a large file without END would fill the memory
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
    """Read a header; the tiles of many trees have all the same one."""
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
        for axis in axes[1:] if header.get("GROUPS") and axes[0] == 0 else axes:
            elements *= axis
        extra, groups = int(header.get("PCOUNT", 0)), int(header.get("GCOUNT", 1))
        # Of a negative size, the file would be read backwards, without an end.
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
