"""HiPS tiles: which ones an image needs, reading them, and interpolating them on the image.

The twelve faces (base cells) of HEALPix are squares on the plane of the HPX projection, rotated
by 45 degrees. Within a face, pixel (ix, iy) of a HiPS order counts along the face's north-east
and north-west sides; a HiPS FITS tile is laid out as ``array[W - 1 - ix, iy]``, and so is the
array of a whole face. Tiles of one face therefore join to one array with one exact WCS, without
resampling, and interpolation sees no seams. At the border of a face the array gets one more row
or column from the neighbouring faces.

References
----------
Calabretta & Roukema 2007, MNRAS 381, 865 (the HPX projection).
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np
from astropy.coordinates import ICRS, Galactic, SkyCoord
from astropy.io import fits
from astropy.io.fits.verify import VerifyWarning
from astropy.wcs import WCS

from clusterscan.core import sky
from clusterscan.core.errors import SourceError
from clusterscan.fetch.coadd import Cut, Resampling, coadd
from clusterscan.fetch.download.checks import ContentError, Head, check_fits
from clusterscan.formats.fits_images import celestial_wcs

_BLOCK = 2880


def check_tile(path: Path, *, frame: SkyFrame, order: int, ipix: int, width: int) -> None:
    """Check a tile's structure and size and, if its header states it, its place on the sky.

    Raises
    ------
    ContentError
        If it is not the requested tile.
    """
    images = [head for head in check_fits(path) if head.axes != (0, 0)]
    if not images:
        raise ContentError("contains no image")
    header, (nx, ny) = images[0].header, images[0].axes
    if (nx, ny) != (width, width):
        raise ContentError(f"{nx} × {ny} px, but the tree's tiles have {width} × {width}")
    for key, wanted in (("ORDER", order), ("NPIX", ipix)):
        if key in images[0].keywords and header[key] != wanted:
            raise ContentError(
                f"not the requested tile: {key} is {header[key]} instead of {wanted}"
            )
    if "CTYPE1" in images[0].keywords:
        _check_place(images[0], frame, order, ipix)


def read_tile(data: bytes, where: str, no_data: float | None = None) -> np.ndarray:
    """Return a tile's values.

    Parameters
    ----------
    data : bytes
        The FITS file; the padding of its last block may be missing.
    where : str
        Name of the file, for messages.
    no_data : float, optional
        Value that means no data.

    Returns
    -------
    float32 ndarray, shape (width, width)
        In the layout of the file; NaN where there are no data.

    Raises
    ------
    SourceError
        If it cannot be read.
    """
    padded = io.BytesIO(data + bytes(-len(data) % _BLOCK))
    try:
        # Scaled below and not by astropy, which ignores the non-integer 'BLANK = -32768.0' that
        # real tiles contain.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", VerifyWarning)
            with fits.open(padded, memmap=False, do_not_scale_image_data=True) as hdus:
                hdu = next(h for h in hdus if h.is_image and h.header.get("NAXIS", 0) >= 2)
                raw, header = np.squeeze(hdu.data), hdu.header
    except (OSError, ValueError, TypeError, StopIteration, fits.VerifyError) as error:
        raise SourceError(
            f"{where}: not a readable HiPS tile ({error}); delete it and run again"
        ) from error
    values = raw.astype(np.float32)
    bad = ~np.isfinite(values)
    if raw.dtype.kind in "iu" and "BLANK" in header:
        bad |= raw == int(float(header["BLANK"]))
    scale, zero = float(header.get("BSCALE", 1.0)), float(header.get("BZERO", 0.0))
    if (scale, zero) != (1.0, 0.0):
        values = (raw * scale + zero).astype(np.float32)
    if no_data is not None:
        bad |= values == np.float32(no_data)
    values[bad] = np.nan
    return values


def _check_place(head: Head, frame: SkyFrame, order: int, ipix: int) -> None:
    try:
        wcs = celestial_wcs(head.header, "the tile", "the server sends it like this").celestial
        nx, ny = head.axes
        centre = wcs.pixel_to_world((nx - 1) / 2, (ny - 1) / 2).icrs
        lon, lat = to_frame(centre.ra.deg, centre.dec.deg, frame)
        found = int(sky.owning_cell(np.array([lon]), np.array([lat]), order)[0])
    except (SourceError, ValueError, AttributeError, TypeError) as error:
        raise ContentError(f"its WCS is damaged: {error}") from error
    if found != ipix:
        raise ContentError(
            f"not the requested tile: its WCS puts it in cell {found} instead of {ipix}"
        )


# Index in `sky.neighbours_around` of the neighbour beyond each side of a face.
_SOUTH_WEST, _NORTH_WEST, _NORTH_EAST, _SOUTH_EAST = 0, 2, 4, 6


def reproject_tiles(
    tiles: Mapping[int, np.ndarray],
    order: int,
    frame: SkyFrame,
    wcs: WCS,
    shape: tuple[int, int],
    resampling: Resampling = "bilinear",
) -> np.ndarray:
    """Interpolate HiPS tiles on an image.

    Parameters
    ----------
    tiles : mapping of int to float32 ndarray, shape (width, width)
        Values by cell, in the layout of HiPS FITS files; missing cells have no data.
    order : int
        Order of the tiles.
    frame : {"icrs", "galactic"}
        Frame of the tree.
    wcs, shape : WCS, (ny, nx)
        The image.
    resampling : {"bilinear", "nearest"}
        Interpolation between pixel centres on the HPX plane.

    Returns
    -------
    float32 ndarray, shape (ny, nx)
        NaN where a required pixel has no data.
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
    tiles: Mapping[int, np.ndarray], order: int, face: int, frame: SkyFrame
) -> tuple[np.ndarray, WCS]:
    """Join the tiles of a face to one array, one pixel wider on each side, with its WCS."""
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


def _owning_faces(wcs: WCS, shape: tuple[int, int], frame: SkyFrame) -> np.ndarray:
    """Return the face that holds each pixel of an image, int8, shape (ny, nx)."""
    touched = cells_of_image(wcs, shape, frame, 0, margin_px=1.0)
    if touched.size == 1:  # nearly always the case; avoids computing every pixel's position
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
    """Fill the outermost pixels of a joined face where they lie beyond the face's border."""
    width = next(iter(tiles.values())).shape[0]
    fine = order + width.bit_length() - 1
    side = 2**fine
    rows = np.arange(patch.shape[0] - 2) + top
    columns = np.arange(patch.shape[1] - 2) + left
    bottom, right = int(rows[-1]), int(columns[-1])
    inner = slice(1, -1)

    def beyond(ix: np.ndarray, iy: np.ndarray, direction: int) -> np.ndarray:
        cells = join_cell(face, ix, iy, fine)
        return _pixel_values(sky.neighbours_around(cells, fine)[direction], tiles, width)

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
            # At some corners of a face only three faces meet, so the corner pixel does not exist;
            # the nearest pixel is used instead.
            patch[i, j] = patch[near_i, near_j]


def _pixel_values(cells: np.ndarray, tiles: Mapping[int, np.ndarray], width: int) -> np.ndarray:
    """Return the values of NESTED pixels at the pixels' own order; NaN where unknown."""
    bits = width.bit_length() - 1
    found = np.full(cells.shape, np.nan, np.float32)
    for cell in np.unique(cells[cells >= 0] >> (2 * bits)).tolist():
        if cell in tiles:
            here = (cells >= 0) & (cells >> (2 * bits) == cell)
            _, x, y = split_cell(cells[here] & (4**bits - 1), bits)
            found[here] = tiles[cell][width - 1 - x, y]
    return found


SkyFrame = Literal["icrs", "galactic"]


def to_frame(
    ra_deg: np.ndarray, dec_deg: np.ndarray, frame: SkyFrame
) -> tuple[np.ndarray, np.ndarray]:
    """Convert ICRS positions to (longitude, latitude) in a tree's frame [deg]."""
    if frame == "icrs":
        return ra_deg, dec_deg
    there = SkyCoord(ra_deg, dec_deg, unit="deg", frame=ICRS).transform_to(Galactic())
    return there.l.deg, there.b.deg


def cells_of_image(
    wcs: WCS, shape: tuple[int, int], frame: SkyFrame, order: int, margin_px: float
) -> np.ndarray:
    """Return the sorted cells of an order that a tangent-plane image touches.

    Parameters
    ----------
    wcs, shape : WCS, (ny, nx)
        The image; its sides are great circles, as those of every tangent-plane image.
    frame : {"icrs", "galactic"}
        The frame of the cells.
    order : int
        Their order.
    margin_px : float
        Margin added around the image [image pixels].
    """
    ny, nx = shape
    low, right, top = -0.5 - margin_px, nx - 0.5 + margin_px, ny - 0.5 + margin_px
    ra, dec = wcs.pixel_to_world_values([low, right, right, low], [low, low, top, top])
    return sky.cells_touching_polygon(sky.unit_vectors(*to_frame(ra, dec, frame)), order)


def split_cell(ipix: np.ndarray, order: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Split NESTED cells into (face, x, y); x and y count from the face's southern corner."""
    ipix = np.asarray(ipix, dtype=np.int64)
    face, offset = ipix >> (2 * order), ipix & (4**order - 1)
    x, y = np.zeros_like(offset), np.zeros_like(offset)
    for bit in range(order):
        x |= ((offset >> (2 * bit)) & 1) << bit
        y |= ((offset >> (2 * bit + 1)) & 1) << bit
    return face, x, y


def join_cell(face: int, x: np.ndarray, y: np.ndarray, order: int) -> np.ndarray:
    """Return the NESTED cells at (face, x, y); inverse of `split_cell`."""
    offset = np.zeros(np.broadcast(x, y).shape, np.int64)
    for bit in range(order):
        offset |= ((np.asarray(x, np.int64) >> bit) & 1) << (2 * bit)
        offset |= ((np.asarray(y, np.int64) >> bit) & 1) << (2 * bit + 1)
    return (np.int64(face) << (2 * order)) + offset


def face_wcs(face: int, side_px: int, frame: SkyFrame) -> WCS:
    """Return the WCS of a face's array, shape (side_px, side_px), in the HiPS layout.

    The reference longitude moves with the face, so that no face is cut by the edge of the
    projection.
    """
    polar = face < 4 or face >= 8
    middle = 45.0 if polar else 0.0  # longitude of the face's centre from the reference [deg]
    south = {0: 0.0, 1: -45.0, 2: -90.0}[face // 4]  # its southern corner on the plane [deg]
    step = 45.0 / side_px
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---HPX", "DEC--HPX"] if frame == "icrs" else ["GLON-HPX", "GLAT-HPX"]
    wcs.wcs.cunit = ["deg", "deg"]
    if frame == "icrs":
        wcs.wcs.radesys = "ICRS"
    wcs.wcs.crval = [90.0 * (face % 4), 0.0]
    # x = -step (p1 - c1) - step (p2 - c2) and y = step (p1 - c1) - step (p2 - c2), where
    # iy = p1 - 1 and side - 1 - ix = p2 - 1; solved for the reference pixel (c1, c2).
    wcs.wcs.cd = [[-step, -step], [step, -step]]
    wcs.wcs.crpix = [
        (1.0 + (middle - south) / step) / 2.0,
        (2.0 * side_px + 1.0 + (middle + south) / step) / 2.0,
    ]
    wcs.wcs.set()
    return wcs
