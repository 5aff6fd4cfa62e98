"""Where downloaded files lie, and what is known of each: one small record beside each file.

A file is named by its URL, so runs, surveys and jobs share what they have in common. A transfer
under way lies in a ``.part`` file that its writer locks: a second job waits for the first
instead of asking the server again, and the lock goes with its process.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import BinaryIO, Literal
from urllib.parse import quote, urlsplit

from clusterscan.fetch.download.item import Item, Outcome, Version
from clusterscan.provenance.atomic import temporary_name
from clusterscan.provenance.fingerprint import fingerprint
from clusterscan.provenance.sweep import sweep


@dataclass(frozen=True)
class Record:
    """What is known of a file: its version, and the token under which it was asked for."""

    status: Literal["ok", "absent"]
    url: str
    token: str
    etag: str = ""
    last_modified: str = ""
    size: int = 0
    sha256: str = ""
    words: str = ""

    @property
    def version(self) -> Version:
        """The version as the server told it."""
        return Version(self.etag, self.last_modified, self.size)


@dataclass(frozen=True)
class Entry:
    """The place of one URL in a store."""

    path: Path

    @cached_property
    def part(self) -> Path:
        """The transfer under way."""
        return self.path.with_name(self.path.name + ".part")

    @cached_property
    def part_record(self) -> Path:
        """The version of which the part is."""
        return self.path.with_name(self.path.name + ".part.json")

    @cached_property
    def record_path(self) -> Path:
        """What is known of the file."""
        return self.path.with_name(self.path.name + ".json")

    def record(self) -> Record | None:
        """Return what is known of the file, or None; a file of the wrong size is not known."""
        found = _read(self.record_path)
        if found is not None and found.status == "ok":
            try:
                if os.stat(self.path).st_size != found.size:
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

    def keep(self, item: Item, version: Version, size: int, sha256: str) -> Outcome:
        """Make the finished part the file."""
        # The file first: a record without its file would be a claim about nothing.
        os.replace(self.part, self.path)
        if os.access(self.part_record, os.F_OK):  # as a rule not: a failed removal costs more
            self.part_record.unlink(missing_ok=True)
        record = Record(
            "ok", item.url, item.token, version.etag, version.last_modified, size, sha256
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
        self.path.unlink(missing_ok=True)
        self.drop_part()
        self._write(Record("absent", item.url, item.token, words=words))
        return Outcome("absent", None, words)

    def forget(self) -> None:
        """Remove the file and what is known of it."""
        self.record_path.unlink(missing_ok=True)
        self.path.unlink(missing_ok=True)

    def drop_part(self) -> None:
        """Forget the transfer under way."""
        self.part.unlink(missing_ok=True)
        self.part_record.unlink(missing_ok=True)

    def note_part(self, item: Item, version: Version) -> None:
        """Note of which version the part is, so that it can be resumed."""
        size = version.length or 0
        record = Record("ok", item.url, item.token, version.etag, version.last_modified, size)
        _write_quickly(self.part_record, record)

    def resumable(self, item: Item) -> tuple[int, Version] | None:
        """Return how much of which version lies in the part, if it can be continued."""
        size = os.stat(self.part).st_size
        known = _read(self.part_record) if size else None
        if known is None or known.url != item.url or not 0 < size < known.size:
            return None
        # If-Range needs a validator, and a weak ETag is none (RFC 9110, section 13.1.5).
        return (size, known.version) if validator(known.version) else None

    def _write(self, record: Record) -> None:
        _write_quickly(self.record_path, record)


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
            if not part.name.startswith(".") and _drop_dead(Entry(part.with_suffix(""))):
                count += 1
        return count

    def entry(self, url: str) -> Entry:
        """Return the place of a URL."""
        parts = urlsplit(url)
        names = [quote(name, safe="@+,=-_.~") for name in parts.path.split("/") if name]
        if parts.query or not names or {".", ".."} & set(names) or max(map(len, names)) > 150:
            names = [fingerprint(url)[:32]]
        return Entry(self.root.joinpath(quote(parts.netloc, safe="."), *names))


def validator(version: Version) -> str:
    """Return what If-Range may be asked with; empty where there is nothing fit."""
    return version.etag if version.is_strong else version.last_modified


@contextmanager
def locked_part(entry: Entry) -> Iterator[BinaryIO | None]:
    """Open and lock the part file, positioned at its end; None while another job holds it."""
    try:
        part = open(entry.part, "ab")  # noqa: SIM115 (closed below)
    except FileNotFoundError:
        entry.path.parent.mkdir(parents=True, exist_ok=True)
        part = open(entry.part, "ab")  # noqa: SIM115
    with part as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
            return
        # The holder may just have renamed it: then the lock is on the finished file.
        yield handle if _is_still(entry.part, handle) else None


def _drop_dead(entry: Entry) -> bool:
    with suppress(FileNotFoundError), entry.part.open("rb") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        known = _read(entry.part_record)
        if known is not None and 0 < entry.part.stat().st_size < known.size:
            return False
        if _is_still(entry.part, handle):
            entry.drop_part()
            return True
    return False


def _is_still(path: Path, handle: BinaryIO) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(handle.fileno()))
    except FileNotFoundError:
        return False


def _read(path: Path) -> Record | None:
    try:
        with open(path, "rb", buffering=0) as handle:
            return Record(**json.loads(handle.read()))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def _write_quickly(path: Path, record: Record) -> None:
    # No fsync, unlike for products: after a power cut a lost record costs one request.
    temporary = temporary_name(path)
    with open(temporary, "wb", buffering=0) as handle:
        handle.write(json.dumps(vars(record), sort_keys=True).encode())
    os.replace(temporary, path)
