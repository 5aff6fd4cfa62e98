"""Point sources on a pixel grid, exact to sub-pixel accuracy once convolved.

Sources are spread with a quadratic B-spline (triangular-shaped cloud), whose second moment is
1/4 px2 wherever in the pixel the source lies; the convolution divides that window out again.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import fft

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
    good = (ix >= 1) & (ix <= nx - 2) & (iy >= 1) & (iy <= ny - 2)
    x, y = x[good], y[good]
    ix, iy = ix[good].astype(np.int64), iy[good].astype(np.int64)
    wx, wy = _spline_weights(x - ix), _spline_weights(y - iy)
    base = iy * nx + ix
    index = (base[None, :] + _NEAR_Y * nx + _NEAR_X).ravel()
    weight = (wy[:, None, :] * wx[None, :, :]).reshape(9, -1)
    grids = np.empty((len(fluxes), ny, nx), dtype=np.float32)
    for grid, flux in zip(grids, fluxes, strict=True):
        sums = np.bincount(index, (weight * flux[good]).ravel(), minlength=ny * nx)
        grid[...] = sums.reshape(shape)
    return grids


def _spline_weights(d: np.ndarray) -> np.ndarray:
    """Return the weights of the pixel before, at and after a source d px off the middle one."""
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
        Whether the grid holds sources by `deposit`, whose window is then divided out.

    Returns
    -------
    float32 ndarray, shape (ny, nx)
    """
    ny, nx = grid.shape
    full = fft.next_fast_len(ny, real=True), fft.next_fast_len(nx, real=True)
    spectrum = fft.rfft2(grid, s=full, workers=1)
    fy, fx = fft.fftfreq(full[0]), fft.rfftfreq(full[1])
    transfer = np.zeros((len(fy), len(fx)), dtype=np.float32)
    for amplitude, variance in zip(amplitudes, variances_px2, strict=True):
        along_y = np.exp(-2 * np.pi**2 * variance * fy**2) * amplitude
        along_x = np.exp(-2 * np.pi**2 * variance * fx**2)
        transfer += np.outer(along_y, along_x).astype(np.float32)
    if spline:
        transfer /= np.outer(np.sinc(fy) ** 3, np.sinc(fx) ** 3).astype(np.float32)
    spectrum *= transfer
    return fft.irfft2(spectrum, s=full, workers=1)[:ny, :nx]
