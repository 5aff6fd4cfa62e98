"""What a survey sees of injected clusters, added to its actual tile image.

The image keeps its own noise, stars, galaxies and clusters; only the signal is computed, by the
physics of the simulated sky: the pressure profile (`clusterscan.sample.inject`) or the member
galaxies (`clusterscan.simulate.members`). The tile's background is not measured anew: the median
of millions of pixels does not feel a cluster, and the microwave signal is high-passed itself.
"""

from __future__ import annotations

import numpy as np
from astropy.wcs import WCS

from clusterscan.config.preprocess import PreprocessSettings
from clusterscan.config.validation import GalaxiesSignal, SzSignal
from clusterscan.core.errors import ImageError
from clusterscan.formats.tile_image import TileImage
from clusterscan.physics.psf import PSFS
from clusterscan.preprocess.binning import bin_image
from clusterscan.sample.inject import decrement_uk
from clusterscan.simulate.deposit import convolve_gaussians, deposit
from clusterscan.simulate.frame import Frame
from clusterscan.simulate.halos import Halos
from clusterscan.simulate.infrared import flux_nanomaggies
from clusterscan.simulate.members import draw_members

_KEY = 29
_SZ_REACH_ARCMIN = 20.0  # beyond, the high-passed signal is below 1e-3 of its centre
_MEMBERS_REACH_ARCMIN = 15.0
_BORDER_ARCSEC = 220.0  # as for the simulated sky: 5.7 sigma of the PSF's widest Gaussian


def add_signal(
    tile: TileImage,
    halos: Halos,
    signal: SzSignal | GalaxiesSignal,
    preprocess: PreprocessSettings,
    seed: int,
) -> TileImage:
    """Return the tile with the clusters in it.

    Parameters
    ----------
    tile : TileImage
    halos : Halos
        All that may reach the tile's image, in any order.
    signal : SzSignal or GalaxiesSignal
        How the survey sees them.
    preprocess : PreprocessSettings
        How the tile image was binned.
    seed : int
        Of the member galaxies.

    Raises
    ------
    ImageError
        If the signal's bands are not the tile's.
    """
    if isinstance(signal, SzSignal):
        added = sz_signal(tile, halos, signal)
    else:
        added = galaxies_signal(tile, halos, signal, preprocess, seed)
    if added.shape[0] != tile.image.shape[0]:
        raise ImageError(
            f"selection.signals: a signal of {added.shape[0]} bands for images of {tile.bands}; "
            "give one frequency and beam a band, and galaxies to a survey of W1 and W2 alone"
        )
    image = np.where(tile.covered, tile.image + added, tile.image)
    return TileImage(image.astype(np.float32), tile.mask, tile.wcs, tile.unit, tile.bands)


def sz_signal(tile: TileImage, halos: Halos, signal: SzSignal) -> np.ndarray:
    """Return the temperature change [uK_CMB], float64 (bands, ny, nx)."""
    ny, nx = tile.mask.shape
    scale = tile.pixel_scale_arcsec / 60.0
    half = int(np.ceil(_SZ_REACH_ARCMIN / scale))
    total = np.zeros((len(signal.frequencies_ghz), ny, nx))
    x, y = tile.to_pixel(halos.ra_deg, halos.dec_deg)
    near = (x > -half) & (x < nx + half) & (y > -half) & (y < ny + half)
    for row in np.flatnonzero(near).tolist():
        ix, iy = round(float(x[row])), round(float(y[row]))
        stamp = decrement_uk(
            {"theta500_arcmin": halos.theta500_arcmin[row], "y0": halos.y0[row]},
            (y[row] - iy, x[row] - ix),
            2 * half + 1,
            scale,
            signal,
        )
        rows, columns = _overlap(iy - half, 2 * half + 1, ny), _overlap(ix - half, 2 * half + 1, nx)
        total[:, rows[0], columns[0]] += stamp[:, rows[1], columns[1]]
    return total


def galaxies_signal(
    tile: TileImage,
    halos: Halos,
    signal: GalaxiesSignal,
    preprocess: PreprocessSettings,
    seed: int,
) -> np.ndarray:
    """Return the light of member galaxies in W1 and W2 [nanomaggy per pixel], (2, ny, nx)."""
    n = preprocess.binning
    wcs, shape = _unbinned(tile.wcs, n), (tile.mask.shape[0] * n, tile.mask.shape[1] * n)
    scale = tile.pixel_scale_arcsec / n
    frame = Frame(wcs, shape, int(np.ceil(_BORDER_ARCSEC / scale)))
    x, y = frame.to_pixel(halos.ra_deg, halos.dec_deg)
    near = frame.inside(x, y, _MEMBERS_REACH_ARCMIN * 60.0 / scale)
    columns = [_members_of(halos.take(np.array([row])), seed) for row in np.flatnonzero(near)]
    ra, dec, w1, w2 = (
        np.concatenate([np.empty(0), *part])
        for part in (zip(*columns, strict=True) if columns else ((),) * 4)
    )
    bright = w1 < signal.limit_w1_mag
    px, py = frame.to_pixel(ra[bright], dec[bright])
    inside = frame.inside(px, py)
    flux = flux_nanomaggies(np.stack([w1[bright][inside], w2[bright][inside]]))
    grids = deposit(px[inside], py[inside], flux, frame.wide_shape)
    light = [
        frame.inner(convolve_gaussians(grid, psf.amplitudes, psf.variances_px2(scale), spline=True))
        for grid, psf in zip(grids, PSFS, strict=True)
    ]
    everywhere = np.ones(shape, dtype=bool)
    return bin_image(np.stack(light), everywhere, n, preprocess.combine)


def _members_of(one: Halos, seed: int) -> tuple[np.ndarray, ...]:
    # Each cluster's galaxies depend on its own cell alone, whatever tile asks.
    rng = np.random.default_rng([seed, _KEY, int(one.cell[0]), int(one.index[0])])
    members = draw_members(one, rng)
    return members.ra_deg, members.dec_deg, members.w1_mag, members.w2_mag


def _unbinned(wcs: WCS, n: int) -> WCS:
    """Return the WCS of the image before it was binned."""
    raw = wcs.deepcopy()
    raw.wcs.crpix = [(reference - 0.5) * n + 0.5 for reference in wcs.wcs.crpix]
    if wcs.wcs.has_cd():
        raw.wcs.cd = wcs.wcs.cd / n
    else:
        raw.wcs.cdelt = [step / n for step in wcs.wcs.cdelt]
    raw.wcs.set()
    return raw


def _overlap(first: int, size: int, limit: int) -> tuple[slice, slice]:
    """Return where a stamp's span lies in the image, and which part of the stamp that is."""
    low, high = max(first, 0), min(first + size, limit)
    high = max(high, low)
    return slice(low, high), slice(low - first, high - first)
