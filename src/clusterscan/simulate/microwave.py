"""Images of the simulated microwave sky: CMB, SZ effect, point sources, beams and noise."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from astropy.wcs import WCS
from scipy import fft

from clusterscan.config.simulation import MicrowaveSettings, SimulationSettings
from clusterscan.core.errors import ImageError
from clusterscan.physics import sz_effect
from clusterscan.simulate.canvas import Frame, convolve_gaussians, deposit
from clusterscan.simulate.halos import Halos, halos_of_cell
from clusterscan.simulate.microwave_sky import cib_scaling, gaussian_sky, noise_cl, sources_of_cell
from clusterscan.simulate.sky_cells import Kind, generator

BANDS = ("f090", "f150", "f220")
HALO_REACH_ARCMIN = 60.0
"""Halos further than this outside an image are left out."""

_BEAM_WIDTHS = 6.0  # border of the image in beam sigmas: the beam is then 1e-8 of its peak
_FAINTEST_Y500_ARCMIN2 = 1e-6  # peaks at 1 uK behind the f090 beam
_ARCMIN = np.pi / 180 / 60

__all__ = ["BANDS", "render_microwave"]


def render_microwave(
    wcs: WCS,
    shape: tuple[int, int],
    *,
    seed: int,
    settings: SimulationSettings,
    noise_key: int | Sequence[int] | None,
) -> np.ndarray:
    """Render an image of the simulated microwave sky.

    Parameters
    ----------
    wcs : astropy.wcs.WCS
        Equatorial (ICRS) celestial WCS, about 0.5 arcmin per pixel.
    shape : (ny, nx)
        Image shape [pixels].
    seed : int
        The sky's seed, >= 0.
    settings : SimulationSettings
        The sky's settings.
    noise_key : int, sequence of int, or None
        Key of this image's instrument noise, drawn from the seed and the key; None: no noise.

    Returns
    -------
    float32 ndarray, shape (3, ny, nx)
        f090, f150, f220 [uK_CMB], beam-convolved.

    Raises
    ------
    ImageError
        If the WCS is not equatorial, or its pixels are too coarse for the beams.
    """
    microwave = settings.microwave
    scale = Frame(wcs, shape, 0).scale_arcsec / 60.0
    sigma_px = np.array(microwave.beam_fwhm_arcmin) / np.sqrt(8 * np.log(2)) / scale
    if sigma_px.min() < 0.6:
        raise ImageError(
            f"microwave pixels of {scale:.2f} arcmin undersample the beams "
            f"{microwave.beam_fwhm_arcmin} arcmin; use at most {scale * sigma_px.min() / 0.6:.2f}"
        )
    frame = Frame(wcs, shape, int(np.ceil(_BEAM_WIDTHS * sigma_px.max())) + 2)
    vectors = frame.pixel_vectors()
    ghz = np.array(microwave.frequency_sz_ghz)
    compton = _compton_map(frame, vectors, seed, settings) if microwave.sz else None
    diffuse = _diffuse(vectors, seed, microwave)
    points = _point_sources(frame, seed, microwave)
    image = np.empty((3, *frame.shape), dtype=np.float32)
    for band in range(3):
        # The CMB has the same temperature in all bands. The infrared background and the SZ effect
        # are one map each times a factor per band, because their spectra are the same everywhere.
        smooth = diffuse[0] + diffuse[1] * np.float32(cib_scaling(ghz[band]))
        if compton is not None:
            smooth += compton * np.float32(sz_effect.sz_uk(ghz[band]))
        # Smooth maps and point sources are convolved apart: only the latter have a spline to undo.
        variance = sigma_px[band : band + 1] ** 2
        one = (1.0,)
        wide = convolve_gaussians(smooth, one, variance, spline=False)
        wide += convolve_gaussians(points[band], one, variance, spline=True)
        image[band] = frame.inner(wide)
    if noise_key is not None:
        image += _noise(shape, scale, seed, noise_key, microwave)
    return image


def _diffuse(vectors: np.ndarray, seed: int, settings: MicrowaveSettings) -> np.ndarray:
    """Draw the CMB and the clustered infrared background at 150 GHz, shape (2, ny, nx)."""
    maps = np.zeros((2, *vectors.shape[:2]), dtype=np.float32)
    if settings.cmb:
        maps[0] = gaussian_sky(vectors, seed=seed, kind=Kind.CMB)
    if settings.clustered_cib_uk2 > 0:
        maps[1] = gaussian_sky(vectors, seed=seed, kind=Kind.CIB)
        # The field is drawn with unit power at l = 3000, so its realisation does not change with
        # the amplitude.
        maps[1] *= np.sqrt(settings.clustered_cib_uk2)
    return maps


def _point_sources(frame: Frame, seed: int, settings: MicrowaveSettings) -> np.ndarray:
    """Deposit radio and dusty sources [uK_CMB], shape (3, ny, nx)."""
    parts = [sources_of_cell(int(cell), seed, settings) for cell in frame.cells()]
    ra, dec, flux = (np.concatenate(column, axis=-1) for column in zip(*parts, strict=True))
    x, y = frame.to_pixel(ra, dec)
    near = frame.inside(x, y)
    # A point source of flux S raises the temperature of its pixel by S / solid angle, in the units
    # of the derivative of the black body (uK_CMB).
    solid_angle = (frame.scale_arcsec / 60.0 * _ARCMIN) ** 2
    kelvin = sz_effect.uk_sr_per_jansky(np.array(settings.frequency_sz_ghz)) / solid_angle
    return deposit(x[near], y[near], flux[:, near] * kelvin[:, None], frame.wide_shape)


# --- the SZ effect -----------------------------------------------------------------------------


def _compton_map(
    frame: Frame, vectors: np.ndarray, seed: int, settings: SimulationSettings
) -> np.ndarray:
    """Paint every halo's Compton y, each pixel's mean from 3 x 3 points near the centre."""
    cells = frame.cells(HALO_REACH_ARCMIN)
    halos = Halos.concatenate([halos_of_cell(int(c), seed, settings.halos) for c in cells])
    halos = halos.take(halos.y500_arcmin2 > _FAINTEST_Y500_ARCMIN2)
    x, y = frame.to_pixel(halos.ra_deg, halos.dec_deg)
    scale = frame.scale_arcsec / 60.0
    reach = np.minimum(sz_effect.EXTENT_R500 * halos.theta500_arcmin, HALO_REACH_ARCMIN)
    ny, nx = frame.wide_shape
    span = reach / scale * 1.05 + 1
    near = (x > -span) & (x < nx - 1 + span) & (y > -span) & (y < ny - 1 + span)
    compton = np.zeros(frame.wide_shape, dtype=np.float64)
    for i in np.flatnonzero(near).tolist():
        _paint(compton, vectors, halos, i, (x[i], y[i]), span[i], scale)
    return compton.astype(np.float32)


def _paint(compton, vectors, halos: Halos, i: int, centre_px, span: float, scale: float) -> None:
    """Add one halo to the Compton map, in place."""
    ny, nx = compton.shape
    x, y = centre_px
    x0, x1 = max(0, int(x - span)), min(nx, int(x + span) + 2)
    y0, y1 = max(0, int(y - span)), min(ny, int(y + span) + 2)
    if x0 >= x1 or y0 >= y1:
        return
    ra, dec = np.radians(halos.ra_deg[i]), np.radians(halos.dec_deg[i])
    centre = np.array([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)])
    difference = vectors[y0:y1, x0:x1] - centre
    # The chord is the angle to 1e-5 within a degree, and good at the poles.
    distance = np.sqrt(np.einsum("ijk,ijk->ij", difference, difference)) / _ARCMIN
    theta500 = halos.theta500_arcmin[i]
    stamp = sz_effect.shape_at(distance / theta500)
    _average_core(stamp, x - x0, y - y0, scale / theta500)
    compton[y0:y1, x0:x1] += halos.compton_amplitude[i] * np.nan_to_num(stamp)


_CORE_PX = 3
_SUB = (np.arange(5) - 2.0) / 5.0


def _average_core(stamp: np.ndarray, x: float, y: float, pixel_r500: float) -> None:
    """Replace the pixels at a profile's cusp by means over 5 x 5 points.

    A pixel's value at its centre would miss the light where the profile bends within the pixel.
    """
    ix, iy = round(x), round(y)
    # The pressure profile has a cusp: its slope at the centre does not vanish. Only the few pixels
    # around it need the finer grid, which would cost 25 times as much everywhere.
    rows = np.arange(max(0, iy - _CORE_PX), min(stamp.shape[0], iy + _CORE_PX + 1))
    columns = np.arange(max(0, ix - _CORE_PX), min(stamp.shape[1], ix + _CORE_PX + 1))
    if len(rows) == 0 or len(columns) == 0:
        return
    dy = (rows[:, None] + _SUB - y)[:, None, :, None]
    dx = (columns[:, None] + _SUB - x)[None, :, None, :]
    fine = sz_effect.shape_at(np.sqrt(dy**2 + dx**2) * pixel_r500)
    stamp[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = fine.mean(axis=(2, 3))


# --- the instrument ----------------------------------------------------------------------------


def _noise(
    shape: tuple[int, int],
    scale_arcmin: float,
    seed: int,
    noise_key: int | Sequence[int],
    settings: MicrowaveSettings,
) -> np.ndarray:
    """Draw white and atmospheric noise, independent between bands.

    White noise on a canvas at least 60 px larger is shaped in Fourier space and cut out, so that
    opposite edges of the image do not continue each other.
    """
    key = (noise_key,) if isinstance(noise_key, int | np.integer) else tuple(noise_key)
    # The noise belongs to the image, not to the sky: two images of the same sky have independent
    # noise, as two surveys would.
    rng = generator(seed, Kind.MICROWAVE_NOISE, *key)
    full = tuple(fft.next_fast_len(n + 60, real=True) for n in shape)
    pixel = scale_arcmin * _ARCMIN
    fy, fx = fft.fftfreq(full[0])[:, None], fft.rfftfreq(full[1])[None, :]
    ell = 2 * np.pi * np.hypot(fy, fx) / pixel
    noise = np.empty((3, *shape), dtype=np.float32)
    for band in range(3):
        white = rng.standard_normal(full, dtype=np.float32)
        # White noise of unit variance per pixel has the power spectrum pixel^2 [sr], so this factor
        # gives C_l.
        amplitude = (np.sqrt(noise_cl(ell, band, settings)) / pixel).astype(np.float32)
        shaped = fft.irfft2(fft.rfft2(white, workers=1) * amplitude, s=full, workers=1)
        noise[band] = shaped[: shape[0], : shape[1]]
    return noise
