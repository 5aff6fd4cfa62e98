"""What shines in an optical image: the simulated sky's galaxies and stars, by generation cell."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import lru_cache

import numpy as np

from clusterscan.config.simulation import SimulationSettings
from clusterscan.physics import cosmology
from clusterscan.simulate.cells import Kind, generator
from clusterscan.simulate.galaxies import characteristic_w1, draw_field_galaxies
from clusterscan.simulate.halos import halos_of_cell
from clusterscan.simulate.members import members_of_cell
from clusterscan.simulate.stars import bright_stars_of_cell, faint_stars_of_cell
from clusterscan_studies.simulate.optical_colours import galaxy_magnitudes, star_magnitudes

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
    """Return the faintest g, r, i that is drawn; an object is if one of them is brighter."""
    optical = settings.optical
    return np.array(optical.depth_5sigma_ab_mag) + optical.limit_below_depth_mag


@lru_cache(maxsize=128)
def field_of_cell(cell: int, seed: int, settings: SimulationSettings) -> OpticalGalaxies:
    """Return the field galaxies centred in a generation cell that the optical survey may see."""
    drawn = draw_field_galaxies(cell, seed, settings)
    rng = generator(seed, Kind.OPTICAL_GALAXIES, cell)
    brighter = characteristic_w1(drawn.z) - drawn.w1_mag
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
