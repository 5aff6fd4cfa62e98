"""What a server's answer makes of a part file: begun, resumed, filled, checked, kept."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

import xxhash

from clusterscan.config.execution import DownloadSettings
from clusterscan.fetch.download.digests import check_digests, stated_digests
from clusterscan.fetch.download.faults import (
    ContentError,
    DownloadError,
    PermanentError,
    TransientError,
    fault_of,
    server_words,
)
from clusterscan.fetch.download.item import Item, Outcome, Version
from clusterscan.fetch.download.store import Entry, Record, file_checksum, validator
from clusterscan.fetch.download.transport import Receive, Response

_WORTH_RESUMING = 1_250_000  # more than a HiPS tile of 512 px
_ENOUGH_OF_A_PAGE = 16_384
_COMPRESSED = frozenset({"gzip", "x-gzip", "compress", "x-compress", "deflate", "br", "zstd"})
_COMPRESSED_NAMES = (".gz", ".tgz", ".z", ".bz2", ".xz", ".zst", ".br")


class Refusal:
    """An answer that is no file: its first words become a fault."""

    def __init__(self, fault: Callable[[bytes], DownloadError]):
        self._fault = fault
        self._page = b""

    @classmethod
    def of(cls, response: Response, settings: DownloadSettings) -> Refusal:
        """Return the refusal that an error status is."""
        retry_after = response.headers.get("retry-after", "")
        return cls(
            lambda page: fault_of(
                response.status, response.reason, page, retry_after, settings.absent_status
            )
        )

    def take(self, piece: bytes) -> None:
        """Read on; what is short is read to its end, so that the connection stays."""
        self._page += piece
        if len(self._page) > _ENOUGH_OF_A_PAGE:
            raise self.fault()

    def fault(self) -> DownloadError:
        """Return the fault, in the server's words."""
        return self._fault(self._page[:4000])


class Transfer:
    """One answer to a request for one file, and the locked part file that it fills."""

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
        """The headers of a resumed or a conditional request."""
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
        """Look at the answer's head; return what takes its body."""
        if response.status == 416:
            self._start_anew()
            raise TransientError("the server refuses to go on where the transfer broke off")
        if response.status not in (200, 206):
            self._refusal = Refusal.of(response, self._settings)
            return self._refusal.take
        version = Version.of(response.headers)
        if response.status == 206:
            version = self._go_on(response)
        else:
            self._start_anew()
        if "html" in response.headers.get("content-type", ""):
            self._refusal = Refusal(_not_the_file)
            return self._refusal.take
        self._refuse_compressed(response)
        limit = self._settings.max_file_bytes
        if (version.length or 0) > limit:
            raise PermanentError(f"{version.length} bytes are more than max_file_bytes = {limit}")
        self._version = version
        # Written before the bytes, so that even a killed job's part can be continued.
        if (version.length or 0) > _WORTH_RESUMING:
            self._entry.note_part(self._item, version)
        return self._take

    def broke_off(self) -> None:
        """Keep what came for the next request to go on from.

        Raises
        ------
        DownloadError
            If what broke off was an error page: the status was told all the same.
        """
        if self._refusal is not None:
            raise self._refusal.fault()
        if self._version is not None:
            self._part.flush()
            self._entry.note_part(self._item, self._version)

    def finish(self, response: Response) -> Outcome:
        """Check the whole file, and put it in its place."""
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
            self._start_anew()
            raise
        checksum = file_checksum(part) if self._resumed else self._checksum.hexdigest()
        return self._entry.keep(self._item, self._version, self._size, checksum)

    def _go_on(self, response: Response) -> Version:
        if self._resume is None or not _continues(response, *self._resume):
            self._start_anew()
            raise ContentError("the server sent another part than was asked for")
        self._resumed = True
        return self._resume[1]

    def _refuse_compressed(self, response: Response) -> None:
        encoding = response.headers.get("content-encoding", "").lower()
        # Of a file that is compressed itself, servers say this too: then the bytes are the file.
        path = urlsplit(self._item.url).path.lower()
        if encoding in _COMPRESSED and not path.endswith(_COMPRESSED_NAMES):
            raise PermanentError(f"sent compressed ({encoding}), which was not asked for")

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
            raise ContentError(f"cut short: {self._size} of {self._version.length} bytes")
        check_digests(part, stated)
        if self._item.check is not None:
            self._item.check(part)

    def _start_anew(self) -> None:
        if self._size:
            self._part.seek(0)  # truncating alone would leave the position
            self._part.truncate()
            self._size = 0
        # Else a job that is killed now would leave bytes under the name of another version.
        self._entry.drop_part_record()


def _not_the_file(page: bytes) -> ContentError:
    return ContentError(f"a web page instead of the file: {server_words(page)}")


def _continues(response: Response, start: int, version: Version) -> bool:
    """Whether a 206 is the rest of the version of which the part is."""
    stated = response.headers.get("content-range", "")
    now = Version.of(response.headers)
    same = (not now.etag or now.etag == version.etag) and (
        not now.last_modified or now.last_modified == version.last_modified
    )
    return same and stated == f"bytes {start}-{(version.length or 0) - 1}/{version.length}"
