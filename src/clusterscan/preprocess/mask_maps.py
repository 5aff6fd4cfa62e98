"""Masks in files: HEALPix maps, images in CAR, TAN or another projection, and MOCs.

Each pixel of a tile takes the value of the mask pixel under its centre; nothing is interpolated.
For sync, the content of a file around a tile is hashed without computing the tile's pixels, so that
a changed file redoes only the tiles under which it changed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS
from astropy.wcs.utils import proj_plane_pixel_area

from clusterscan.config.preprocess import MapMask
from clusterscan.core import sky
from clusterscan.core.errors import SourceError
from clusterscan.formats.fits_images import celestial_wcs, read_window, window_of, window_wcs
from clusterscan.formats.healpix_map import HealpixMap
from clusterscan.formats.moc import read_moc
from clusterscan.preprocess.mask_regions import Box, Directions

_ROWS = 256  # rows of a tile looked at together: bounds the memory
_FINEST = 29


def masked_pixels(mask: MapMask, path: Path, directions: Directions) -> np.ndarray:
    """Return True for the pixels of an image that a mask file masks, shape (ny, nx).

    Raises
    ------
    SourceError
        If the file is not such a mask.
    """
    ny, nx = directions.shape
    found = np.zeros((ny, nx), bool)
    ask = _OPENED[mask.format](mask, path, directions.wcs, directions.shape)
    for start in range(0, ny, _ROWS):
        box = Box(0, nx, start, min(start + _ROWS, ny))
        found[box.slices] = ask.at(directions, box)
    return found


def digest(mask: MapMask, path: Path, wcs: WCS, shape: tuple[int, int]) -> str:
    """Return a hash of a mask file's content around an image; empty if nothing there is masked.

    Raises
    ------
    SourceError
        If the file is not such a mask.
    """
    content = _OPENED[mask.format](mask, path, wcs, shape).content()
    if content is None:
        return ""
    return hashlib.sha256(content).hexdigest()


class _Opened(Protocol):
    """A mask file, opened for one image."""

    def at(self, directions: Directions, box: Box) -> np.ndarray:
        """Return True for the masked pixels of a box of the image, with the box's shape."""
        ...

    def content(self) -> bytes | None:
        """Return the file's content around the image, to be hashed; None: nothing is masked."""
        ...


class _Moc:
    """A multi-order coverage map, as ranges of cells of order 29."""

    def __init__(self, mask: MapMask, path: Path, wcs: WCS, shape: tuple[int, int]):
        self._inside = mask.bad == "inside"
        self._ranges = np.asarray(read_moc(path).to_depth29_ranges, dtype=np.uint64)
        self._around = circle_around(wcs, shape)

    def at(self, directions: Directions, box: Box) -> np.ndarray:
        """Return True for pixels on the masked side of the MOC's border."""
        cells = sky.pixels_of_vectors(directions.vectors(box), 2**_FINEST, nested=True)
        return self._holds(cells) == self._inside

    def content(self) -> bytes | None:
        """Return the MOC's cells in a circle around the image; None if it masks none of it."""
        from mocpy import MOC

        (ra, dec), radius = self._around
        # Cells that are small beside the circle, so that the MOC of the circle follows its border.
        order = int(np.clip(np.ceil(np.log2(58.6 / radius)) + 5, 3, 20))
        cone = MOC.from_cone(
            lon=ra * u.deg, lat=dec * u.deg, radius=radius * u.deg, max_depth=order
        )
        here = MOC.from_depth29_ranges(_FINEST, self._ranges).intersection(cone)
        ranges = np.asarray(here.to_depth29_ranges)
        if self._inside:
            return ranges.tobytes() if ranges.size else None
        return None if here == cone else ranges.tobytes()

    def _holds(self, cells: np.ndarray) -> np.ndarray:
        ranges = self._ranges
        if not len(ranges):
            return np.zeros(cells.shape, bool)
        place = np.searchsorted(ranges[:, 0], cells.astype(np.uint64), side="right") - 1
        return (place >= 0) & (cells.astype(np.uint64) < ranges[np.maximum(place, 0), 1])


class _Healpix:
    """A HEALPix map of the whole sky; only the part around the image is read."""

    def __init__(self, mask: MapMask, path: Path, wcs: WCS, shape: tuple[int, int]):
        (ra, dec), radius = circle_around(wcs, shape)
        nested = None if mask.ordering is None else mask.ordering == "nested"
        healpix = HealpixMap(path, mask.extension, mask.column, mask.frame, nested)
        part = healpix.around(ra, dec, radius)
        self._frame, self._nside, self._nested = part.frame, part.nside, part.nested
        self._pixels = part.pixels
        self._bad = _beyond(part.values, mask)
        self._directions = Directions(wcs, shape)

    def at(self, directions: Directions, box: Box) -> np.ndarray:
        """Return True for pixels whose centre lies in a masked HEALPix pixel."""
        v = directions.vectors(box)
        if self._frame == "galactic":
            v = np.einsum("ij,jyx->iyx", _icrs_to_galactic(), v)
        cells = sky.pixels_of_vectors(v, self._nside, nested=self._nested)
        place = np.searchsorted(self._pixels, cells)
        return self._bad[np.minimum(place, len(self._pixels) - 1)]

    def content(self) -> bytes | None:
        """Return the map's system and the masked HEALPix pixels that may lie under the image."""
        vectors = sky.vectors_of_pixels(self._pixels, self._nside, nested=self._nested)
        if self._frame == "galactic":
            vectors = vectors @ _icrs_to_galactic()
        reach = sky.cell_radius_deg(self._nside.bit_length() - 1)
        here = self._pixels[self._bad & _reaching(self._directions, vectors, reach)]
        system = f"{self._frame} {self._nside} {self._nested}".encode()
        return system + here.tobytes() if here.size else None


class _Image:
    """An image; only the rows and columns under the tile are read."""

    def __init__(self, mask: MapMask, path: Path, wcs: WCS, shape: tuple[int, int]):
        self._mask = mask
        try:
            # Without memory mapping, which fails for unsigned integers; sections are read alone
            # either way.
            with fits.open(path, memmap=False) as hdus:
                hdu = _image_hdu(hdus, mask.extension, path)
                image = celestial_wcs(hdu.header, str(path), "correct the mask's `extension`")
                image = image.celestial
                self._window = window_of(image, hdu.shape[-2:], wcs, shape)
                if self._window is None:
                    return
                values = read_window(hdu.section, self._window, hdu.shape[-1])
        except (OSError, ValueError, TypeError) as error:
            raise SourceError(f"{path}: not a mask image ({error}); restore the file") from error
        self._wcs = window_wcs(image, self._window)
        self._bad = _beyond(values, mask)
        self._directions = Directions(wcs, shape)

    def at(self, directions: Directions, box: Box) -> np.ndarray:
        """Return True for pixels whose centre lies in a masked mask pixel, or outside the mask."""
        if self._window is None:  # no value here: masked, like everything beyond the image's border
            return np.ones((box.y1 - box.y0, box.x1 - box.x0), bool)
        x, y = _looked_up(self._wcs, directions.wcs, box)
        ny, nx = self._bad.shape
        seen = np.isfinite(x) & np.isfinite(y)
        column = np.floor(np.where(seen, x, -1.0) + 0.5).astype(np.int64)
        row = np.floor(np.where(seen, y, -1.0) + 0.5).astype(np.int64)
        if self._window.period is not None:
            column = np.where(seen, column % self._window.period, -1)
        inside = (column >= 0) & (row >= 0) & (column < nx) & (row < ny)
        found = self._bad[np.where(inside, row, 0), np.where(inside, column, 0)]
        return found | ~inside

    def content(self) -> bytes | None:
        """Return the masked mask pixels that may lie under the image, and their positions."""
        if self._window is None:
            return b"no value"
        y, x = np.nonzero(self._bad)
        where = self._wcs.pixel_to_world(x, y).icrs.cartesian
        vectors = np.stack([where.x.value, where.y.value, where.z.value], axis=-1)
        reach = np.sqrt(proj_plane_pixel_area(self._wcs))
        near = _reaching(self._directions, vectors, reach)
        # Everything beyond the image's border is masked, whatever its own bad pixels are.
        beyond = self._reaches_out()
        if not near.any() and not beyond:
            return None
        places = np.stack([x[near], y[near]]).astype(np.int64).tobytes()
        return places + self._wcs.to_header_string().encode() + (b"border" if beyond else b"")

    def _reaches_out(self) -> bool:
        ny, nx = self._directions.shape
        grid = np.meshgrid(np.linspace(-1, nx, 65), np.linspace(-1, ny, 65))
        x, y = _through(self._wcs, self._directions.wcs, *grid)
        rows, columns = self._bad.shape
        out = ~(np.isfinite(x) & np.isfinite(y)) | (y < 0) | (y > rows - 1)
        if self._window is not None and self._window.period is None:
            out |= (x < 0) | (x > columns - 1)
        return bool(out.any())


_Open = Callable[[MapMask, Path, WCS, tuple[int, int]], _Opened]
_OPENED: dict[str, _Open] = {"moc": _Moc, "healpix": _Healpix, "image": _Image}


def _reaching(directions: Directions, vectors: np.ndarray, reach_deg: float) -> np.ndarray:
    """Return True for mask pixels, given by their centres, that may lie under an image."""
    ny, nx = directions.shape
    x, y = directions.places(vectors)
    # A tangent plane is stretched away from its centre, by a factor of 1.5 at 35 degrees.
    grown = 1.5 * reach_deg / np.sqrt(proj_plane_pixel_area(directions.wcs)) + 1.0
    with np.errstate(invalid="ignore"):
        return (x > -grown) & (x < nx - 1 + grown) & (y > -grown) & (y < ny - 1 + grown)


def _beyond(values: np.ndarray, mask: MapMask) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        if mask.bad == "below":
            return ~(values >= mask.threshold)  # negated, so that NaN is masked
        return ~(values <= mask.threshold)


def _looked_up(image: WCS, frame: WCS, box: Box) -> tuple[np.ndarray, np.ndarray]:
    """Return where the pixels of a frame lie in an image [px].

    Computed on every eighth pixel and interpolated, if the cells' centres show that this is
    accurate to a twentieth of a pixel. Otherwise (at a pole) computed for every pixel.
    """
    step = 8
    x = np.arange(box.x0, box.x1 + 2 * step, step, dtype=np.float64)
    y = np.arange(box.y0, box.y1 + 2 * step, step, dtype=np.float64)
    coarse = _through(image, frame, *np.meshgrid(x, y))
    middle = _through(image, frame, *np.meshgrid(x[:-1] + step / 2, y[:-1] + step / 2))
    guess = [(c[:-1, :-1] + c[1:, :-1] + c[:-1, 1:] + c[1:, 1:]) / 4 for c in coarse]
    fine = [np.arange(box.x0, box.x1) - x[0], np.arange(box.y0, box.y1) - y[0]]
    with np.errstate(invalid="ignore"):
        good = all((np.abs(g - m) < 0.05).all() for g, m in zip(guess, middle, strict=True))
    if not good:
        return _through(image, frame, *np.meshgrid(fine[0] + x[0], fine[1] + y[0]))
    (i, u), (j, v) = (np.divmod(f / step, 1.0) for f in fine)
    i, j = i.astype(int), j.astype(int)
    found = []
    for c in coarse:
        rows = c[j] * (1 - v)[:, None] + c[j + 1] * v[:, None]
        found.append(rows[:, i] * (1 - u) + rows[:, i + 1] * u)
    return found[0], found[1]


def _through(image: WCS, frame: WCS, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    there = image.world_to_pixel(frame.pixel_to_world(x, y))
    return np.asarray(there[0]), np.asarray(there[1])


def circle_around(wcs: WCS, shape: tuple[int, int]) -> tuple[tuple[float, float], float]:
    """Return the centre (ra_deg, dec_deg) and radius [deg] of a circle that contains an image."""
    ny, nx = shape
    where = wcs.pixel_to_world(
        np.array([(nx - 1) / 2, -1, nx, -1, nx]), np.array([(ny - 1) / 2, -1, -1, ny, ny])
    ).icrs
    ra, dec = where.ra.deg, where.dec.deg
    radius = float(sky.separation_deg(ra[0], dec[0], ra[1:], dec[1:]).max())
    return (float(ra[0]), float(dec[0])), 1.001 * radius


def _icrs_to_galactic() -> np.ndarray:
    axes = SkyCoord([0, 90, 0], [0, 0, 90], unit="deg", frame="icrs").galactic.cartesian
    return np.stack([axes.x.value, axes.y.value, axes.z.value])


def _image_hdu(hdus: fits.HDUList, extension: str | int | None, path: Path):
    try:
        if extension is not None:
            return hdus[extension]
        return next(h for h in hdus if h.is_image and len(h.shape) >= 2)
    except (KeyError, IndexError, StopIteration) as error:
        raise SourceError(
            f"{path}: no image {'' if extension is None else extension}; correct `extension`"
        ) from error
