"""Stars of the Galaxy: counts in W1 by direction, from discs and a halo.

References
----------
Bahcall & Soneira 1980, ApJS 44, 73 (the method).
Juric et al. 2008, ApJ 673, 864 (scale heights and lengths, thick disc and halo fractions).
Just et al. 2015, MNRAS 451, 149 (luminosity function of nearby stars in Ks; here rounded values).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord

from clusterscan.config.simulation import InfraredSettings
from clusterscan.core import sky
from clusterscan.simulate.cells import (
    GENERATION_AREA_DEG2,
    GENERATION_ORDER,
    Kind,
    generator,
    uniform_positions,
)

# Local stellar density per magnitude [1e-3 pc-3 mag-1] against M_W1, about M_Ks.
_LF_MAG = np.array([-7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11.0])
_LF = np.array(
    [0.0002, 0.0008, 0.003, 0.008, 0.02, 0.12, 0.08, 0.10, 0.6, 1.6, 3.2, 4.2, 6.5, 9.5, 11.0,
     10.0, 7.0, 5.0, 3.0]
)  # fmt: skip
_SUN_R_PC, _SUN_Z_PC = 8000.0, 25.0
_THICK_PART, _HALO_PART = 0.12, 0.0051
_BRIGHTEST_MAG = -3.0
_MAG_STEP = 0.25


def galactic_density(l_deg: float, b_deg: float, distance_pc: np.ndarray) -> np.ndarray:
    """Return the stellar density along a line of sight over the local one."""
    l_rad, b_rad = np.radians(l_deg), np.radians(b_deg)
    along = distance_pc * np.cos(b_rad)
    x = _SUN_R_PC - along * np.cos(l_rad)
    radius = np.hypot(x, along * np.sin(l_rad))
    height = np.abs(distance_pc * np.sin(b_rad) + _SUN_Z_PC)

    def disc(scale_height: float, scale_length: float) -> np.ndarray:
        return np.exp(-(radius - _SUN_R_PC) / scale_length - (height - _SUN_Z_PC) / scale_height)

    oblate = np.sqrt(radius**2 + (height / 0.64) ** 2)
    halo = (_SUN_R_PC / np.maximum(oblate, 500.0)) ** 2.77
    return (disc(300.0, 2600.0) + _THICK_PART * disc(900.0, 3600.0) + _HALO_PART * halo) / (
        1 + _THICK_PART + _HALO_PART
    )


def star_counts(l_deg: float, b_deg: float, w1_mag: np.ndarray) -> np.ndarray:
    """Return star counts in a direction [mag-1 deg-2]; no extinction.

    Parameters
    ----------
    l_deg, b_deg : float
        Galactic direction [deg].
    w1_mag : ndarray, shape (n,)
        Apparent magnitudes [Vega].
    """
    ln_distance = np.linspace(np.log(2.0), np.log(6e4), 160)
    distance = np.exp(ln_distance)
    volume = distance**3 * (np.pi / 180) ** 2 * (ln_distance[1] - ln_distance[0])
    stars = volume * galactic_density(l_deg, b_deg, distance)
    absolute = np.asarray(w1_mag)[:, None] - 5 * np.log10(distance / 10.0)[None, :]
    log_lf = np.interp(absolute, _LF_MAG, np.log(_LF * 1e-3), left=-50.0, right=-50.0)
    return (np.exp(log_lf) * stars).sum(axis=1)


@lru_cache(maxsize=256)
def _cumulative_counts(cell: int, low: float, high: float) -> tuple[np.ndarray, np.ndarray]:
    ra, dec = (float(v) for v in sky.cell_centres(np.array(cell), GENERATION_ORDER))
    galactic = SkyCoord(ra * u.deg, dec * u.deg, frame="icrs").galactic
    edges = np.linspace(low, high, int(np.ceil((high - low) / _MAG_STEP)) + 1)
    middle = (edges[1:] + edges[:-1]) / 2
    counts = star_counts(galactic.l.deg, galactic.b.deg, middle) * np.diff(edges)
    return edges, np.concatenate([[0.0], np.cumsum(counts)])


def _draw(rng, cell, low: float, high: float, factor: float, cap_per_deg2: float):
    edges, cumulative = _cumulative_counts(cell, low, high)
    total = min(cumulative[-1] * factor, cap_per_deg2) * GENERATION_AREA_DEG2
    count = rng.poisson(total)
    w1 = np.interp(rng.random(count) * cumulative[-1], cumulative, edges)
    # Dwarfs cooler than M4 are redder; they are faint stars nearby (Kirkpatrick et al. 2011).
    cool = rng.random(count) < np.clip((w1 - 11.0) / 20.0, 0.0, 0.3)
    colour = np.where(cool, 0.17, -0.03) + 0.04 * rng.standard_normal(count)
    ra, dec = uniform_positions(rng, cell, count)
    return ra, dec, w1, w1 - colour


def faint_stars_of_cell(cell: int, seed: int, settings: InfraredSettings):
    """Draw a cell's stars fainter than `bright_star_w1_mag`.

    Returns
    -------
    ra_deg, dec_deg, w1_mag, w2_mag : ndarray, shape (n,)
    """
    rng = generator(seed, Kind.STARS, cell)
    low, high = (
        settings.bright_star_w1_mag,
        max(settings.star_limit_w1_mag, settings.bright_star_w1_mag + _MAG_STEP),
    )
    return _draw(rng, cell, low, high, settings.star_density, settings.stars_max_per_deg2)


@lru_cache(maxsize=256)
def bright_stars_of_cell(cell: int, seed: int, settings: InfraredSettings):
    """Draw a cell's stars brighter than `bright_star_w1_mag`; columns as for faint ones."""
    rng = generator(seed, Kind.BRIGHT_STARS, cell)
    return _draw(rng, cell, _BRIGHTEST_MAG, settings.bright_star_w1_mag, settings.star_density, 1e6)
