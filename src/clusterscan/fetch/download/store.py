"""Where downloaded files lie, and what is known of each: one small record beside each file.

A file is named by its URL, so runs, surveys and jobs share what they have in common. A transfer
under way lies in a ``.part`` file that its writer locks: a second job waits for the first
instead of asking the server again, and the lock goes with its process.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, Literal
from urllib.parse import quote, urlsplit

import xxhash

from clusterscan.core.atomic import hidden_name
from clusterscan.core.fingerprint import fingerprint
from clusterscan.core.sweep import sweep
from clusterscan.fetch.download.item import Item, Outcome, Version

_BUFFER = 64 * 1024
_KEPT = "/@+,=-_.~"
"""Characters that stay in a path, besides letters and digits."""
_NOT_A_FILES_NAME = ("/", ".json", ".part")
"""How a path ends that must be named otherwise: a folder, or what a store puts beside a file."""


@dataclass(frozen=True)
class Record:
    """What is known of a file: its version, and the token under which it was asked for."""

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
        """The version as the server told it."""
        return Version(self.etag, self.last_modified, self.size)

    def is_of(self, path: Path) -> bool:
        """Whether a file holds the bytes that arrived; without a checksum it is taken to."""
        return not self.checksum or file_checksum(path) == self.checksum


@dataclass(frozen=True)
class Entry:
    """The place of one URL in a store: its file's name, and the names beside it."""

    name: str

    @property
    def path(self) -> Path:
        """The file."""
        return Path(self.name)

    @property
    def part(self) -> Path:
        """The transfer under way."""
        return Path(f"{self.name}.part")

    def record(self) -> Record | None:
        """Return what is known of the file, or None; a file of the wrong size is not known."""
        found = _read(f"{self.name}.json")
        if found is not None and found.status == "ok":
            try:
                if os.stat(self.name).st_size != found.size:
                    return None
            except FileNotFoundError:
                return None
        return found

    def outcome(self, token: str | None) -> Outcome | None:
        """Return the file under a token (None: under any), if it is kept."""
        return self.as_outcome(self.record(), token)

    def as_outcome(self, known: Record | None, token: str | None) -> Outcome | None:
        """Return what is known as an outcome, if it is known under the token."""
        if known is None or (token is not None and (not token or known.token != token)):
            return None
        if known.status == "absent":
            return Outcome("absent", None, known.words, known.version)
        return Outcome("ok", self.path, "", known.version)

    def keep(self, item: Item, version: Version, size: int, checksum: str) -> Outcome:
        """Make the finished part the file."""
        # The file first: a record without its file would be a claim about nothing.
        os.replace(f"{self.name}.part", self.name)
        _remove(f"{self.name}.part.json")
        record = Record(
            "ok", item.url, item.token, version.etag, version.last_modified, size, checksum
        )
        self._write(record)
        return Outcome("ok", self.path, "", record.version)

    def renew(self, item: Item, known: Record) -> Outcome:
        """Note that the server still has the version that is kept."""
        if known.token != item.token:
            self._write(replace(known, token=item.token))
        return Outcome("ok", self.path, "", known.version)

    def note_absent(self, item: Item, words: str) -> Outcome:
        """Note that the server has no such file."""
        _remove(self.name)
        self.drop_part()
        self._write(Record("absent", item.url, item.token, words=words))
        return Outcome("absent", None, words)

    def forget(self) -> None:
        """Remove the file and what is known of it."""
        self.forget_record()
        _remove(self.name)

    def forget_record(self) -> None:
        """Remove what is known of the file: it is asked for again."""
        _remove(f"{self.name}.json")

    def drop_part(self) -> None:
        """Forget the transfer under way."""
        _remove(f"{self.name}.part")
        self.drop_part_record()

    def drop_part_record(self) -> None:
        """Forget of which version the part is: it is not resumed."""
        _remove(f"{self.name}.part.json")

    def note_part(self, item: Item, version: Version) -> None:
        """Note of which version the part is, so that it can be resumed."""
        size = version.length or 0
        record = Record("ok", item.url, item.token, version.etag, version.last_modified, size)
        _write_quickly(f"{self.name}.part.json", record)

    def part_version(self) -> Record | None:
        """Return what is known of the version of which the part is."""
        return _read(f"{self.name}.part.json")

    def resumable(self, item: Item, size: int) -> tuple[int, Version] | None:
        """Return how much of which version lies in a part of some bytes, if it can go on."""
        known = self.part_version() if size else None
        if known is None or known.url != item.url or not 0 < size < known.size:
            return None
        # If-Range needs a validator, and a weak ETag is none (RFC 9110, section 13.1.5).
        return (size, known.version) if validator(known.version) else None

    def _write(self, record: Record) -> None:
        _write_quickly(f"{self.name}.json", record)


@dataclass(frozen=True)
class Store:
    """A folder of downloaded files."""

    root: Path

    def sweep(self) -> int:
        """Remove what ended jobs left and nobody can go on with; return how many files.

        A transfer that can be resumed stays, and so does one that another job holds.
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
        elif parts.path.endswith(_NOT_A_FILES_NAME):
            suffix = ".json" if parts.path.endswith(".json") else ""
            names = [fingerprint(url)[:32] + suffix]
        host = quote(parts.netloc, safe=".")
        if host in (".", ".."):
            host = host.replace(".", "%2E")
        # Joined as text: the tiles of a sky are many, and a Path costs more than its file's name.
        return Entry("/".join([os.fspath(self.root), host, *names]))


def file_checksum(path: Path) -> str:
    """Return the xxh3_128 of a file's bytes: finds damage, at a twentieth of what sha256 costs."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, xxhash.xxh3_128).hexdigest()


def validator(version: Version) -> str:
    """Return what If-Range may be asked with; empty where there is nothing fit."""
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
        # The holder may just have renamed it: then the lock is on the finished file.
        yield handle if _is_still(name, handle) else None


def _drop_dead(entry: Entry) -> bool:
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
    if os.access(name, os.F_OK):  # as a rule not: a failed removal costs more
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
    """Return what was noted as a record; None for what is none."""
    noted = {**noted}
    noted.pop("sha256", None)  # of earlier stores, whose files are as good
    known = Record(**noted)
    texts = [value for name, value in vars(known).items() if name != "size"]
    good = isinstance(known.size, int) and all(isinstance(text, str) for text in texts)
    return known if good else None


def _write_quickly(name: str, record: Record) -> None:
    # No fsync, unlike for products: after a power cut a lost record costs one request.
    folder, _, last = name.rpartition("/")
    temporary = f"{folder}/{hidden_name(last)}"
    with open(temporary, "wb", buffering=0) as handle:
        handle.write(json.dumps(vars(record), sort_keys=True).encode())
    os.replace(temporary, name)
