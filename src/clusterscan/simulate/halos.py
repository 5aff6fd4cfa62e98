"""The halos of a generation cell: drawn from the mass function, with scatter of gas and richness.

The number and the emission of halos are physics (`clusterscan.physics.mass_function`,
`clusterscan.physics.sz_effect`); this module draws them.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import lru_cache

import numpy as np

from clusterscan.config.simulation import HaloSettings
from clusterscan.physics import cosmology, sz_effect
from clusterscan.physics.mass_function import HaloTable, halo_table, mean_richness
from clusterscan.simulate.sky_cells import GENERATION_AREA_DEG2, Kind, generator, uniform_positions


@dataclass(frozen=True)
class Halos:
    """Columns of halos, each of shape (n,).

    Attributes
    ----------
    cell, index : int64
        Generation cell and the halo's number in it, in falling mass.
    ra_deg, dec_deg, z : float64
        Centre and redshift.
    m500c_msun : float64
        True mass.
    r500_arcmin : float64
        Angular R500c of the true mass.
    theta500_arcmin : float64
        Angular R500 of the pressure profile's mass, (1 - b) M.
    compton_amplitude : float64
        A of `sz_effect.compton_amplitude`, with scatter.
    richness : float64
        Expected richness, with intrinsic scatter and without counting noise.
    """

    cell: np.ndarray
    index: np.ndarray
    ra_deg: np.ndarray
    dec_deg: np.ndarray
    z: np.ndarray
    m500c_msun: np.ndarray
    r500_arcmin: np.ndarray
    theta500_arcmin: np.ndarray
    compton_amplitude: np.ndarray
    richness: np.ndarray

    def __len__(self) -> int:
        return len(self.z)

    def take(self, chosen: np.ndarray) -> Halos:
        """Return the chosen rows (mask or indices)."""
        return Halos(**{f.name: getattr(self, f.name)[chosen] for f in fields(self)})

    @property
    def y0(self) -> np.ndarray:
        """Central Compton parameter."""
        return self.compton_amplitude * sz_effect.shape_at(0.0)

    @property
    def y500_arcmin2(self) -> np.ndarray:
        """Compton parameter integrated over the disc of theta500 [arcmin2]."""
        return self.compton_amplitude * self.theta500_arcmin**2 * sz_effect.disc_integral()

    @staticmethod
    def concatenate(parts: list[Halos]) -> Halos:
        """Join the halos of several cells."""
        return Halos(
            **{f.name: np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(Halos)}
        )


def draw_masses(
    table: HaloTable, rng: np.random.Generator, area_deg2: float
) -> tuple[np.ndarray, np.ndarray]:
    """Draw the (m500c_msun, z) of the halos on an area: Poisson, unclustered."""
    mean = table.per_deg2.ravel() * area_deg2
    cumulative = np.cumsum(mean)
    count = rng.poisson(cumulative[-1])
    # Inverse transform over the flattened (mass, redshift) table, then uniform within the bin. The
    # bins are narrow, so the steps of the mass function do not show.
    bins = np.searchsorted(cumulative, rng.random(count) * cumulative[-1], side="right")
    i, j = np.divmod(np.minimum(bins, mean.size - 1), table.per_deg2.shape[1])
    ln_mass = table.ln_mass_edges[i] + rng.random(count) * np.diff(table.ln_mass_edges)[i]
    z = table.z_edges[j] + rng.random(count) * np.diff(table.z_edges)[j]
    return np.exp(ln_mass), z


@lru_cache(maxsize=256)
def halos_of_cell(cell: int, seed: int, settings: HaloSettings) -> Halos:
    """Draw a cell's halos: Poisson in mass and redshift, uniform on the sky.

    Two Gaussian numbers are drawn for every halo whatever the scatter, so the halos stay in
    place when a scatter is changed.
    """
    table = halo_table(settings.group_m500c_min_msun, settings.z_min, settings.z_max)
    rng = generator(seed, Kind.HALOS, cell)
    mass, z = draw_masses(table, rng, GENERATION_AREA_DEG2)
    ra, dec = uniform_positions(rng, cell, len(mass))
    gas, galaxies = rng.standard_normal((2, len(mass)))
    # A halo's index is part of its name in the truth catalogue: numbered by falling mass, the
    # heaviest halo of a cell is always number 0.
    order = np.argsort(-mass, kind="stable")
    mass, z, ra, dec, gas, galaxies = (a[order] for a in (mass, z, ra, dec, gas, galaxies))
    return make_halos(
        cell=np.full(len(mass), cell, dtype=np.int64),
        index=np.arange(len(mass), dtype=np.int64),
        ra_deg=ra,
        dec_deg=dec,
        z=z,
        m500c_msun=mass,
        gas=gas,
        galaxies=galaxies,
        settings=settings,
    )


def make_halos(
    *,
    cell: np.ndarray,
    index: np.ndarray,
    ra_deg: np.ndarray,
    dec_deg: np.ndarray,
    z: np.ndarray,
    m500c_msun: np.ndarray,
    gas: np.ndarray,
    galaxies: np.ndarray,
    settings: HaloSettings,
) -> Halos:
    """Build halos from positions, masses and redshifts, and compute their gas and richness.

    Parameters
    ----------
    cell, index, ra_deg, dec_deg, z, m500c_msun : ndarray, shape (n,)
        As in `Halos`.
    gas, galaxies : float ndarray, shape (n,)
        Standard normal scatters of the SZ signal and of the richness.
    settings : HaloSettings
        Mass bias and the sizes of the scatters.
    """
    # SZ and X-ray relations are calibrated on hydrostatic masses, which are lower than true masses
    # by the factor 1 - b. The mass function and the richness relation use true masses.
    hydrostatic = settings.hydrostatic_one_minus_b * m500c_msun
    return Halos(
        cell=cell,
        index=index,
        ra_deg=ra_deg,
        dec_deg=dec_deg,
        z=z,
        m500c_msun=m500c_msun,
        r500_arcmin=cosmology.angle_arcmin(cosmology.r500_mpc(m500c_msun, z), z),
        theta500_arcmin=cosmology.angle_arcmin(cosmology.r500_mpc(hydrostatic, z), z),
        compton_amplitude=sz_effect.compton_amplitude(hydrostatic, z)
        * np.exp(settings.y_scatter_ln * gas),
        richness=mean_richness(m500c_msun, z) * np.exp(settings.richness_scatter_ln * galaxies),
    )
