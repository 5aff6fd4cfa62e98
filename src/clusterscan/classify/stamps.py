"""Stamps as rows to classify: read, checked against the model's card, brought to its pixels."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from clusterscan.classify.classifier import Row
from clusterscan.core.errors import ConfigError, ImageError, ModelError, SourceError
from clusterscan.fetch.stamp_files import StampFiles, StampImage, decode, is_picture, stem
from clusterscan.networks.card import check_fits
from clusterscan.sample.crops import StampTooSmallError, fit_stamp, mean_of_bands, to_half

GREY = ("grey",)
_SAME = 1e-2  # a WCS and a person may differ by this much about a pixel size, relative
_AHEAD = 2  # chunks that are read while the network works
_NUMBER = r"([+-]?\d+(?:\.\d+)?)"
_POSITION = re.compile(rf"(?<![a-z])ra[=_]?{_NUMBER}.*?dec[=_]?{_NUMBER}", re.IGNORECASE)


@dataclass(frozen=True)
class StampReading:
    """What the user says about stamps, beyond what their files say.

    Attributes
    ----------
    pixel_scale_arcsec : float or None
        Pixel size [arcsec]; None: each stamp says its own.
    bands : tuple of str or None
        Names of their channels or planes; None: the model's, in its order.
    extensions : tuple of str or None
        FITS extensions, one a band.
    row_0 : {"north", "south"}
        Side of the sky that a picture's first row shows.
    resample : bool
        Allow pixel sizes that do not divide the model's.
    max_member_bytes : int
        Larger files are refused.
    """

    pixel_scale_arcsec: float | None = None
    bands: tuple[str, ...] | None = None
    extensions: tuple[str, ...] | None = None
    row_0: Literal["north", "south"] = "north"
    resample: bool = False
    max_member_bytes: int = 64_000_000


class StampRows:
    """The stamps of a folder or zip file, as rows for one model.

    Raises
    ------
    SourceError
        If there is no stamp.
    ModelError
        If the model reads several surveys, or other bands.
    ConfigError
        If the stamps are pictures and no pixel size is given.
    """

    def __init__(
        self, path: Path, card: dict[str, Any], size_px: int, reading: StampReading = StampReading()
    ):
        if not path.exists():
            raise SourceError(f"{path}: there is no such folder or zip file; correct --stamps")
        self._files = StampFiles(path, reading.max_member_bytes, strict=False)
        self._card = card
        self._size_px = size_px
        self._reading = reading
        self._members = self._files.members()
        if not self._members:
            raise SourceError(
                f"{path} holds no JPEG, PNG or FITS image; give the folder or zip file"
            )
        if len(card["views"]) > 1:
            raise ModelError(
                f"{card['file']}: the model reads {len(card['views'])} surveys, a stamp shows one; "
                "classify by --positions, from a run's tile images"
            )
        self._view = card["views"][0]
        self._scale = float(self._view["pixel_scale_arcsec"])
        self._wanted = tuple(self._view["bands"])
        self._check()

    def _check(self) -> None:
        reading = self._reading
        if reading.bands is not None and self._wanted != GREY:
            chosen = [band for band in self._wanted if band in reading.bands]
            # Stamps with more bands than the model, or in another order, still serve.
            fits = len(chosen) == len(self._wanted)
            check_fits(self._card, 0, self._wanted if fits else reading.bands, self._scale)
        if reading.pixel_scale_arcsec is None and any(is_picture(m) for m in self._members):
            raise ConfigError(
                f"{self._files.path} holds JPEG or PNG images, which do not say their pixel size; "
                f"give --pixel-scale (the model in {self._card['file']} reads pixels of "
                f"{self._scale:g} arcsec)"
            )

    def __len__(self) -> int:
        return len(self._members)

    def chunks(self, size: int, workers: int) -> Iterator[list[Row]]:
        """Yield rows in the members' order, reading a little ahead in other threads."""
        # Decoding is slow and leaves the network idle, so the next chunks are decoded on threads; a
        # queue of a few chunks bounds memory whatever the number of stamps.
        parts = [self._members[i : i + size] for i in range(0, len(self), size)]
        with ThreadPoolExecutor(workers) as pool:
            waiting: deque[list[Future[Row]]] = deque()
            for part in parts:
                waiting.append([pool.submit(self.row, member) for member in part])
                if len(waiting) > _AHEAD:
                    yield [future.result() for future in waiting.popleft()]
            while waiting:
                yield [future.result() for future in waiting.popleft()]

    def row(self, member: str) -> Row:
        """Return a stamp's row: with its image, or with the fault that it has."""
        where = f"{self._files.path}: {member}"
        row = Row(stem(member), member, *position_of_name(member))
        try:
            stamp = decode(
                self._files.read_bytes(member),
                where,
                row_0=self._reading.row_0,
                extensions=self._reading.extensions,
                max_bytes=self._reading.max_member_bytes,
            )
        except SourceError as error:
            reason = str(error).removeprefix(where).lstrip(": ")  # the row names the file already
            return replace(row, status="unreadable", reason=reason)
        if np.isfinite(stamp.ra_deg):
            row = replace(row, ra_deg=stamp.ra_deg, dec_deg=stamp.dec_deg)
        try:
            return replace(row, images=(self._fit(stamp),))
        except _UnfitError as fault:
            return replace(row, status=fault.status, reason=str(fault))

    def _fit(self, stamp: StampImage) -> np.ndarray:
        """Return the centre of a stamp in the model's bands and pixels, float16."""
        planes = self._chosen(stamp.planes)
        if not np.isfinite(planes).any():
            raise _UnfitError("no_values", "all of its pixels are missing")
        scale = self._scale_of(stamp)
        try:
            image = fit_stamp(
                planes, scale, self._size_px, self._scale, resample=self._reading.resample
            )
        except StampTooSmallError as error:
            raise _UnfitError("wrong_size", str(error)) from error
        except ImageError as error:
            raise _UnfitError("wrong_scale", str(error)) from error
        if not np.isfinite(image).any():
            raise _UnfitError("no_values", "all pixels of its centre are missing")
        return to_half(image)

    def _chosen(self, planes: np.ndarray) -> np.ndarray:
        """Return the model's bands of a stamp's planes."""
        given = self._reading.bands
        if given is not None and len(given) != len(planes):
            raise _UnfitError(
                "wrong_bands", f"has {len(planes)} bands, --bands names {', '.join(given)}"
            )
        if self._wanted == GREY:
            return mean_of_bands(planes)
        if given is not None:
            return planes[[given.index(band) for band in self._wanted]]
        if len(planes) != len(self._wanted):
            raise _UnfitError(
                "wrong_bands",
                f"has {len(planes)} bands, the model of {self._card['file']} reads "
                f"{', '.join(self._wanted)}; name them by --bands, or take a model for such images",
            )
        return planes

    def _scale_of(self, stamp: StampImage) -> float:
        """Return a stamp's pixel size [arcsec], by its WCS or by the user; both must agree."""
        said, given = stamp.pixel_scale_arcsec, self._reading.pixel_scale_arcsec
        if said is None and given is None:
            raise _UnfitError("wrong_scale", "has no WCS with its pixel size; give --pixel-scale")
        if said is not None and given is not None and abs(said / given - 1) > _SAME:
            raise _UnfitError(
                "wrong_scale",
                f"has pixels of {said:g} arcsec by its WCS, but --pixel-scale is {given:g}",
            )
        return float(given if said is None else said)  # type: ignore[arg-type]


class _UnfitError(Exception):
    """The model cannot read a stamp; carries the row's status and the reason."""

    def __init__(self, status: str, reason: str):
        super().__init__(reason)
        self.status = status


def position_of_name(member: str) -> tuple[float, float]:
    """Return the position in a name such as ``sdss_ra=49.24_dec=41.57.jpg`` [deg], or NaN."""
    found = _POSITION.search(stem(member))
    if found is None:
        return np.nan, np.nan
    ra, dec = float(found[1]), float(found[2])
    return (ra % 360.0, dec) if abs(ra) <= 360 and abs(dec) <= 90 else (np.nan, np.nan)
