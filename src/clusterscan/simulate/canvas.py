"""The canvas of a simulated image: its frame on the sky, and sources put on its pixels.

The canvas is wider than the image by a border, so that objects outside can shine in. Point sources
are spread over 3 x 3 pixels with a quadratic B-spline (triangular-shaped cloud), whose second
moment is 1/4 px2 wherever in the pixel the source lies. The convolution with the PSF divides that
window out again, so positions are exact to a small part of a pixel.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
from astropy.wcs import WCS
from astropy.wcs.utils import proj_plane_pixel_area
from scipy import fft

from clusterscan.core import sky
from clusterscan.core.errors import ImageError
from clusterscan.simulate.sky_cells import GENERATION_ORDER


class Frame:
    """A celestial frame, widened by a border so that objects outside can shine in.

    Pixel coordinates are those of the widened image: 0-based, centres at integers.

    Parameters
    ----------
    wcs : astropy.wcs.WCS
        Any two-axis celestial WCS in equatorial (ICRS) coordinates.
    shape : (ny, nx)
        The image's shape [pixels].
    border_px : int
        Width of the border on each side [pixels].

    Raises
    ------
    ImageError
        If the WCS is not equatorial or the shape is empty.
    """

    def __init__(self, wcs: WCS, shape: tuple[int, int], border_px: int) -> None:
        if not (wcs.has_celestial and wcs.wcs.lngtyp == "RA"):
            raise ImageError(
                f"the simulated sky needs an equatorial WCS, got axes {list(wcs.wcs.ctype)}; "
                "give the frame as RA/Dec (ICRS)"
            )
        if min(shape) < 1:
            raise ImageError(f"the simulated image's shape {shape} is empty; give (ny, nx) >= 1")
        self.wcs = wcs
        self.shape = (int(shape[0]), int(shape[1]))
        self.border_px = int(border_px)

    @property
    def wide_shape(self) -> tuple[int, int]:
        """Shape (ny, nx) with the border."""
        return self.shape[0] + 2 * self.border_px, self.shape[1] + 2 * self.border_px

    @cached_property
    def scale_arcsec(self) -> float:
        """Side of a square with a pixel's area [arcsec]."""
        return float(np.sqrt(proj_plane_pixel_area(self.wcs.celestial)) * 3600.0)

    def inner(self, wide: np.ndarray) -> np.ndarray:
        """Return the image without its border (last two axes)."""
        b = self.border_px
        return wide[..., b : b + self.shape[0], b : b + self.shape[1]]

    def to_pixel(self, ra_deg: np.ndarray, dec_deg: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return pixel positions (x, y) in the widened image; NaN where not projected."""
        x, y = self.wcs.all_world2pix(np.asarray(ra_deg), np.asarray(dec_deg), 0, quiet=True)
        return x + self.border_px, y + self.border_px

    def inside(self, x: np.ndarray, y: np.ndarray, margin_px: float = 0.0) -> np.ndarray:
        """Return True for positions in the widened image, or up to a margin outside it."""
        ny, nx = self.wide_shape
        m = margin_px + 0.5
        return (x > -m) & (x < nx - 1 + m) & (y > -m) & (y < ny - 1 + m)

    def pixel_vectors(self, step: int = 1) -> np.ndarray:
        """Return the unit vectors of the widened image's pixels, shape (ny, nx, 3), float64."""
        ny, nx = self.wide_shape
        y, x = np.mgrid[0:ny:step, 0:nx:step]
        ra, dec = self.wcs.all_pix2world(x.ravel() - self.border_px, y.ravel() - self.border_px, 0)
        return _vectors(ra, dec).reshape(*x.shape, 3)

    @cached_property
    def cone(self) -> tuple[float, float, float]:
        """Cone (ra_deg, dec_deg, radius_deg) that contains the widened image."""
        ny, nx = self.wide_shape
        x = np.linspace(-0.5, nx - 0.5, 9)
        y = np.linspace(-0.5, ny - 0.5, 9)
        gx, gy = (a.ravel() - self.border_px for a in np.meshgrid(x, y))
        ra, dec = self.wcs.all_pix2world(gx, gy, 0)
        points = _vectors(ra, dec)
        points = points[np.isfinite(points).all(axis=1)]
        if len(points) == 0:
            raise ImageError("no pixel of the frame lies on the sky; check its CRVAL and CRPIX")
        centre = points.mean(axis=0)
        centre /= np.linalg.norm(centre)
        radius = np.degrees(np.arccos(np.clip((points @ centre).min(), -1.0, 1.0)))
        ra0 = float(np.degrees(np.arctan2(centre[1], centre[0])) % 360.0)
        # Two per cent more: the edge is sampled at 9 x 9 points and may bulge between them.
        return ra0, float(np.degrees(np.arcsin(centre[2]))), float(radius) * 1.02

    def cells(self, margin_arcmin: float = 0.0, order: int = GENERATION_ORDER) -> np.ndarray:
        """Return the sorted cells that reach the widened image or a margin around it."""
        # The cone is a cheap first choice; then each cell's outline is compared with the image.
        ra, dec, radius = self.cone
        near = sky.cells_in_cone(ra, dec, radius + margin_arcmin / 60.0, order)
        margin_px = margin_arcmin * 60.0 / self.scale_arcsec * 1.05
        return np.array([c for c in near if self._reaches(c, order, margin_px)], dtype=np.int64)

    def _reaches(self, cell: int, order: int, margin_px: float) -> bool:
        """Return True if a cell's outline touches the widened image or its margin."""
        outline = sky.outline_vectors(int(cell), order, step=4)
        ra = np.degrees(np.arctan2(outline[:, 1], outline[:, 0])) % 360.0
        x, y = self.to_pixel(ra, np.degrees(np.arcsin(outline[:, 2])))
        if not np.isfinite(x).all():
            return True  # at the projection's edge: keep the cell, its objects are tested singly
        ny, nx = self.wide_shape
        return bool(
            x.max() > -margin_px
            and x.min() < nx + margin_px
            and y.max() > -margin_px
            and y.min() < ny + margin_px
        )


def _vectors(ra_deg: np.ndarray, dec_deg: np.ndarray) -> np.ndarray:
    ra, dec = np.radians(ra_deg), np.radians(dec_deg)
    return np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=-1)


# --- light on the pixels ----------------------------------------------------------------------


_NEAR_Y, _NEAR_X = (side.reshape(9, 1) - 1 for side in np.indices((3, 3)))


def deposit(x: np.ndarray, y: np.ndarray, fluxes: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Spread point sources over 3 x 3 pixels each.

    Parameters
    ----------
    x, y : float ndarray, shape (n,)
        Positions [pixels], centres at integers; sources outside the grid are dropped.
    fluxes : float ndarray, shape (bands, n)
        Flux of each source in each band.
    shape : (ny, nx)
        The grid.

    Returns
    -------
    float32 ndarray, shape (bands, ny, nx)
    """
    ny, nx = shape
    ix, iy = np.rint(x), np.rint(y)
    # A source needs all of its nine pixels. The border of the canvas is wide enough that sources
    # dropped here leave no light in the image itself.
    good = (ix >= 1) & (ix <= nx - 2) & (iy >= 1) & (iy <= ny - 2)
    x, y = x[good], y[good]
    ix, iy = ix[good].astype(np.int64), iy[good].astype(np.int64)
    # np.bincount adds up millions of sources in one pass, in float64 and in a fixed order.
    wx, wy = _spline_weights(x - ix), _spline_weights(y - iy)
    base = iy * nx + ix
    # Flat pixel indices of the 3 x 3 pixels around each source, shape (9, n): `_NEAR_Y` and
    # `_NEAR_X` hold the nine steps -1, 0, 1.
    index = (base[None, :] + _NEAR_Y * nx + _NEAR_X).ravel()
    weight = (wy[:, None, :] * wx[None, :, :]).reshape(9, -1)
    grids = np.empty((len(fluxes), ny, nx), dtype=np.float32)
    for grid, flux in zip(grids, fluxes, strict=True):
        sums = np.bincount(index, (weight * flux[good]).ravel(), minlength=ny * nx)
        grid[...] = sums.reshape(shape)
    return grids


def _spline_weights(d: np.ndarray) -> np.ndarray:
    """Return the weights of the pixel before, at and after a source d px off the middle one."""
    # The weights sum to 1 and have their centroid at d, so flux and position are conserved.
    # Depositing into the nearest pixel alone would shift faint sources by up to half a pixel, and a
    # linear spread over 2 x 2 pixels would blur sources by an amount that depends on d.
    return np.stack([0.5 * (0.5 - d) ** 2, 0.75 - d**2, 0.5 * (0.5 + d) ** 2])


def convolve_gaussians(
    grid: np.ndarray,
    amplitudes: Sequence[float],
    variances_px2: Sequence[float] | np.ndarray,
    *,
    spline: bool,
) -> np.ndarray:
    """Convolve a grid with a sum of round Gaussians, by FFT.

    Parameters
    ----------
    grid : float32 ndarray, shape (ny, nx)
        The image; it should fade or end a few widths inside its border (the FFT is periodic).
    amplitudes, variances_px2 : ndarray, shape (k,)
        Flux and variance along one axis of each Gaussian [px2].
    spline : bool
        True if the grid holds sources from `deposit`, whose window is then divided out.

    Returns
    -------
    float32 ndarray, shape (ny, nx)
    """
    ny, nx = grid.shape
    # Padding to a product of small primes makes the FFT several times as fast; one worker, so that
    # the result does not depend on the machine.
    full = fft.next_fast_len(ny, real=True), fft.next_fast_len(nx, real=True)
    spectrum = fft.rfft2(grid, s=full, workers=1)
    fy, fx = fft.fftfreq(full[0]), fft.rfftfreq(full[1])
    transfer = np.zeros((len(fy), len(fx)), dtype=np.float32)
    for amplitude, variance in zip(amplitudes, variances_px2, strict=True):
        # A round Gaussian is the product of one along each axis, in Fourier space as well.
        along_y = np.exp(-2 * np.pi**2 * variance * fy**2) * amplitude
        along_x = np.exp(-2 * np.pi**2 * variance * fx**2)
        transfer += np.outer(along_y, along_x).astype(np.float32)
    if spline:
        # The transform of a quadratic B-spline is sinc^3 along each axis.
        transfer /= np.outer(np.sinc(fy) ** 3, np.sinc(fx) ** 3).astype(np.float32)
    spectrum *= transfer
    return fft.irfft2(spectrum, s=full, workers=1)[:ny, :nx]
