"""HiPS tiles joined face by face, and interpolated on an image.

Tiles of one face join to one array with one exact WCS, so interpolation knows no seams. At the
border of a face the array gets one more row or column from the faces beyond.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from astropy.wcs import WCS

from clusterscan.core import sky
from clusterscan.fetch.coadd import Cut, Resampling, coadd
from clusterscan.fetch.hips.geometry import (
    Frame,
    cells_of_image,
    face_wcs,
    join_cell,
    split_cell,
    to_frame,
)

# For each side of a face: the neighbour's number in `sky.neighbours_around`.
_SOUTH_WEST, _NORTH_WEST, _NORTH_EAST, _SOUTH_EAST = 0, 2, 4, 6


def reproject_tiles(
    tiles: Mapping[int, np.ndarray],
    order: int,
    frame: Frame,
    wcs: WCS,
    shape: tuple[int, int],
    resampling: Resampling = "bilinear",
) -> np.ndarray:
    """Interpolate HiPS tiles on an image.

    Parameters
    ----------
    tiles : mapping of int to float32 ndarray, shape (width, width)
        By cell, in the layout of HiPS FITS files; cells that are missing have no data.
    order : int
        The tiles' order.
    frame : {"icrs", "galactic"}
        The tree's frame.
    wcs, shape : WCS, (ny, nx)
        The image.
    resampling : {"bilinear", "nearest"}
        Interpolation between pixel centres on the HPX plane.

    Returns
    -------
    float32 ndarray, shape (ny, nx)
        NaN where a pixel that is needed has no data.
    """
    image = np.full(shape, np.nan, np.float32)
    if not tiles:
        return image
    owner = _owning_faces(wcs, shape, frame)
    for face in np.unique(owner).tolist():
        patch, patch_wcs = join_face(tiles, order, face, frame)
        if patch.size == 0:
            continue
        cut = Cut(patch, np.isfinite(patch).astype(np.float32), patch_wcs)
        found = coadd([cut], wcs, shape, resampling)
        mine = owner == face
        image[mine] = found[mine]
    return image


def join_face(
    tiles: Mapping[int, np.ndarray], order: int, face: int, frame: Frame
) -> tuple[np.ndarray, WCS]:
    """Join a face's tiles to one array, one pixel wider on each side, with its WCS."""
    cells = np.array(sorted(tiles), dtype=np.int64)
    faces, x, y = split_cell(cells, order)
    width = next(iter(tiles.values())).shape[0]
    side = width * 2**order
    wcs = face_wcs(face, side, frame)
    if not (faces == face).any():
        return np.empty((0, 0), np.float32), wcs
    here = faces == face
    x, y = 2**order - 1 - x[here], y[here]  # x now counts rows of tiles
    top, left = int(x.min()), int(y.min())
    rows, columns = int(x.max()) - top + 1, int(y.max()) - left + 1
    patch = np.full((rows * width + 2, columns * width + 2), np.nan, np.float32)
    for cell, i, j in zip(cells[here].tolist(), x.tolist(), y.tolist(), strict=True):
        row, column = (i - top) * width + 1, (j - left) * width + 1
        patch[row : row + width, column : column + width] = tiles[cell]
    _add_border(patch, tiles, order, face, top * width, left * width)
    wcs.wcs.crpix = [
        wcs.wcs.crpix[0] - (left * width - 1),
        wcs.wcs.crpix[1] - (top * width - 1),
    ]
    wcs.wcs.set()
    return patch, wcs


def _owning_faces(wcs: WCS, shape: tuple[int, int], frame: Frame) -> np.ndarray:
    touched = cells_of_image(wcs, shape, frame, 0, margin_px=1.0)
    if touched.size == 1:  # as nearly always; spares the position of every pixel
        return np.full(shape, touched[0], np.int8)
    y, x = np.indices(shape)
    ra, dec = wcs.pixel_to_world_values(x, y)
    lon, lat = to_frame(ra, dec, frame)
    return sky.owning_cell(lon.ravel(), lat.ravel(), 0).reshape(shape).astype(np.int8)


def _add_border(
    patch: np.ndarray,
    tiles: Mapping[int, np.ndarray],
    order: int,
    face: int,
    top: int,
    left: int,
) -> None:
    """Fill the patch's outermost pixels where they lie beyond the border of the face."""
    width = next(iter(tiles.values())).shape[0]
    fine = order + width.bit_length() - 1
    side = 2**fine
    rows = np.arange(patch.shape[0] - 2) + top
    columns = np.arange(patch.shape[1] - 2) + left
    bottom, right = int(rows[-1]), int(columns[-1])
    inner = slice(1, -1)

    def beyond(ix: np.ndarray, iy: np.ndarray, direction: int) -> np.ndarray:
        cells = join_cell(face, ix, iy, fine)
        return _values(sky.neighbours_around(cells, fine)[direction], tiles, width)

    # Row r of the face holds ix = side - 1 - r, column c holds iy = c.
    if top == 0:
        patch[0, inner] = beyond(np.array(side - 1), columns, _NORTH_EAST)
    if bottom == side - 1:
        patch[-1, inner] = beyond(np.array(0), columns, _SOUTH_WEST)
    if left == 0:
        patch[inner, 0] = beyond(side - 1 - rows, np.array(0), _SOUTH_EAST)
    if right == side - 1:
        patch[inner, -1] = beyond(side - 1 - rows, np.array(side - 1), _NORTH_WEST)
    for i, near_i in ((0, 1), (-1, -2)):
        for j, near_j in ((0, 1), (-1, -2)):
            # At some corners of a face only three faces meet: the nearest pixel stands in.
            patch[i, j] = patch[near_i, near_j]


def _values(cells: np.ndarray, tiles: Mapping[int, np.ndarray], width: int) -> np.ndarray:
    """Return the values of pixels (NESTED, at the pixels' own order); NaN where unknown."""
    bits = width.bit_length() - 1
    found = np.full(cells.shape, np.nan, np.float32)
    for cell in np.unique(cells[cells >= 0] >> (2 * bits)).tolist():
        if cell in tiles:
            here = (cells >= 0) & (cells >> (2 * bits) == cell)
            _, x, y = split_cell(cells[here] & (4**bits - 1), bits)
            found[here] = tiles[cell][width - 1 - x, y]
    return found
