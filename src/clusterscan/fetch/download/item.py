"""What is to be downloaded, and what became of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

_MOST_DIGITS = 40
"""Python refuses to read numbers of some thousand digits."""


@dataclass(frozen=True)
class Version:
    """What a server says of a file's version: HTTP validators, RFC 9110 section 8.8."""

    etag: str = ""
    last_modified: str = ""
    length: int | None = None

    @classmethod
    def of(cls, headers: Mapping[str, str]) -> Version:
        """Return the version in a response's headers (names in lower case)."""
        length = headers.get("content-length", "")
        return cls(
            headers.get("etag", ""),
            headers.get("last-modified", ""),
            int(length) if length.isdecimal() and len(length) < _MOST_DIGITS else None,
        )

    @property
    def is_strong(self) -> bool:
        """Whether it changes with every byte: a strong ETag does, a date of whole seconds not."""
        return bool(self.etag) and not self.etag.startswith("W/")

    @property
    def token(self) -> str:
        """The strongest token in it; empty where the server tells nothing."""
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
        Its name in messages and manifests.
    url : str
        Where it is.
    token : str
        The version that is wanted; a file kept under the same token is not asked for again.
    check : callable, optional
        ``check(path)`` raises `ContentError` where the file is not what it should be.
    """

    name: str
    url: str
    token: str = ""
    check: Callable[[Path], None] | None = None


@dataclass(frozen=True)
class Outcome:
    """What became of one file.

    Attributes
    ----------
    status : str
        ``ok``: ``path`` holds it; ``absent``: the server has no such file; ``failed``.
    path : Path, optional
        The file.
    words : str
        Why it is not ``ok``, in the server's words where it sent some.
    version : Version
        The version that the server told.
    """

    status: Literal["ok", "absent", "failed"]
    path: Path | None = None
    words: str = ""
    version: Version = Version()
