"""The microwave sky behind the clusters: the CMB, the infrared background, point sources and noise.

The CMB and the infrared background are Gaussian random fields on the whole sky, made locally:
patches blended by a partition of unity. Around each HEALPix cell of order 3 an independent flat
patch is drawn from (seed, kind, cell). A point's value is sum w_c f_c over the patches that reach
it, with smooth weights w_c that depend on the point alone, divided by sqrt(sum w_c^2). So the
variance and, on scales well below the blending length of some degrees, the power spectrum are the
input's everywhere, and any image sees the same sky. Structure larger than a patch is not coherent;
high-passed maps do not notice.

Power spectra are C_l in uK2 sr. Point sources are radio galaxies and dusty galaxies, drawn from
published counts per generation cell.

References
----------
Planck Collaboration VI 2020, A&A 641, A6 (CMB; by CAMB, see resources/simulation).
Planck Collaboration I 2020, A&A 641, A1, Table 4 (Planck's noise and beams).
Naess et al. 2020, JCAP 12, 046 (maps of ACT and Planck together).
Dunkley et al. 2013, JCAP 07, 025 (clustered infrared background, shape l^0.8 and amplitude).
Addison et al. 2012, ApJ 752, 120 (spectrum of the infrared background).
Tucci et al. 2011, A&A 533, A57 (radio counts near 148 GHz, model C2Ex; here a smooth fit).
Everett et al. 2020, ApJ 900, 55 (SPT: numbers at 150 GHz, spectral indices).
Fujimoto et al. 2016, ApJS 222, 1 (dusty counts at 1.2 mm, Schechter function).
Mocanu et al. 2013, ApJ 779, 61 (bright dusty counts at 220 GHz).
"""

from __future__ import annotations

from functools import lru_cache
from importlib import resources

import numpy as np
from scipy import fft, ndimage

from clusterscan.config.simulation import MicrowaveSettings
from clusterscan.core import sky
from clusterscan.physics import sz_effect
from clusterscan.simulate.sky_cells import GENERATION_AREA_DEG2, Kind, generator, uniform_positions

# --- power spectra of the sky and of the instrument -------------------------------------------


_ARCMIN = np.pi / 180 / 60
# Planck at 100, 143 and 217 GHz supplies the large scales of the combined maps (Table 4).
_PLANCK_NOISE_UK_ARCMIN = (77.4, 33.0, 46.8)
_PLANCK_FWHM_ARCMIN = (9.66, 7.22, 4.90)
_LARGEST_SCALE_ELL = 100.0


@lru_cache(maxsize=1)
def _cmb_table() -> tuple[np.ndarray, np.ndarray]:
    source = resources.files("clusterscan.simulate").joinpath("cmb_tt_planck2018.csv")
    with source.open(encoding="utf-8") as handle:
        table = np.loadtxt(handle, delimiter=",", comments="#")
    ell, dl = table.T
    return ell, dl * 2 * np.pi / (ell * (ell + 1))


def cmb_cl(ell: np.ndarray) -> np.ndarray:
    """Return C_l of the lensed primary CMB; zero below l = 2 and beyond the table's end."""
    return np.interp(ell, *_cmb_table(), left=0.0, right=0.0)


def cib_cl_150(ell: np.ndarray, dl3000_uk2: float) -> np.ndarray:
    """Return C_l of the clustered infrared background at 150 GHz; zero below l = 2."""
    ell = np.asarray(ell, dtype=float)
    safe = np.maximum(ell, 2.0)
    dl = dl3000_uk2 * (safe / 3000.0) ** 0.8
    return np.where(ell >= 2, dl * 2 * np.pi / (safe * (safe + 1)), 0.0)


def grey_body(frequency_ghz: np.ndarray, reference_ghz: float) -> np.ndarray:
    """Return dust flux density over that at a reference: nu^2.2 B_nu(9.7 K).

    References
    ----------
    Addison et al. 2012, ApJ 752, 120: effective CIB spectrum with beta = 2.2, T = 9.7 K.
    """

    def flux(ghz: np.ndarray | float) -> np.ndarray:
        scaled = sz_effect.H_OVER_K_PER_GHZ * np.asarray(ghz) / 9.7
        return np.asarray(ghz) ** 5.2 / np.expm1(scaled)

    return flux(frequency_ghz) / flux(reference_ghz)


def cib_scaling(frequency_ghz: np.ndarray) -> np.ndarray:
    """Return the infrared background's temperature over that at 150 GHz."""
    flux = grey_body(np.asarray(frequency_ghz), 150.0)
    return flux * sz_effect.uk_sr_per_jansky(frequency_ghz) / sz_effect.uk_sr_per_jansky(150.0)


def noise_cl(ell: np.ndarray, band: int, settings: MicrowaveSettings) -> np.ndarray:
    """Return C_l of a band's map noise: ACT-like white noise and atmosphere, coadded with Planck.

    Beams differ, but both maps are brought to one beam before they are added; on scales where
    Planck matters the ACT beams are 1.
    """
    white = (settings.white_noise_uk_arcmin[band] * _ARCMIN) ** 2
    if white == 0:
        return np.zeros_like(np.asarray(ell, dtype=float))
    knee = settings.noise_knee_ell[band]
    bounded = np.maximum(np.asarray(ell, dtype=float), _LARGEST_SCALE_ELL)
    # The atmosphere is a power law in l, with the power of the white noise at the knee. It is held
    # constant below l = 100, where Planck dominates and the power law would diverge.
    red = (bounded / knee) ** settings.noise_slope if knee > 0 else 0.0
    ground = white * (1.0 + red)
    planck = (_PLANCK_NOISE_UK_ARCMIN[band] * _ARCMIN) ** 2
    weight = beam(ell, _PLANCK_FWHM_ARCMIN[band]) ** 2 / planck
    # The coadd weighs both maps by inverse variance at each l: variances add as parallel resistors
    # do.
    return 1.0 / (1.0 / ground + weight)


def beam(ell: np.ndarray, fwhm_arcmin: float) -> np.ndarray:
    """Return the transfer function of a Gaussian beam."""
    sigma = fwhm_arcmin * _ARCMIN / np.sqrt(8 * np.log(2))
    return np.exp(-0.5 * (np.asarray(ell) * sigma) ** 2)


# --- Gaussian fields --------------------------------------------------------------------------


PATCH_ORDER = 3
REACH_DEG = 7.8
"""Patches fade to nothing at this distance from their cell's centre."""

_PATCH_PX = 1024
_PATCH_SCALE_RAD = np.pi / 180 / 60  # 1 arcmin: Nyquist at l = 10800


# One Gaussian field on the whole sphere at arcminute resolution would need l up to 10 000 and
# gigabytes. Patches are drawn only where an image lies, and two images that overlap still agree,
# whichever is made first: a patch depends on (seed, kind, cell) alone.
def gaussian_sky(vectors: np.ndarray, *, seed: int, kind: Kind) -> np.ndarray:
    """Evaluate a Gaussian field of the whole sky at points.

    Parameters
    ----------
    vectors : float64 ndarray, shape (ny, nx, 3)
        Unit vectors (ICRS) of an image's pixels, an image of a few degrees; NaN gives 0.
    seed : int
        The sky's seed.
    kind : Kind.CMB or Kind.CIB
        Which field; the CIB has 1 uK2 at l = 3000 and 150 GHz.

    Returns
    -------
    float32 ndarray, shape (ny, nx)
        Temperature [uK_CMB].
    """
    flat = np.nan_to_num(vectors.reshape(-1, 3))
    total = np.zeros(len(flat))
    squares = np.zeros(len(flat))
    for cell in _patches_near(flat):
        east, north, depth = _tangent_basis(int(cell)) @ flat.T
        # The weights reach 0 smoothly and depend on the point alone, so no seam shows where a patch
        # ends or a new one begins.
        weight = _weight(depth)
        used = np.flatnonzero(weight > 0)
        if len(used) == 0:
            continue
        values = _patch_values(int(cell), seed, kind, east[used], north[used], depth[used])
        total[used] += weight[used] * values
        squares[used] += weight[used] ** 2
    # Independent patches add in square, so this keeps the variance the same everywhere.
    result = total / np.sqrt(np.maximum(squares, 1e-12))
    return result.reshape(vectors.shape[:2]).astype(np.float32)


def _patches_near(flat: np.ndarray) -> np.ndarray:
    """Return the cells whose patches reach any of the points."""
    centre = flat[:: max(1, len(flat) // 4096)].sum(axis=0)
    centre /= np.linalg.norm(centre)
    ok = np.linalg.norm(flat, axis=1) > 0.5
    radius = np.degrees(np.arccos(np.clip((flat[ok] @ centre).min(), -1, 1)))
    ra = float(np.degrees(np.arctan2(centre[1], centre[0])))
    dec = float(np.degrees(np.arcsin(np.clip(centre[2], -1, 1))))
    return sky.cells_in_cone(ra, dec, radius + REACH_DEG + 0.1, PATCH_ORDER, touching=False)


@lru_cache(maxsize=1024)
def _tangent_basis(cell: int) -> np.ndarray:
    """Return (east, north, outward) unit vectors at a cell's centre, shape (3, 3)."""
    ra, dec = (np.radians(float(v)) for v in sky.cell_centres(np.array(cell), PATCH_ORDER))
    return np.array(
        [
            [-np.sin(ra), np.cos(ra), 0.0],
            [-np.sin(dec) * np.cos(ra), -np.sin(dec) * np.sin(ra), np.cos(dec)],
            [np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)],
        ]
    )


def _weight(cosine: np.ndarray) -> np.ndarray:
    """Return the unnormalised weight: cos^2 of the distance, zero from `REACH_DEG` on."""
    distance = np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0)))
    return np.where(distance < REACH_DEG, np.cos(np.pi / 2 * distance / REACH_DEG) ** 2, 0.0)


def _patch_values(cell, seed, kind, east, north, depth) -> np.ndarray:
    """Return a patch's values at points given along its tangent basis."""
    # Lambert's equal-area projection: distances are right to 0.3 % at the patch's edge.
    stretch = np.sqrt(2.0 / (1.0 + depth)) / _PATCH_SCALE_RAD
    middle = (_PATCH_PX - 1) / 2
    coordinates = np.stack([north * stretch + middle, east * stretch + middle])
    return ndimage.map_coordinates(
        _patch(cell, seed, kind), coordinates, order=3, prefilter=False, mode="nearest"
    )


@lru_cache(maxsize=48)
def _patch(cell: int, seed: int, kind: Kind) -> np.ndarray:
    """Draw a patch and return its cubic spline coefficients (float32, 4 MiB).

    White noise is drawn in pixels and shaped in Fourier space: spectrum and spline prefilter are
    one multiplication there.
    """
    rng = generator(seed, kind, cell)
    white = rng.standard_normal((_PATCH_PX, _PATCH_PX), dtype=np.float32)
    return fft.irfft2(fft.rfft2(white, workers=1) * _filter(kind), s=white.shape, workers=1)


@lru_cache(maxsize=2)
def _filter(kind: Kind) -> np.ndarray:
    """Return the factor per Fourier mode that turns white noise into spline coefficients."""
    fy, fx = fft.fftfreq(_PATCH_PX)[:, None], fft.rfftfreq(_PATCH_PX)[None, :]
    ell = 2 * np.pi * np.hypot(fy, fx) / _PATCH_SCALE_RAD
    cl = cmb_cl(ell) if kind == Kind.CMB else cib_cl_150(ell, 1.0)
    # The cubic B-spline sampled at integers, (4 + 2 cos) / 6: dividing by it makes coefficients.
    spline = (2 + np.cos(2 * np.pi * fy)) * (2 + np.cos(2 * np.pi * fx)) / 9
    return (np.sqrt(cl) / _PATCH_SCALE_RAD / spline).astype(np.float32)


# --- point sources ----------------------------------------------------------------------------


_SR_PER_DEG2 = (np.pi / 180) ** 2

# Euclidean-normalised radio counts S^2.5 dN/dS at 148 GHz [Jy^1.5 sr-1] against log10(S / Jy).
_RADIO_LOG_S = np.array([-4.0, -3.0, -2.5, -2.0, -1.5, -1.0, -0.5, 0.0, 0.5, 1.0])
_RADIO_EUCLID = np.array([0.35, 1.3, 2.6, 4.6, 7.6, 10.5, 12.0, 11.5, 9.5, 7.0])
RADIO_MIN_JY, RADIO_MAX_JY = 2e-4, 5.0
RADIO_GHZ, RADIO_INDEX, RADIO_INDEX_SCATTER = 148.0, -0.6, 0.3

DUSTY_GHZ, DUSTY_MIN_JY, DUSTY_MAX_JY = 250.0, 2e-4, 0.3
_DUSTY_PHI_DEG2, _DUSTY_KNEE_JY, _DUSTY_SLOPE = 1.54e3, 2.35e-3, -2.12
_DUSTY_BRIGHT_JY15_SR = 0.25  # lensed and nearby galaxies: a Euclidean tail above the knee
_INDEX_SCATTER_DUSTY = 0.3


def radio_counts(flux_jy: np.ndarray) -> np.ndarray:
    """Return dN/dS of radio sources at 148 GHz [Jy-1 deg-2]."""
    euclid = np.interp(np.log10(flux_jy), _RADIO_LOG_S, _RADIO_EUCLID)
    return euclid * np.asarray(flux_jy) ** -2.5 * _SR_PER_DEG2


def dusty_counts(flux_jy: np.ndarray) -> np.ndarray:
    """Return dN/dS of dusty sources at 1.2 mm, 250 GHz [Jy-1 deg-2]."""
    u = np.asarray(flux_jy) / _DUSTY_KNEE_JY
    # The Schechter function falls off exponentially above the knee, where lensed and nearby
    # galaxies take over; the Euclidean tail adds them.
    field = _DUSTY_PHI_DEG2 / _DUSTY_KNEE_JY * u**_DUSTY_SLOPE * np.exp(-u)
    tail = _DUSTY_BRIGHT_JY15_SR * np.asarray(flux_jy) ** -2.5 * _SR_PER_DEG2
    return field + tail * (u > 1)


@lru_cache(maxsize=2)
def _cumulative(kind: Kind) -> tuple[np.ndarray, np.ndarray]:
    """Return (ln flux, numbers per deg2 fainter than it, above the minimum)."""
    low, high, counts = {
        Kind.RADIO: (RADIO_MIN_JY, RADIO_MAX_JY, radio_counts),
        Kind.DUSTY: (DUSTY_MIN_JY, DUSTY_MAX_JY, dusty_counts),
    }[kind]
    ln_flux = np.linspace(np.log(low), np.log(high), 600)
    flux = np.exp(ln_flux)
    per_ln = counts(flux) * flux
    steps = (per_ln[1:] + per_ln[:-1]) / 2 * np.diff(ln_flux)
    return ln_flux, np.concatenate([[0.0], np.cumsum(steps)])


def _draw_flux(rng: np.random.Generator, kind: Kind, factor: float) -> np.ndarray:
    """Draw the fluxes of a cell's sources [Jy], with ``factor`` times the published counts."""
    ln_flux, cumulative = _cumulative(kind)
    # Inverse transform again: the cumulative counts are interpolated at uniform random numbers.
    count = rng.poisson(cumulative[-1] * GENERATION_AREA_DEG2 * factor)
    return np.exp(np.interp(rng.random(count) * cumulative[-1], cumulative, ln_flux))


def sources_of_cell(
    cell: int, seed: int, settings: MicrowaveSettings
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw the radio and dusty sources of a generation cell.

    Returns
    -------
    ra_deg, dec_deg : ndarray, shape (n,)
    flux_jy : ndarray, shape (3, n)
        Flux densities at f090, f150, f220.
    """
    ghz = np.array(settings.frequency_sz_ghz)[:, None]
    rng = generator(seed, Kind.RADIO, cell)
    radio = _draw_flux(rng, Kind.RADIO, settings.radio_counts)
    index = RADIO_INDEX + RADIO_INDEX_SCATTER * rng.standard_normal(len(radio))
    radio_flux = radio * (ghz / RADIO_GHZ) ** index
    radio_ra, radio_dec = uniform_positions(rng, cell, len(radio))
    rng = generator(seed, Kind.DUSTY, cell)
    dusty = _draw_flux(rng, Kind.DUSTY, settings.dusty_counts)
    tilt = _INDEX_SCATTER_DUSTY * rng.standard_normal(len(dusty))
    # Each source has its own spectral index, so bands are correlated but not identical: a component
    # separation cannot remove all sources at once, as on the real sky.
    dusty_flux = dusty * grey_body(ghz, DUSTY_GHZ) * (ghz / DUSTY_GHZ) ** tilt
    dusty_ra, dusty_dec = uniform_positions(rng, cell, len(dusty))
    return (
        np.concatenate([radio_ra, dusty_ra]),
        np.concatenate([radio_dec, dusty_dec]),
        np.concatenate([radio_flux, dusty_flux], axis=1),
    )


def unresolved_power(settings: MicrowaveSettings, cut_jy: float = 0.010) -> np.ndarray:
    """Return the Poisson power of sources below a cut, between bands, shape (3, 3) [uK2 sr]."""
    ghz = np.array(settings.frequency_sz_ghz)
    per_jansky = sz_effect.uk_sr_per_jansky(ghz)
    total = np.zeros((3, 3))
    for kind, counts, factor, scaling in (
        (Kind.RADIO, radio_counts, settings.radio_counts, (ghz / RADIO_GHZ) ** RADIO_INDEX),
        (Kind.DUSTY, dusty_counts, settings.dusty_counts, grey_body(ghz, DUSTY_GHZ)),
    ):
        flux = np.exp(_cumulative(kind)[0])
        flux = flux[flux < cut_jy]
        # Poisson power is the integral of S^2 dN/dS; in ln S one more power of S appears.
        second = np.trapezoid(flux**3 * counts(flux), np.log(flux)) / _SR_PER_DEG2 * factor
        colour = per_jansky * scaling
        total += second * np.outer(colour, colour)
    return total
