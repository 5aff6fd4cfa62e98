"""Labelled stamps in a zip file or folder, read as data from strangers.

Names in a zip are never used as paths, nothing is unpacked to disk, and sizes are checked
before anything is decoded.
"""

from __future__ import annotations

import io
import warnings
import zipfile
import zlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

import numpy as np

from clusterscan.config.paths import expand_path
from clusterscan.config.source import StampsSource
from clusterscan.errors import SourceError
from clusterscan.provenance.fingerprint import file_sha256, fingerprint

_SUFFIXES = {".jpg", ".jpeg", ".png"}
_FORMATS = ("JPEG", "PNG")
_MAX_RATIO = 200  # deflate reaches 1000 on a bomb of zeros, images are compressed already


@dataclass(frozen=True)
class Stamps:
    """A set of stamps."""

    settings: StampsSource

    @cached_property
    def path(self) -> Path:
        """The zip file or folder."""
        return expand_path(self.settings.path)

    def token(self) -> str:
        """Return a hash that changes with any stamp."""
        if self.path.is_file():
            return file_sha256(self.path)
        return fingerprint({name: file_sha256(self.path / name) for name in self.members()})

    def members(self) -> list[str]:
        """Return the sorted names of all images."""
        return sorted(self._sizes)

    @cached_property
    def _sizes(self) -> dict[str, int]:
        sizes = self._zip_sizes() if self.path.is_file() else self._folder_sizes()
        if len(sizes) > self.settings.max_members:
            raise SourceError(
                f"{self.path}: {len(sizes)} images, more than max_members: "
                f"{self.settings.max_members}; raise it if that is right"
            )
        return sizes

    def _folder_sizes(self) -> dict[str, int]:
        root = self.path.resolve()
        found = {}
        for file in sorted(root.rglob("*")):
            # A link may lead out of the folder: only what really lies inside is taken.
            if file.is_file() and file.resolve().is_relative_to(root) and _is_image(file.name):
                found[file.relative_to(root).as_posix()] = file.stat().st_size
        return found

    def _zip_sizes(self) -> dict[str, int]:
        try:
            with zipfile.ZipFile(self.path) as archive:
                infos = archive.infolist()
        except (OSError, zipfile.BadZipFile) as error:
            raise SourceError(f"{self.path}: neither a folder nor a zip file ({error})") from error
        found = {}
        for info in infos:
            if not info.is_dir() and _is_image(info.filename):
                _check_name(info.filename, self.path)
                self._check_size(info)
                found[info.filename] = info.file_size
        return found

    def _check_size(self, info: zipfile.ZipInfo) -> None:
        if info.file_size > self.settings.max_member_bytes:
            raise SourceError(
                f"{self.path}: {info.filename} unpacks to {info.file_size} bytes, more than "
                f"max_member_bytes: {self.settings.max_member_bytes}; raise it if that is right"
            )
        if info.file_size > _MAX_RATIO * max(info.compress_size, 100):
            times = info.file_size // max(info.compress_size, 1)
            raise SourceError(
                f"{self.path}: {info.filename} unpacks {times} times its size, as no "
                "image does; the archive is damaged or hostile"
            )

    def read(self, member: str) -> np.ndarray:
        """Read one stamp.

        Returns
        -------
        float32 ndarray, shape (bands, size_px, size_px)
            Pixel values 0 to 255; rows from south to north, as in a FITS image with north up.

        Raises
        ------
        SourceError
            If there is no such stamp, or it is no image of the right size.
        """
        return self._decode(self._bytes(member), member)

    def _bytes(self, member: str) -> bytes:
        if member not in self._sizes:
            raise SourceError(
                f"{self.path}: holds no stamp {member!r} (it has {len(self._sizes)}, the first is "
                f"{next(iter(self.members()), None)!r}); check the labels' member column"
            )
        limit = self.settings.max_member_bytes
        if self.path.is_dir():
            with (self.path / member).open("rb") as handle:
                data = handle.read(limit + 1)
        else:
            try:
                with self._archive.open(member) as handle:
                    # The directory's size is a claim: read no more than the limit.
                    data = handle.read(limit + 1)
            # RuntimeError: encrypted, or packed by a method that Python does not know.
            except (zipfile.BadZipFile, zlib.error, OSError, EOFError, RuntimeError) as error:
                raise SourceError(
                    f"{self.path}: {member} cannot be unpacked ({error}); restore the archive"
                ) from error
        if len(data) > limit:
            raise SourceError(f"{self.path}: {member} is larger than max_member_bytes: {limit}")
        return data

    @cached_property
    def _archive(self) -> zipfile.ZipFile:
        return zipfile.ZipFile(self.path)

    def _decode(self, data: bytes, member: str) -> np.ndarray:
        from PIL import Image

        side, channels = self.settings.size_px, len(self.settings.bands)
        where = f"{self.path}: {member}"
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", Image.DecompressionBombWarning)
                with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
                    if image.size != (side, side):  # known from the header, before decoding
                        raise SourceError(
                            f"{where} has {image.size[0]} × {image.size[1]} px, "
                            f"but size_px is {side}"
                        )
                    pixels = np.asarray(image.convert("RGB" if channels == 3 else "L"))
        except (OSError, ValueError, SyntaxError, Warning, Image.DecompressionBombError) as error:
            raise SourceError(f"{where} is no JPEG or PNG image ({error})") from error
        planes = pixels.reshape(side, side, -1).transpose(2, 0, 1).astype(np.float32)
        if planes.shape[0] != channels:
            raise SourceError(f"{where} has {planes.shape[0]} channels, bands names {channels}")
        return planes[:, ::-1] if self.settings.row_0 == "north" else planes


def _is_image(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in _SUFFIXES


def _check_name(name: str, archive: Path) -> None:
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or ":" in path.parts[0] or "\0" in name:
        raise SourceError(
            f"{archive}: member {name!r} points outside the archive; it is damaged or hostile"
        )
