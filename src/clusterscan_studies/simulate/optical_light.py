"""How optical light falls on pixels: seeing, exponential discs, the wings of bright stars.

Seeing is a Moffat profile with beta = 2.5 (Trujillo et al. 2001, MNRAS 328, 977); away from
saturated stars the sum of three Gaussians that comes closest to it stands in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from scipy import fft
from scipy.optimize import nnls

from clusterscan.simulate.deposit import deposit
from clusterscan.simulate.frame import Frame
from clusterscan_studies.simulate.optical_sources import OpticalGalaxies

MOFFAT_BETA = 2.5
_WIDTHS_FWHM = (0.42, 0.85, 2.2)  # sigma of the Gaussians
_LEAST_VARIANCE_PX2 = 0.36  # narrower sources would ring between pixels
_SCALE_PER_HALF_LIGHT = 1 / 1.6783470  # of an exponential disc
_DISC_REACH = 4.0  # half-light radii, which hold 99 % of the light
_STAR_REACH_PX = 400

Layer = tuple[np.ndarray, np.ndarray, np.ndarray, float]


@lru_cache(maxsize=1)
def _moffat_mixture() -> np.ndarray:
    """Return the parts of three Gaussians that make a Moffat profile of unit width."""
    r = np.linspace(0.0, 8.0, 400)
    sigma = np.array(_WIDTHS_FWHM)
    gaussians = np.exp(-0.5 * (r[:, None] / sigma) ** 2) / (2 * np.pi * sigma**2)
    weight = np.sqrt(r + 0.05)[:, None]
    parts, _ = nnls(gaussians * weight, moffat(r**2, 1.0) * weight[:, 0])
    return parts / parts.sum()


def moffat(r2: np.ndarray, fwhm: float) -> np.ndarray:
    """Return a Moffat profile of unit flux at a squared radius, per unit area."""
    alpha2 = fwhm**2 / (4 * (2 ** (1 / MOFFAT_BETA) - 1))
    return (MOFFAT_BETA - 1) / (np.pi * alpha2) * (1 + r2 / alpha2) ** -MOFFAT_BETA


@dataclass(frozen=True)
class OpticalPsf:
    """A point-spread function on a pixel grid."""

    fwhm_arcsec: float
    scale_arcsec: float

    @cached_property
    def gaussians(self) -> tuple[np.ndarray, np.ndarray]:
        """Parts and variances of its Gaussians [px2]."""
        sigma = np.array(_WIDTHS_FWHM) * self.fwhm_arcsec / self.scale_arcsec
        return _moffat_mixture(), np.maximum(sigma**2, _LEAST_VARIANCE_PX2)

    @property
    def fwhm_px(self) -> float:
        """Full width at half maximum, at least that of a sampled source [px]."""
        least = np.sqrt(8 * np.log(2) * _LEAST_VARIANCE_PX2)
        return max(self.fwhm_arcsec / self.scale_arcsec, float(least))

    @property
    def noise_pixels(self) -> float:
        """Number of noise pixels, 1 / integral of the squared profile."""
        a, v = self.gaussians
        return float(1.0 / (np.outer(a, a) / (2 * np.pi * (v[:, None] + v[None, :]))).sum())

    @property
    def peak(self) -> float:
        """Part of a centred star's flux in its brightest pixel."""
        a, v = self.gaussians
        return float((a / (2 * np.pi * v)).sum())

    def reach(self, flux: np.ndarray, level: float) -> np.ndarray:
        """Return the radius where stars fall to a level [px]."""
        r = np.geomspace(0.5, _STAR_REACH_PX, 300)
        light = moffat(r**2, self.fwhm_px)
        return np.interp(-np.log(level / np.asarray(flux)), -np.log(light), r)


def convolved(layers: Sequence[Layer], psf: OpticalPsf, shape: tuple[int, int]) -> np.ndarray:
    """Return the image of point-like sources and exponential discs.

    Parameters
    ----------
    layers : sequence of (x, y, flux, half_light_px)
        Sources of one size each; 0 px: points.
    psf : OpticalPsf
        The seeing.
    shape : (ny, nx)
        The grid.

    Returns
    -------
    float32 ndarray, shape (ny, nx)
    """
    full = tuple(fft.next_fast_len(side, real=True) for side in shape)
    fy, fx = fft.fftfreq(full[0]).astype(np.float32), fft.rfftfreq(full[1]).astype(np.float32)
    k2 = fy[:, None] ** 2 + fx[None, :] ** 2
    total = np.zeros((len(fy), len(fx)), dtype=np.complex64)
    for x, y, flux, half_light_px in layers:
        if len(x) == 0:
            continue
        spectrum = fft.rfft2(deposit(x, y, flux[None], shape)[0], s=full, workers=1)
        h = 2 * np.pi * half_light_px * _SCALE_PER_HALF_LIGHT
        total += spectrum if h == 0 else spectrum * (1 + np.float32(h * h) * k2) ** np.float32(-1.5)
    total *= _transfer(psf, fy, fx)
    return fft.irfft2(total, s=full, workers=1)[: shape[0], : shape[1]]


def _transfer(psf: OpticalPsf, fy: np.ndarray, fx: np.ndarray) -> np.ndarray:
    """Return the seeing's transfer function, over that of the deposit's spline."""
    transfer = np.zeros((len(fy), len(fx)), dtype=np.float32)
    for part, variance in zip(*psf.gaussians, strict=True):
        along_y = part * np.exp(-2 * np.pi**2 * variance * fy**2)
        transfer += np.outer(along_y, np.exp(-2 * np.pi**2 * variance * fx**2)).astype(np.float32)
    return transfer / np.outer(np.sinc(fy) ** 3, np.sinc(fx) ** 3).astype(np.float32)


def add_discs(
    image: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    flux: np.ndarray,
    galaxies: OpticalGalaxies,
    frame: Frame,
    psf: OpticalPsf,
) -> None:
    """Add large galaxies one by one, in place: inclined exponential discs.

    The seeing widens them in quadrature, which is right far from the centre.
    """
    seeing = psf.fwhm_px / 2.355
    for i in range(len(x)):
        half = np.hypot(galaxies.half_light_arcsec[i] / frame.scale_arcsec, seeing)
        q = np.hypot(galaxies.axis_ratio[i], seeing / half)
        q = min(float(q), 1.0)
        box, dx, dy = _box(image.shape, x[i], y[i], _DISC_REACH * half / np.sqrt(q))
        c, s = np.cos(galaxies.angle_rad[i]), np.sin(galaxies.angle_rad[i])
        along, across = dx * c + dy * s, dy * c - dx * s
        radius = np.sqrt(q * along**2 + across**2 / q)
        scale = half * _SCALE_PER_HALF_LIGHT
        light = np.exp(-radius / scale) / (2 * np.pi * scale**2)
        image[box] += np.float32(flux[i]) * light.astype(np.float32)


def add_stars(
    image: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    flux: np.ndarray,
    psf: OpticalPsf,
    level: float,
) -> None:
    """Add bright stars one by one, in place, out to where they fall to a level."""
    for i, reach in enumerate(psf.reach(flux, level)):
        box, dx, dy = _box(image.shape, x[i], y[i], max(reach, 5.0))
        image[box] += (flux[i] * moffat(dx**2 + dy**2, psf.fwhm_px)).astype(np.float32)


def _box(shape: tuple[int, int], x: float, y: float, half: float):
    """Return the slices of a box around a position and the offsets from it."""
    ny, nx = shape
    x0, x1 = (int(np.clip(v, 0, nx)) for v in (x - half, x + half + 1))
    y0, y1 = (int(np.clip(v, 0, ny)) for v in (y - half, y + half + 1))
    dx, dy = np.arange(x0, x1)[None, :] - x, np.arange(y0, y1)[:, None] - y
    return (slice(y0, y1), slice(x0, x1)), dx, dy
