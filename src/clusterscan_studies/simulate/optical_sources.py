"""Galaxies and stars of the optical survey, with g, r, i magnitudes (AB).

Red galaxies follow the passively evolving m*(z) of redMaPPer in i and rounded red-sequence
colours; the others are bluer by rounded amounts; stars follow a rounded stellar locus.

References
----------
Rykoff et al. 2014, ApJ 785, 104, and 2016, ApJS 224, 1: m*(z) in i, red-sequence colours.
Fukugita, Shimasaku & Ichikawa 1995, PASP 107, 945: colours of galaxy types against redshift.
Strateva et al. 2001, AJ 122, 1861: red and blue galaxies in SDSS.
Covey et al. 2007, AJ 134, 2398: stellar locus from SDSS to 2MASS.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import lru_cache

import numpy as np

from clusterscan.config.simulation import SimulationSettings
from clusterscan.physics import cosmology
from clusterscan.simulate.galaxies import characteristic_w1, draw_field_galaxies, members_of_cell
from clusterscan.simulate.halos import halos_of_cell
from clusterscan.simulate.sky_cells import Kind, generator
from clusterscan.simulate.stars import bright_stars_of_cell, faint_stars_of_cell

BANDS = ("g", "r", "i")

_Z = np.array([0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5, 0.6, 0.7, 0.8, 1.0, 1.5])
_RED_GR = np.array(
    [0.74, 0.83, 0.94, 1.07, 1.20, 1.33, 1.45, 1.56, 1.63, 1.70, 1.73, 1.75, 1.80, 1.90, 2.0]
)
_RED_RI = np.array(
    [0.37, 0.39, 0.41, 0.44, 0.47, 0.50, 0.53, 0.58, 0.66, 0.84, 1.02, 1.14, 1.22, 1.30, 1.50]
)
_BLUE_GR = np.array(
    [0.42, 0.47, 0.53, 0.59, 0.65, 0.71, 0.76, 0.80, 0.83, 0.85, 0.84, 0.80, 0.76, 0.70, 0.5]
)
_BLUE_RI = np.array(
    [0.20, 0.22, 0.24, 0.26, 0.28, 0.29, 0.31, 0.35, 0.40, 0.50, 0.56, 0.60, 0.64, 0.70, 0.7]
)
_BLUE_NEARBY, _BLUE_PER_Z, _BLUE_Z_MAX = 0.2, 0.9, 1.2  # how much i - W1 is bluer
_MSTAR_I = (22.44, 3.36, 0.273, -0.0618, -0.0227)  # powers of ln z, 0.05 < z < 0.7


def characteristic_i(z: np.ndarray) -> np.ndarray:
    """Return the apparent i magnitude of an L* galaxy on the red sequence [AB].

    Below z = 0.05, where the published polynomial ends, it follows W1.
    """
    ln = np.log(np.clip(z, 0.05, 1.5))
    i = sum(c * ln**power for power, c in enumerate(_MSTAR_I))
    near = np.clip(z, 1e-3, 0.05)
    return i + characteristic_w1(near) - characteristic_w1(np.full_like(near, 0.05))


def galaxy_colours(z: np.ndarray, red: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the mean (i - W1, r - i, g - r) of galaxies; W1 in Vega, the others in AB."""
    i_w1 = characteristic_i(z) - characteristic_w1(np.maximum(z, 1e-3))
    # Blue galaxies are brighter in i for the same W1 light, the more the higher the redshift, as i
    # then samples the rest-frame ultraviolet.
    bluer = _BLUE_NEARBY + _BLUE_PER_Z * np.minimum(z, _BLUE_Z_MAX)
    return (
        np.where(red, i_w1, i_w1 - bluer),
        np.where(red, np.interp(z, _Z, _RED_RI), np.interp(z, _Z, _BLUE_RI)),
        np.where(red, np.interp(z, _Z, _RED_GR), np.interp(z, _Z, _BLUE_GR)),
    )


def galaxy_magnitudes(
    rng: np.random.Generator,
    w1_mag: np.ndarray,
    z: np.ndarray,
    red: np.ndarray,
    scatter: tuple[float, float],
) -> np.ndarray:
    """Draw magnitudes of galaxies.

    Parameters
    ----------
    rng : numpy.random.Generator
        The scatter's stream.
    w1_mag, z, red : ndarray, shape (n,)
        W1 [Vega], redshift, and which galaxies are red.
    scatter : (red, blue)
        Scatter of each colour [mag].

    Returns
    -------
    float ndarray, shape (3, n)
        g, r, i [AB].
    """
    i_w1, r_i, g_r = galaxy_colours(z, red)
    noise = rng.standard_normal((3, len(z))) * np.where(red, *scatter)
    # W1 is the anchor: the infrared and the optical survey draw the same galaxies, with the same
    # W1.
    i = w1_mag + i_w1 + 2 * noise[0]  # the wider the bands are apart, the larger the scatter
    r = i + r_i + 0.5 * noise[1]
    return np.stack([r + g_r + noise[2], r, i])


_STAR_GR = np.array([-0.3, 0.0, 0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.4, 1.5])
_STAR_R_W1 = np.array([-0.6, 0.2, 0.85, 1.30, 1.75, 2.15, 2.50, 2.85, 3.4, 5.0])
_STAR_RI = np.array([-0.2, -0.08, 0.03, 0.13, 0.22, 0.30, 0.40, 0.55, 1.0, 1.9])
_COOL_COLOUR = 0.07  # W1 - W2 of dwarfs cooler than M4 lies above this


def star_magnitudes(rng: np.random.Generator, w1_mag: np.ndarray, w2_mag: np.ndarray) -> np.ndarray:
    """Draw magnitudes of stars: hot and solar ones, K dwarfs, M dwarfs, more of these when faint.

    Returns
    -------
    float ndarray, shape (3, n)
        g, r, i [AB].
    """
    kind, draw = rng.random(len(w1_mag)), rng.standard_normal(len(w1_mag))
    cool_part = np.clip(0.1 + 0.06 * (w1_mag - 10.0), 0.1, 0.6)
    g_r = np.where(kind < 0.75, 0.48 + 0.13 * draw, 0.9 + 0.2 * draw)
    dwarf = rng.random(len(w1_mag)) < cool_part
    g_r = np.where(dwarf, 1.40 + 0.05 * draw, g_r)
    g_r = np.where(w1_mag - w2_mag > _COOL_COLOUR, 1.48 + 0.03 * draw, g_r)
    r = w1_mag + np.interp(g_r, _STAR_GR, _STAR_R_W1)
    return np.stack([r + g_r, r, r - np.interp(g_r, _STAR_GR, _STAR_RI)])


_HALF_LIGHT_KPC, _SIZE_SLOPE, _SIZE_SCATTER = 4.5, 0.5, 0.3  # of L*; Shen et al. 2003, rounded
_RED_AT_LSTAR, _RED_PER_MAG, _RED_PER_Z = 0.5, 0.12, 0.25  # rounded, after Strateva et al. 2001
_ARCSEC_PER_KPC = 180 / np.pi * 3600 / 1e3


@dataclass(frozen=True)
class OpticalGalaxies:
    """Galaxies, each column of shape (n,), `mag` of shape (3, n)."""

    ra_deg: np.ndarray
    dec_deg: np.ndarray
    mag: np.ndarray
    """g, r, i [AB]."""
    z: np.ndarray
    red: np.ndarray
    half_light_arcsec: np.ndarray
    axis_ratio: np.ndarray
    angle_rad: np.ndarray

    def take(self, chosen: np.ndarray) -> OpticalGalaxies:
        """Return the chosen rows (mask or indices)."""
        return OpticalGalaxies(**{f.name: getattr(self, f.name)[..., chosen] for f in fields(self)})

    @staticmethod
    def concatenate(parts: list[OpticalGalaxies]) -> OpticalGalaxies:
        """Join galaxies."""
        names = [f.name for f in fields(OpticalGalaxies)]
        return OpticalGalaxies(
            **{n: np.concatenate([getattr(p, n) for p in parts], axis=-1) for n in names}
        )


def magnitude_limit(settings: SimulationSettings) -> np.ndarray:
    """Return the faintest drawn g, r, i; an object is drawn if one band is brighter."""
    optical = settings.optical
    return np.array(optical.depth_5sigma_ab_mag) + optical.limit_below_depth_mag


@lru_cache(maxsize=128)
def field_of_cell(cell: int, seed: int, settings: SimulationSettings) -> OpticalGalaxies:
    """Return the field galaxies centred in a generation cell that the optical survey may see."""
    drawn = draw_field_galaxies(cell, seed, settings)
    rng = generator(seed, Kind.OPTICAL_GALAXIES, cell)
    brighter = characteristic_w1(drawn.z) - drawn.w1_mag
    # Red galaxies are more frequent among luminous and among nearby galaxies.
    part = np.clip(_RED_AT_LSTAR + _RED_PER_MAG * brighter - _RED_PER_Z * drawn.z, 0.05, 0.85)
    red = (rng.random(len(part)) < part) & ~drawn.agn
    return _seen(rng, drawn.ra_deg, drawn.dec_deg, drawn.w1_mag, drawn.z, red, settings)


@lru_cache(maxsize=128)
def members_seen_of_cell(cell: int, seed: int, settings: SimulationSettings) -> OpticalGalaxies:
    """Return the members of a cell's halos that the optical survey may see."""
    drawn = members_of_cell(cell, seed, settings.halos)
    z = halos_of_cell(cell, seed, settings.halos).z[drawn.halo]
    rng = generator(seed, Kind.OPTICAL_MEMBERS, cell)
    return _seen(rng, drawn.ra_deg, drawn.dec_deg, drawn.w1_mag, z, drawn.red, settings)


def _seen(rng, ra, dec, w1, z, red, settings: SimulationSettings) -> OpticalGalaxies:
    optical = settings.optical
    mag = galaxy_magnitudes(rng, w1, z, red, (optical.red_scatter_mag, optical.blue_scatter_mag))
    luminosity = 10 ** (0.4 * (characteristic_w1(z) - w1))
    scatter = rng.standard_normal(len(z))
    kpc = _HALF_LIGHT_KPC * luminosity**_SIZE_SLOPE * np.exp(_SIZE_SCATTER * scatter)
    size = kpc / cosmology.angular_distance_mpc(z) * _ARCSEC_PER_KPC
    ratio = np.where(red, rng.uniform(0.6, 1.0, len(z)), rng.uniform(0.2, 1.0, len(z)))
    angle = rng.uniform(0, np.pi, len(z))
    galaxies = OpticalGalaxies(ra, dec, mag, z, red, size, ratio, angle)
    # The limit lies below the survey's depth: galaxies too faint to be detected one by one still
    # add to the background fluctuations.
    seen = np.any(mag < magnitude_limit(settings)[:, None], axis=0)
    return galaxies.take(np.asarray(seen))


@lru_cache(maxsize=128)
def stars_of_cell(
    cell: int, seed: int, settings: SimulationSettings
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the stars (ra_deg, dec_deg, g r i (3, n)) that the optical survey may see."""
    rng = generator(seed, Kind.OPTICAL_STARS, cell)
    parts = (
        bright_stars_of_cell(cell, seed, settings.infrared),
        faint_stars_of_cell(cell, seed, settings.infrared),
    )
    ra, dec, w1, w2 = (np.concatenate(column) for column in zip(*parts, strict=True))
    mag = star_magnitudes(rng, w1, w2)
    seen = (mag < magnitude_limit(settings)[:, None]).any(axis=0)
    return ra[seen], dec[seen], mag[:, seen]
