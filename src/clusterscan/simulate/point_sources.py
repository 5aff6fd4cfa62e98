"""Microwave point sources: radio galaxies and dusty galaxies, counts and spectra.

References
----------
Tucci et al. 2011, A&A 533, A57 (radio counts near 148 GHz, model C2Ex; here a smooth fit).
Everett et al. 2020, ApJ 900, 55 (SPT: numbers at 150 GHz, spectral indices).
Fujimoto et al. 2016, ApJS 222, 1 (dusty counts at 1.2 mm, Schechter function).
Mocanu et al. 2013, ApJ 779, 61 (bright dusty counts at 220 GHz).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from clusterscan.config.simulation import MicrowaveSettings
from clusterscan.physics import spectra
from clusterscan.simulate.cells import GENERATION_AREA_DEG2, Kind, generator, uniform_positions

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
    ln_flux, cumulative = _cumulative(kind)
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
    dusty_flux = dusty * spectra.grey_body(ghz, DUSTY_GHZ) * (ghz / DUSTY_GHZ) ** tilt
    dusty_ra, dusty_dec = uniform_positions(rng, cell, len(dusty))
    return (
        np.concatenate([radio_ra, dusty_ra]),
        np.concatenate([radio_dec, dusty_dec]),
        np.concatenate([radio_flux, dusty_flux], axis=1),
    )


def unresolved_power(settings: MicrowaveSettings, cut_jy: float = 0.010) -> np.ndarray:
    """Return the Poisson power of sources below a cut, between bands, shape (3, 3) [uK2 sr]."""
    ghz = np.array(settings.frequency_sz_ghz)
    per_jansky = spectra.uk_sr_per_jansky(ghz)
    total = np.zeros((3, 3))
    for kind, counts, factor, scaling in (
        (Kind.RADIO, radio_counts, settings.radio_counts, (ghz / RADIO_GHZ) ** RADIO_INDEX),
        (Kind.DUSTY, dusty_counts, settings.dusty_counts, spectra.grey_body(ghz, DUSTY_GHZ)),
    ):
        flux = np.exp(_cumulative(kind)[0])
        flux = flux[flux < cut_jy]
        second = np.trapezoid(flux**3 * counts(flux), np.log(flux)) / _SR_PER_DEG2 * factor
        colour = per_jansky * scaling
        total += second * np.outer(colour, colour)
    return total
