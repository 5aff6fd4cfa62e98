"""The store of downloaded files: a small record beside each file says which version it is.

A file is named by its URL, so runs, surveys and jobs share what they have in common. While a file
is being transferred it is called ``.part`` and its writer holds a lock on it: a second job waits
for the first instead of asking the server again. The lock ends with its process.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, Literal
from urllib.parse import quote, urlsplit

import xxhash

from clusterscan.config.execution import DownloadSettings
from clusterscan.core.atomic import hidden_name, sweep
from clusterscan.core.data_paths import expand_path
from clusterscan.core.fingerprint import fingerprint

_MOST_DIGITS = 40  # int() raises on strings of several thousand digits


@dataclass(frozen=True)
class Version:
    """Version of a file as the server states it: HTTP validators, RFC 9110 section 8.8."""

    etag: str = ""
    last_modified: str = ""
    length: int | None = None

    @classmethod
    def of(cls, headers: Mapping[str, str]) -> Version:
        """Read the version from a response's headers (names in lower case)."""
        length = headers.get("content-length", "")
        return cls(
            headers.get("etag", ""),
            headers.get("last-modified", ""),
            int(length) if length.isdecimal() and len(length) < _MOST_DIGITS else None,
        )

    @property
    def is_strong(self) -> bool:
        """True if the version changes with every byte.

        A strong ETag does; a modification date has a resolution of one second and does not.
        """
        return bool(self.etag) and not self.etag.startswith("W/")

    @property
    def token(self) -> str:
        """The strongest version token available; empty if the server sends none."""
        if self.is_strong:
            return f"etag {self.etag}"
        parts = [self.etag, self.last_modified]
        parts += [] if self.length is None else [f"{self.length} bytes"]
        return ", ".join(part for part in parts if part)


@dataclass(frozen=True)
class Item:
    """One file to download.

    Attributes
    ----------
    name : str
        Name in messages and manifests.
    url : str
        Address.
    token : str
        The wanted version. A file stored under the same token is not requested again.
    check : callable, optional
        ``check(path)`` raises `ContentError` if the file is not the expected one.
    """

    name: str
    url: str
    token: str = ""
    check: Callable[[Path], None] | None = None


@dataclass(frozen=True)
class Outcome:
    """Result of one request.

    Attributes
    ----------
    status : {"ok", "absent", "failed"}
        ``absent``: the server says that there is no such file.
    path : Path, optional
        The file, if the status is ``ok`` and the file was requested.
    words : str
        The reason, if the status is not ``ok``; in the server's words where it sent any.
    version : Version
        The version that the server stated.
    """

    status: Literal["ok", "absent", "failed"]
    path: Path | None = None
    words: str = ""
    version: Version = Version()


_BUFFER = 64 * 1024
_KEPT = "/@+,=-_.~"  # characters kept in a file name, besides letters and digits
# URLs with these endings get a hashed name: they would collide with folders, records and parts.
_RESERVED_ENDINGS = ("/", ".json", ".part")


@dataclass(frozen=True)
class Record:
    """What the store knows about a file: its version, and the token it was requested under."""

    status: Literal["ok", "absent"]
    url: str
    token: str
    etag: str = ""
    last_modified: str = ""
    size: int = 0
    checksum: str = ""
    words: str = ""

    @property
    def version(self) -> Version:
        """The version as the server stated it."""
        return Version(self.etag, self.last_modified, self.size)

    def is_of(self, path: Path) -> bool:
        """Return True if a file holds the bytes that arrived, or if no checksum is known."""
        return not self.checksum or file_checksum(path) == self.checksum


@dataclass(frozen=True)
class Entry:
    """The place of one URL in the store: its file, and the files beside it."""

    name: str

    @property
    def path(self) -> Path:
        """The file."""
        return Path(self.name)

    @property
    def part(self) -> Path:
        """The file while it is being transferred."""
        return Path(f"{self.name}.part")

    def record(self) -> Record | None:
        """Read the record; None if there is none or the file's size differs from it."""
        found = _read(f"{self.name}.json")
        if found is not None and found.status == "ok":
            try:
                if os.stat(self.name).st_size != found.size:
                    return None
            except FileNotFoundError:
                return None
        return found

    def outcome(self, token: str | None) -> Outcome | None:
        """Return the stored file as an outcome, if it is stored under this token (None: any)."""
        return self.as_outcome(self.record(), token)

    def as_outcome(self, known: Record | None, token: str | None) -> Outcome | None:
        """Return a record as an outcome, if it was made under this token (None: any)."""
        if known is None or (token is not None and (not token or known.token != token)):
            return None
        if known.status == "absent":
            return Outcome("absent", None, known.words, known.version)
        return Outcome("ok", self.path, "", known.version)

    def keep(self, item: Item, version: Version, size: int, checksum: str) -> Outcome:
        """Move the finished part into place and write its record."""
        # Move the file first, so that a record never exists without its file.
        os.replace(f"{self.name}.part", self.name)
        _remove(f"{self.name}.part.json")
        record = Record(
            "ok", item.url, item.token, version.etag, version.last_modified, size, checksum
        )
        self._write(record)
        return Outcome("ok", self.path, "", record.version)

    def renew(self, item: Item, known: Record) -> Outcome:
        """Note that the server still has the stored version."""
        if known.token != item.token:
            self._write(replace(known, token=item.token))
        return Outcome("ok", self.path, "", known.version)

    def note_absent(self, item: Item, words: str) -> Outcome:
        """Note that the server has no such file, and remove the stored one."""
        _remove(self.name)
        self.drop_part()
        self._write(Record("absent", item.url, item.token, words=words))
        return Outcome("absent", None, words)

    def forget(self) -> None:
        """Remove the file and its record."""
        self.forget_record()
        _remove(self.name)

    def forget_record(self) -> None:
        """Remove the record, so that the file is requested again."""
        _remove(f"{self.name}.json")

    def drop_part(self) -> None:
        """Remove the unfinished transfer."""
        _remove(f"{self.name}.part")
        self.drop_part_record()

    def drop_part_record(self) -> None:
        """Forget which version the part belongs to, so that it is not resumed."""
        _remove(f"{self.name}.part.json")

    def note_part(self, item: Item, version: Version) -> None:
        """Note which version the part belongs to, so that it can be resumed."""
        size = version.length or 0
        record = Record("ok", item.url, item.token, version.etag, version.last_modified, size)
        _write_quickly(f"{self.name}.part.json", record)

    def part_version(self) -> Record | None:
        """Read the record of the part."""
        return _read(f"{self.name}.part.json")

    def resumable(self, item: Item, size: int) -> tuple[int, Version] | None:
        """Return (bytes present, version) if a part of this size can be resumed, else None."""
        known = self.part_version() if size else None
        if known is None or known.url != item.url or not 0 < size < known.size:
            return None
        # The request is sent with If-Range: the server continues the file only if it still has the
        # same version. That needs a validator, and a weak ETag is not one (RFC 9110, 13.1.5).
        return (size, known.version) if validator(known.version) else None

    def _write(self, record: Record) -> None:
        _write_quickly(f"{self.name}.json", record)


@dataclass(frozen=True)
class Store:
    """A folder of downloaded files."""

    root: Path

    def sweep(self) -> int:
        """Remove the leftovers of ended jobs, and return how many files were removed.

        Parts that can be resumed stay, and so do parts that another job has locked.
        """
        count = sweep(self.root)
        for part in self.root.rglob("*.part"):
            if not part.name.startswith(".") and _drop_dead(Entry(str(part.with_suffix("")))):
                count += 1
        return count

    def entry(self, url: str) -> Entry:
        """Return the place of a URL."""
        parts = urlsplit(url)
        names = [name for name in quote(parts.path, safe=_KEPT).split("/") if name]
        if parts.query or not names or {".", ".."} & set(names) or max(map(len, names)) > 150:
            names = [fingerprint(url)[:32]]
        elif parts.path.endswith(_RESERVED_ENDINGS):
            suffix = ".json" if parts.path.endswith(".json") else ""
            names = [fingerprint(url)[:32] + suffix]
        host = quote(parts.netloc, safe=".")
        if host in (".", ".."):
            host = host.replace(".", "%2E")
        # Joined as text: a survey has 10^5 tiles, and building a Path is slower than the rest.
        return Entry("/".join([os.fspath(self.root), host, *names]))


def file_checksum(path: Path) -> str:
    """Return the xxh3_128 of a file: detects damage at a twentieth of the cost of sha256."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, xxhash.xxh3_128).hexdigest()


def validator(version: Version) -> str:
    """Return the validator to send with If-Range; empty if the version has none."""
    return version.etag if version.is_strong else version.last_modified


@contextmanager
def locked_part(entry: Entry) -> Iterator[BinaryIO | None]:
    """Open and lock the part file, positioned at its end; None while another job holds it."""
    name = f"{entry.name}.part"
    try:
        part = open(name, "ab", _BUFFER)  # noqa: SIM115 (closed below)
    except FileNotFoundError:
        os.makedirs(os.path.dirname(name), exist_ok=True)
        part = open(name, "ab", _BUFFER)  # noqa: SIM115
    with part as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
            return
        # The previous holder may have renamed the part since we opened it. Then our lock is on the
        # finished file, and writing would damage it.
        yield handle if _is_still(name, handle) else None


def _drop_dead(entry: Entry) -> bool:
    """Remove the part of an ended job, unless it can be resumed; True if it was removed."""
    name = f"{entry.name}.part"
    with suppress(FileNotFoundError), open(name, "rb") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        known = entry.part_version()
        if known is not None and 0 < os.stat(name).st_size < known.size:
            return False
        if _is_still(name, handle):
            entry.drop_part()
            return True
    return False


def _is_still(name: str, handle: BinaryIO) -> bool:
    try:
        return os.path.samestat(os.stat(name), os.fstat(handle.fileno()))
    except FileNotFoundError:
        return False


def _remove(name: str) -> None:
    if os.access(name, os.F_OK):  # usually absent, and a failed removal is slower than this test
        with suppress(FileNotFoundError):
            os.unlink(name)


def _read(name: str) -> Record | None:
    if not os.access(name, os.F_OK):
        return None
    try:
        with open(name, "rb", buffering=0) as handle:
            return _record(json.loads(handle.read()))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def _record(noted: dict[str, Any]) -> Record | None:
    """Build a record from its JSON; None if it is malformed."""
    noted = {**noted}
    noted.pop("sha256", None)  # written by earlier versions; their files are still valid
    known = Record(**noted)
    texts = [value for name, value in vars(known).items() if name != "size"]
    good = isinstance(known.size, int) and all(isinstance(text, str) for text in texts)
    return known if good else None


def _write_quickly(name: str, record: Record) -> None:
    # No fsync, unlike for products: a record lost in a power cut costs one request.
    folder, _, last = name.rpartition("/")
    temporary = f"{folder}/{hidden_name(last)}"
    with open(temporary, "wb", buffering=0) as handle:
        handle.write(json.dumps(vars(record), sort_keys=True).encode())
    os.replace(temporary, name)


@dataclass(frozen=True)
class Access:
    """Download settings and the folder of downloaded files."""

    settings: DownloadSettings
    root: Path

    @classmethod
    def of(cls, settings: DownloadSettings, output: Path) -> Access:
        """Return the access of a run that writes to ``output``."""
        if settings.cache is None:
            return cls(settings, output / "downloads")
        return cls(settings, expand_path(settings.cache, must_exist=False))

    @property
    def store(self) -> Store:
        """The downloaded files."""
        return Store(self.root / "files")
