"""Where a file of an archive is: on this machine, or on a server and then in the cache."""

from __future__ import annotations

import gzip
import io
import re
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from astropy.io import fits

from clusterscan.core.data_paths import expand_path
from clusterscan.core.errors import SourceError
from clusterscan.core.progress import Progress
from clusterscan.fetch.download.batch import download_checked, probe_all
from clusterscan.fetch.download.checks import ContentError, check_fits
from clusterscan.fetch.download.store import Access, Item, Outcome
from clusterscan.fetch.file_tokens import FileTokens

RELEASED = "weak released"
"""The token of a file whose address names a release: nobody is asked whether it changed."""

_CHUNK = 1 << 20
_MOST_UNPACKED_BYTES = 1 << 27


def is_url(place: str) -> bool:
    """Whether a place is on a server."""
    return place.startswith(("http://", "https://"))


def place_of(template: str, tile: str) -> str:
    """Return a file's place, an atlas tile's name filled in."""
    if not tile:
        return template
    parts = {"{tile}": tile, "{tile3}": tile[:3], "{end3}": tile[-3:]}
    return re.sub(r"\{(tile3?|end3)\}", lambda match: parts[match[0]], template)


@dataclass(frozen=True)
class Places:
    """The files of an archive, by place: a URL or a path.

    Attributes
    ----------
    access : Access
        How to download and where to.
    versions : {"sha256", "mtime", "release"}
        What tells a changed file on this machine; release: files on servers never change.
    """

    access: Access
    versions: str

    def tokens(
        self, places: Iterable[str], known: Mapping[str, str], progress: Progress | None = None
    ) -> tuple[dict[str, str], list[str], set[str]]:
        """Return tokens by place, problems in the servers' words, and places without a file.

        Parameters
        ----------
        places : iterable of str
            Distinct places.
        known : mapping of str to str
            Tokens seen earlier, kept where a server does not answer.
        """
        places = list(places)
        found, problems, absent = {}, [], set()
        remote = [Item(place, place) for place in places if is_url(place)]
        if self.versions == "release":
            found, remote = dict.fromkeys((item.name for item in remote), RELEASED), []
        outcomes = probe_all(remote, self.access.store, self.access.settings, progress)
        for place, outcome in outcomes.items():
            if outcome.status == "absent":
                absent.add(place)
            elif outcome.status == "failed":
                problems.append(outcome.words)
                if place in known:
                    found[place] = known[place]
            else:
                strong = outcome.version.is_strong
                found[place] = f"{'' if strong else 'weak '}{outcome.version.token}"
        for place in (place for place in places if not is_url(place)):
            token = self._local_token(expand_path(place, must_exist=False))
            if token is None:
                absent.add(place)
            else:
                found[place] = token
        return found, problems, absent

    def fetch(
        self, tokens: Mapping[str, str], progress: Progress | None = None
    ) -> dict[str, Outcome]:
        """Bring files to this machine; return what became of each, by place."""
        remote = [
            Item(place, place, token, check_archive_file)
            for place, token in sorted(tokens.items())
            if is_url(place)
        ]
        found = download_checked(remote, self.access.store, self.access.settings, progress)
        for place in sorted(set(tokens) - set(found)):
            path = expand_path(place, must_exist=False)
            if path.is_file():
                found[place] = Outcome("ok", path)
            else:
                words = f"{path}: gone since it was listed; restore it, or sync again"
                found[place] = Outcome("failed", None, words)
        return found

    def _local_token(self, path: Path) -> str | None:
        if not path.is_file():
            return None
        if self.versions in ("mtime", "release"):
            return FileTokens.mtime(path)
        tokens = FileTokens(path.parent, self.access.root)
        token = tokens.sha256(path)
        tokens.save()
        return token


def check_archive_file(path: Path) -> None:
    """Check that a file is whole: FITS, or FITS in gzip, whose checksum is then compared.

    Raises
    ------
    ContentError
        If it is not.
    """
    with path.open("rb") as handle:
        compressed = handle.read(2) == b"\x1f\x8b"
    if not compressed:
        check_fits(path)
        return
    try:
        with gzip.open(path) as handle:
            first = handle.read(9)
            while handle.read(_CHUNK):
                pass
    except (OSError, EOFError, zlib.error) as error:
        raise ContentError(f"damaged gzip file: {error}") from error
    if first != b"SIMPLE  =":
        raise ContentError("no FITS file in the gzip file")


def whole_path(path: Path) -> Path:
    """Return a path after a quick look that a file on this machine is whole.

    Raises
    ------
    SourceError
        If it is not.
    """
    try:
        check_archive_file(path)
    except (ContentError, OSError) as error:
        raise SourceError(f"{path}: {error}; restore the file") from error
    return path


def open_whole(path: Path) -> fits.HDUList:
    """Open a FITS file after a quick look that it is whole.

    A small gzip file is unpacked once, in memory: to check it and then to read it would unpack it
    twice, and takes longer than all else that is done with the image of an atlas.

    Raises
    ------
    SourceError
        If it is not.
    """
    content = _unpacked(path)
    try:
        if content is not None:
            return fits.open(io.BytesIO(content))
        return fits.open(whole_path(path), memmap=True)
    except OSError as error:  # what a gzip file holds may end in its header
        raise SourceError(f"{path}: cannot be read ({error}); restore the file") from error


def _unpacked(path: Path) -> bytes | None:
    """Return what a small gzip file holds, its checksum compared; None if it is no such file."""
    if not path.is_file() or path.stat().st_size > _MOST_UNPACKED_BYTES:
        return None
    with path.open("rb") as handle:
        if handle.read(2) != b"\x1f\x8b":
            return None
        handle.seek(0)
        unpack = zlib.decompressobj(wbits=31)  # gzip
        try:
            content = unpack.decompress(handle.read(), _MOST_UNPACKED_BYTES)
        except zlib.error:
            return None  # `whole_path` says what is wrong with it
    whole = unpack.eof and not unpack.unused_data
    return content if whole and content.startswith(b"SIMPLE  =") else None
