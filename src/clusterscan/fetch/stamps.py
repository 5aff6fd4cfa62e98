"""Stamps in a zip file or folder, read as data from strangers.

Names in a zip are never used as paths, nothing is unpacked to disk, and sizes are checked
before anything is decoded.
"""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

import numpy as np

from clusterscan.config.image_sources import StampsSource
from clusterscan.core.data_paths import expand_path
from clusterscan.core.errors import SourceError
from clusterscan.core.fingerprint import file_sha256, fingerprint
from clusterscan.fetch.stamp_image import StampImage, decode, is_picture, is_stamp

_MAX_RATIO = 200  # deflate reaches 1000 on a bomb of zeros, pictures are compressed already


@dataclass(frozen=True)
class StampFiles:
    """The files of a set of stamps, by name.

    Attributes
    ----------
    path : Path
        A zip file or folder.
    max_member_bytes, max_members : int
        Larger files and sets are refused.
    strict : bool
        Refuse a zip with a member that is too large, not only that member.
    """

    path: Path
    max_member_bytes: int = 8_000_000
    max_members: int = 1_000_000
    strict: bool = True

    def token(self) -> str:
        """Return a hash that changes with any stamp."""
        if self.path.is_file():
            return file_sha256(self.path)
        return fingerprint({name: file_sha256(self.path / name) for name in self.members()})

    def members(self) -> list[str]:
        """Return the sorted names of all images.

        Raises
        ------
        SourceError
            If it is neither a folder nor a zip file, or damaged, hostile or too large.
        """
        return sorted(self._sizes)

    def read_bytes(self, member: str) -> bytes:
        """Return a file's bytes.

        Raises
        ------
        SourceError
            If there is no such stamp, it is too large, or cannot be unpacked.
        """
        if member not in self._sizes:
            raise SourceError(
                f"{self.path}: holds no stamp {member!r} (it has {len(self._sizes)}, the first is "
                f"{next(iter(self.members()), None)!r}); check the labels' member column"
            )
        limit = self.max_member_bytes
        if self._sizes[member] > limit:
            raise SourceError(f"{self.path}: {member} is larger than max_member_bytes: {limit}")
        if self.path.is_dir():
            data = self._from_folder(member, limit)
        else:
            data = self._from_zip(member, limit)
        if len(data) > limit:
            raise SourceError(f"{self.path}: {member} is larger than max_member_bytes: {limit}")
        return data

    def _from_folder(self, member: str, limit: int) -> bytes:
        try:
            with (self.path / member).open("rb") as handle:
                return handle.read(limit + 1)
        except OSError as error:
            raise SourceError(f"{self.path}: {member} cannot be read ({error})") from error

    def _from_zip(self, member: str, limit: int) -> bytes:
        try:
            with self._archive.open(member) as handle:
                # The directory's size is a claim: read no more than the limit.
                return handle.read(limit + 1)
        # RuntimeError: encrypted, or packed by a method that Python does not know.
        except (zipfile.BadZipFile, zlib.error, OSError, EOFError, RuntimeError) as error:
            raise SourceError(
                f"{self.path}: {member} cannot be unpacked ({error}); restore the archive"
            ) from error

    @cached_property
    def _archive(self) -> zipfile.ZipFile:
        return zipfile.ZipFile(self.path)

    @cached_property
    def _sizes(self) -> dict[str, int]:
        sizes = self._zip_sizes() if self.path.is_file() else self._folder_sizes()
        if len(sizes) > self.max_members:
            raise SourceError(
                f"{self.path}: {len(sizes)} images, more than max_members: "
                f"{self.max_members}; raise it if that is right"
            )
        return sizes

    def _folder_sizes(self) -> dict[str, int]:
        root = self.path.resolve()
        found = {}
        for file in sorted(root.rglob("*")):
            # A link may lead out of the folder: only what really lies inside is taken.
            name = file.relative_to(root).as_posix()
            inside = file.is_file() and file.resolve().is_relative_to(root)
            if inside and is_stamp(name) and not _is_shadow(name):
                found[name] = file.stat().st_size
        return found

    def _zip_sizes(self) -> dict[str, int]:
        try:
            with zipfile.ZipFile(self.path) as archive:
                infos = archive.infolist()
        except (OSError, zipfile.BadZipFile) as error:
            raise SourceError(f"{self.path}: neither a folder nor a zip file ({error})") from error
        found = {}
        for info in infos:
            if not info.is_dir() and is_stamp(info.filename) and not _is_shadow(info.filename):
                _check_name(info.filename, self.path)
                if self.strict:
                    self._check_size(info)
                found[info.filename] = info.file_size
        return found

    def _check_size(self, info: zipfile.ZipInfo) -> None:
        if info.file_size > self.max_member_bytes:
            raise SourceError(
                f"{self.path}: {info.filename} unpacks to {info.file_size} bytes, more than "
                f"max_member_bytes: {self.max_member_bytes}; raise it if that is right"
            )
        # An honest FITS image may be all zeros.
        if is_picture(info.filename) and info.file_size > _MAX_RATIO * max(info.compress_size, 100):
            times = info.file_size // max(info.compress_size, 1)
            raise SourceError(
                f"{self.path}: {info.filename} unpacks {times} times its size, as no "
                "image does; the archive is damaged or hostile"
            )


@dataclass(frozen=True)
class Stamps:
    """A set of stamps and what a config says of them."""

    settings: StampsSource

    @cached_property
    def files(self) -> StampFiles:
        """The files."""
        settings = self.settings
        return StampFiles(
            expand_path(settings.path), settings.max_member_bytes, settings.max_members
        )

    @property
    def path(self) -> Path:
        """The zip file or folder."""
        return self.files.path

    def token(self) -> str:
        """Return a hash that changes with any stamp."""
        return self.files.token()

    def members(self) -> list[str]:
        """Return the sorted names of all images."""
        return self.files.members()

    def read(self, member: str) -> np.ndarray:
        """Read one stamp.

        Returns
        -------
        float32 ndarray, shape (bands, ny, nx)
            Pixel values (0 to 255 of a JPEG or PNG); rows from south to north, as in a FITS
            image with north up; NaN where a FITS stamp has no value.

        Raises
        ------
        SourceError
            If there is no such stamp, or it is no image of the right size and scale.
        """
        return self.image(member, self.files.read_bytes(member)).planes

    def image(self, member: str, data: bytes) -> StampImage:
        """Decode a stamp's bytes and check it against the settings.

        Raises
        ------
        SourceError
            As `read`.
        """
        settings = self.settings
        extensions = settings.extensions
        image = decode(
            data,
            f"{self.path}: {member}",
            bands=len(settings.bands),
            side_px=settings.size_px,
            row_0=settings.row_0,
            extensions=None if extensions is None else [extensions[b] for b in settings.bands],
            max_bytes=settings.max_member_bytes,
        )
        said, wanted = image.pixel_scale_arcsec, settings.pixel_scale_arcsec
        if said is not None and abs(said / wanted - 1) > 1e-3:
            raise SourceError(
                f"{self.path}: {member} has pixels of {said} arcsec by its WCS, but "
                f"pixel_scale_arcsec is {wanted}; correct it"
            )
        return image


def _is_shadow(name: str) -> bool:
    """Whether a file is what a Mac packs beside each file: its attributes under the same name."""
    parts = PurePosixPath(name).parts
    return "__MACOSX" in parts or parts[-1].startswith("._")


def _check_name(name: str, archive: Path) -> None:
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or ":" in path.parts[0] or "\0" in name:
        raise SourceError(
            f"{archive}: member {name!r} points outside the archive; it is damaged or hostile"
        )
