"""Flat frames of the sky: patches to draw, map values on their pixels, and axes in degrees.

NESTED ordering, ICRS. Patches are zenithal equal-area (ZEA), whole skies Aitoff (AIT); east is
to the left, north up at the centre.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from clusterscan.core import sky
from clusterscan.formats.map_tile import read_map_tile, tile_path
from clusterscan.report import look

if TYPE_CHECKING:
    from astropy.visualization.wcsaxes import WCSAxes
    from astropy.wcs import WCS
    from matplotlib.figure import Figure

LARGEST_PATCH_DEG = 40.0  # radius; larger patches are drawn on a whole sky
MOST_PATCHES = 4
MOST_TILES_READ = 400
FINE = 2  # samples along a side of each drawn pixel; the largest is shown


@dataclass(frozen=True)
class SkyFrame:
    """A flat frame: its projection and shape (ny, nx), and True for ``all_sky`` if it is whole."""

    wcs: WCS
    shape: tuple[int, int]
    all_sky: bool

    @cached_property
    def samples(self) -> tuple[np.ndarray, np.ndarray]:
        """Positions (ra_deg, dec_deg) of samples, shape (ny, nx, FINE**2); NaN off the sky."""
        ny, nx = self.shape
        # FINE x FINE points spread evenly over each pixel, as offsets from its centre.
        part = (np.arange(FINE) + 0.5) / FINE - 0.5
        y, x, dy, dx = np.meshgrid(np.arange(ny), np.arange(nx), part, part, indexing="ij")
        ra, dec = self.wcs.pixel_to_world_values(
            (x + dx).reshape(ny, nx, -1), (y + dy).reshape(ny, nx, -1)
        )
        return np.asarray(ra), np.asarray(dec)

    def contains(self, ra_deg: np.ndarray, dec_deg: np.ndarray) -> np.ndarray:
        """Return True for positions within the frame."""
        if self.all_sky or not len(ra_deg):
            return np.ones(len(ra_deg), dtype=bool)
        centre = self.wcs.wcs.crval
        # A zenithal projection also places the far side of the sky in the image; only positions in
        # front count.
        near = sky.separation_deg(ra_deg, dec_deg, centre[0], centre[1]) < 89
        x, y = self.wcs.world_to_pixel_values(ra_deg, dec_deg)
        inside = (x > -0.5) & (x < self.shape[1] - 0.5) & (y > -0.5) & (y < self.shape[0] - 0.5)
        return near & inside


def sky_frames(cells: np.ndarray, order: int, pixels: int = 620) -> list[SkyFrame]:
    """Choose frames that together show all given cells.

    Parameters
    ----------
    cells : int array
        HEALPix cells; those that touch share a frame.
    order : int
        Their order.
    pixels : int
        Pixels along a frame's longer side.
    """
    if not len(cells):
        return []
    patches = _patches(np.unique(cells), order)
    frames = [_patch_frame(patch, order, pixels) for patch in patches[:MOST_PATCHES]]
    # Few compact patches get a picture each; else one picture of all, and a whole sky if no flat
    # frame can hold them.
    if len(patches) <= MOST_PATCHES and all(frame is not None for frame in frames):
        return [frame for frame in frames if frame is not None]
    whole = _patch_frame(np.unique(cells), order, pixels)
    return [whole or _aitoff_frame(pixels)]


def frame_values(
    frame: SkyFrame, folder: Path, tiles: Collection[int], tile_order: int
) -> np.ndarray:
    """Draw a map on a frame, shape (ny, nx): the largest value in each pixel, NaN if none.

    Only the given tiles are drawn: the folder may hold others, of a larger footprint. Large maps
    are read from the coarser orders of their HiPS.
    """
    order, present = tile_order, set(tiles)
    # Each step up means a quarter of the tiles; the HiPS tree was made for this.
    while order > 0 and len(present) > MOST_TILES_READ:
        order, present = order - 1, {tile // 4 for tile in present}
    ra, dec = frame.samples
    good = np.isfinite(ra) & np.isfinite(dec)
    found = np.full(ra.shape, np.nan, dtype=np.float32)
    cell = sky.owning_cell(ra[good], dec[good], sky.MAX_ORDER)
    tile = sky.ancestor(cell, sky.MAX_ORDER, order)
    flat = np.full(cell.size, np.nan, dtype=np.float32)
    # Sorting the samples by tile lets each map tile be read once.
    by_tile = np.argsort(tile, kind="stable")
    tiles, first = np.unique(tile[by_tile], return_index=True)
    for number, rows in zip(tiles, np.split(by_tile, first[1:]), strict=True):
        path = tile_path(folder, int(number), order)
        if int(number) in present and path.is_file():
            values = read_map_tile(path)
            # A tile of W x W pixels is log2(W) orders coarser than its pixels.
            map_order = order + (values.size.bit_length() - 1) // 2
            offset = sky.ancestor(cell[rows], sky.MAX_ORDER, map_order) - number * values.size
            flat[rows] = values[offset]
    found[good] = flat
    # The largest of the samples, not their mean: a candidate is a few map pixels wide, and would
    # fade away in a picture of many square degrees.
    return np.fmax.reduce(found, axis=-1)


def tile_values(frame: SkyFrame, tile: np.ndarray, values: np.ndarray, order: int) -> np.ndarray:
    """Return the value of the tile under each pixel of a frame, NaN off the tiles."""
    ra, dec = (a[..., 0] for a in frame.samples)
    good = np.isfinite(ra) & np.isfinite(dec)
    sort = np.argsort(tile)
    cell = sky.owning_cell(ra[good], dec[good], order)
    # A look-up in the sorted list of tiles; the comparison below rejects cells that are not in it.
    at = np.minimum(np.searchsorted(tile[sort], cell), tile.size - 1)
    image = np.full(frame.shape, np.nan)
    image[good] = np.where(tile[sort][at] == cell, values[sort][at], np.nan)
    return image


def frame_regions(
    frame: SkyFrame, region_of: Callable[[np.ndarray, np.ndarray], np.ndarray]
) -> np.ndarray:
    """Return the name of the region of each pixel of a frame ('' off the sky)."""
    ra, dec = (a[..., 0] for a in frame.samples)
    good = np.isfinite(ra) & np.isfinite(dec)
    names = np.full(frame.shape, "", dtype=object)
    names[good] = region_of(ra[good], dec[good])
    return names


def frame_covered(frame: SkyFrame, cells: Sequence[int], order: int) -> np.ndarray:
    """Return True for the pixels of a frame that lie in any of the cells."""
    ra, dec = (a[..., 0] for a in frame.samples)
    good = np.isfinite(ra) & np.isfinite(dec)
    covered = np.zeros(frame.shape, dtype=bool)
    covered[good] = np.isin(sky.owning_cell(ra[good], dec[good], order), np.asarray(cells))
    return covered


def sky_figure(frame: SkyFrame, *, wide: bool = False) -> tuple[Figure, WCSAxes]:
    """Return a figure with axes in degrees for images on a frame."""
    ny, nx = frame.shape
    width = 6.2 if wide or frame.all_sky else 4.8
    height = float(np.clip(0.8 * width * ny / nx + (0.9 if wide else 0.4), 2.6, 1.25 * width))
    figure = look.new_figure(width, height)
    options: dict[str, Any] = {"projection": frame.wcs}
    if frame.all_sky:
        from astropy.visualization.wcsaxes.frame import EllipticalFrame

        options["frame_class"] = EllipticalFrame
    axes = figure.add_subplot(**options)
    ra, dec = axes.coords
    ra.set_axislabel("Right ascension [deg]")
    dec.set_axislabel("Declination [deg]")
    span_deg = abs(frame.wcs.wcs.cdelt[1]) * max(frame.shape)
    for coordinate in (ra, dec):
        coordinate.set_major_formatter("d" if span_deg > 8 else "d.d" if span_deg > 1 else "d.ddd")
        coordinate.set_ticks(number=5 if wide else 4)
        coordinate.grid(color=look.GREY, alpha=0.35, linewidth=0.6)
    return figure, axes


def _patches(cells: np.ndarray, order: int) -> list[np.ndarray]:
    """Return groups of touching cells, the largest group first."""
    left, patches = set(cells.tolist()), []
    while left:
        todo = [min(left)]
        left.remove(todo[0])
        # Flood fill: cells that touch a cell of the patch join it until none is left.
        patch = []
        while todo:
            cell = todo.pop()
            patch.append(cell)
            around = left.intersection(sky.neighbours(cell, order).tolist())
            left -= around
            todo.extend(sorted(around))
        patches.append(np.array(sorted(patch)))
    return sorted(patches, key=lambda patch: (-patch.size, patch[0]))


def _patch_frame(cells: np.ndarray, order: int, pixels: int) -> SkyFrame | None:
    corners = np.concatenate([sky.outline_vectors(cell, order, step=4) for cell in cells])
    centre = corners.mean(axis=0)
    length = np.linalg.norm(centre)
    # The cells surround the sky so evenly that their mean has no direction.
    if length < 0.1:
        return None
    centre /= length
    radius_deg = float(np.degrees(np.arccos(np.clip(corners @ centre, -1, 1)).max()))
    if radius_deg > LARGEST_PATCH_DEG:
        return None
    # Projected with pixels of 1 deg first, to measure the patch; then with the scale that fits.
    ra, dec = _lonlat(centre[None])
    wcs = _wcs("ZEA", float(ra[0]), float(dec[0]), 1.0)
    x, y = wcs.world_to_pixel_values(*_lonlat(corners))
    span_x, span_y = np.ptp(x) * 1.04, np.ptp(y) * 1.04  # [deg], as the pixels were 1 deg
    scale = max(span_x, span_y) / pixels
    shape = (max(int(np.ceil(span_y / scale)), 2), max(int(np.ceil(span_x / scale)), 2))
    wcs = _wcs("ZEA", float(ra[0]), float(dec[0]), scale)
    middle = (x.max() + x.min()) / 2 / scale, (y.max() + y.min()) / 2 / scale
    wcs.wcs.crpix = [(shape[1] + 1) / 2 - middle[0], (shape[0] + 1) / 2 - middle[1]]
    return SkyFrame(wcs, shape, False)


def _aitoff_frame(pixels: int) -> SkyFrame:
    width = pixels * 3 // 2
    scale = 330.0 / width  # an Aitoff sky is 4 sqrt(2) rad = 324 deg wide
    shape = (width // 2, width)
    wcs = _wcs("AIT", 0.0, 0.0, scale)
    wcs.wcs.crpix = [(shape[1] + 1) / 2, (shape[0] + 1) / 2]
    return SkyFrame(wcs, shape, True)


def _wcs(projection: str, ra_deg: float, dec_deg: float, scale_deg: float) -> WCS:
    from astropy.wcs import WCS

    wcs = WCS(naxis=2)
    wcs.wcs.ctype = [f"RA---{projection}", f"DEC--{projection}"]
    wcs.wcs.cunit = ["deg", "deg"]
    wcs.wcs.radesys = "ICRS"
    wcs.wcs.crval = [ra_deg, dec_deg]
    wcs.wcs.crpix = [1.0, 1.0]
    wcs.wcs.cdelt = [-scale_deg, scale_deg]
    return wcs


def _lonlat(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    ra = np.degrees(np.arctan2(vectors[:, 1], vectors[:, 0])) % 360.0
    return ra, np.degrees(np.arctan2(vectors[:, 2], np.hypot(vectors[:, 0], vectors[:, 1])))
