"""X-ray sources: gas of halos, active galaxies, gas of bright galaxies (0.5-2 keV).

References
----------
Vikhlinin et al. 2009, ApJ 692, 1033: L_X-M500 in 0.5-2 keV (its Eq. 22), M500-T_X (Table 3).
Pacaud et al. 2016, A&A 592, A2: beta model with beta = 2/3 and a core radius of 0.15 R500.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import lru_cache

import numpy as np

from clusterscan.config.simulation import SimulationSettings
from clusterscan.physics import cosmology
from clusterscan.simulate.halos import halos_of_cell
from clusterscan.simulate.sky_cells import GENERATION_AREA_DEG2, Kind, generator, uniform_positions
from clusterscan_studies.simulate.optical_sources import field_of_cell

LOW_KEV, HIGH_KEV = 0.5, 2.0
_CM_PER_MPC = 3.0856775814913673e24
_CONTINUUM_SLOPE = -0.4  # of a thermal continuum's photon energy flux, beside exp(-E / kT)


def mean_luminosity(m500c_msun: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Return the median luminosity exp <ln L_X> in 0.5-2 keV, in the source's frame [erg/s]."""
    h = cosmology.planck18().h
    ln = 47.392 + 1.61 * np.log(m500c_msun) + 1.85 * np.log(cosmology.expansion(z))
    return np.exp(ln - 0.39 * np.log(h / 0.72))


def temperature_kev(m500c_msun: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Return the mean temperature of a halo's gas [keV]."""
    pivot = 3.02e14 / cosmology.planck18().h
    return 5.0 * (np.asarray(m500c_msun) * cosmology.expansion(z) / pivot) ** (1 / 1.53)


def _band_energy(low_kev: np.ndarray, temperature: np.ndarray) -> np.ndarray:
    """Integrate a thermal continuum's energy over the band from ``low`` to 4 times ``low``."""
    # Gauss-Legendre quadrature with 24 nodes is exact to rounding for so smooth a spectrum, and it
    # works for arrays of temperatures at once.
    nodes, weights = np.polynomial.legendre.leggauss(24)
    low = np.asarray(low_kev)[..., None]
    high = low * HIGH_KEV / LOW_KEV
    e = low + (high - low) * (nodes + 1) / 2
    spectrum = e**_CONTINUUM_SLOPE * np.exp(-e / np.asarray(temperature)[..., None])
    return ((high - low) / 2 * spectrum * weights).sum(axis=-1)


def k_correction(temperature: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Return the ratio of the luminosity in the observed band to that in the band at rest.

    Photons observed in 0.5-2 keV left the gas with (1 + z) times that energy. Lines are ignored.
    """
    at_rest = np.full(np.shape(z), LOW_KEV)
    return _band_energy(LOW_KEV * (1 + np.asarray(z)), temperature) / _band_energy(
        at_rest, temperature
    )


def observed_flux(luminosity: np.ndarray, m500c_msun: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Convert a rest-frame luminosity to the observed flux in 0.5-2 keV [erg/s/cm2]."""
    distance = cosmology.comoving_distance_mpc(z) * (1 + np.asarray(z)) * _CM_PER_MPC
    return luminosity * k_correction(temperature_kev(m500c_msun, z), z) / (4 * np.pi * distance**2)


def beta_radius(part: np.ndarray) -> np.ndarray:
    """Return the radius [core radii] that contains a fraction of a beta model with beta = 2/3.

    Its surface brightness (1 + r^2)^-1.5 has the whole flux 2 pi.
    """
    # For beta = 2/3 the enclosed flux is 1 - 1 / sqrt(1 + r^2), which can be inverted; for other
    # beta it cannot, with a finite flux.
    return np.sqrt((1 - part) ** -2 - 1)


def beta_part(radius: np.ndarray) -> np.ndarray:
    """Return the part of the flux within a radius [core radii] (undoes `beta_radius`)."""
    return 1 - 1 / np.sqrt(1 + np.asarray(radius) ** 2)


# N(> S) = N (2e-15)^a / (S^a + S0^(a - b) S^b), S in erg/s/cm2
_COUNT_A, _COUNT_B, _COUNT_S0, _COUNT_N = 1.82, 0.60, 1.48e-14, 6150.0


def source_counts(flux_cgs: np.ndarray) -> np.ndarray:
    """Return the number of X-ray sources above a flux in 0.5-2 keV [deg-2].

    References
    ----------
    Moretti et al. 2003, ApJ 588, 696, Eq. 2, soft band: ROSAT, Chandra and XMM surveys together.
    """
    s = np.asarray(flux_cgs)
    return (
        _COUNT_N
        * 2e-15**_COUNT_A
        / (s**_COUNT_A + _COUNT_S0 ** (_COUNT_A - _COUNT_B) * s**_COUNT_B)
    )


@lru_cache(maxsize=4)
def count_quantiles(flux_min: float) -> tuple[float, np.ndarray, np.ndarray]:
    """Return (sources per deg2 above a flux, cumulative fraction, ln flux), to draw fluxes from."""
    ln_flux = np.linspace(np.log(flux_min), np.log(1e-11), 800)
    above = source_counts(np.exp(ln_flux))
    parts = (above[0] - above) / (above[0] - above[-1])
    return float(above[0] - above[-1]), parts, ln_flux


CLUSTER, AGN, GALAXY = 0, 1, 2
FAINTEST_FLUX = 1e-16
"""Gas fainter than this is not drawn [erg/s/cm2]."""

_FLUX_ZERO = 5.37
_AGN_RATIO, _AGN_RATIO_SCATTER = 0.0, 0.45
_RED_RATIO, _BLUE_RATIO, _GALAXY_RATIO_SCATTER = -3.2, -3.5, 0.45
_RED_CORE_KPC, _BLUE_CORE_KPC, _GALAXY_CORE_SCATTER = 8.0, 4.0, 0.3
_GALAXY_R_MAX = 16.5


@dataclass(frozen=True)
class XraySources:
    """X-ray sources, each column of shape (n,).

    Attributes
    ----------
    kind : int8
        CLUSTER, AGN or GALAXY.
    cell, index : int64
        Generation cell and number there; of a cluster, its halo's in `halos_of_cell`.
    ra_deg, dec_deg : float64
        Position.
    flux : float64
        In 0.5-2 keV [erg/s/cm2].
    core_arcsec : float64
        Core radius of a beta model with beta = 2/3; 0: a point.
    """

    kind: np.ndarray
    cell: np.ndarray
    index: np.ndarray
    ra_deg: np.ndarray
    dec_deg: np.ndarray
    flux: np.ndarray
    core_arcsec: np.ndarray

    def __len__(self) -> int:
        return len(self.flux)

    def take(self, chosen: np.ndarray) -> XraySources:
        """Return the chosen rows (mask or indices)."""
        return XraySources(**{f.name: getattr(self, f.name)[chosen] for f in fields(self)})

    @staticmethod
    def concatenate(parts: list[XraySources]) -> XraySources:
        """Join the sources of several cells."""
        return XraySources(
            **{
                f.name: np.concatenate([getattr(p, f.name) for p in parts])
                for f in fields(XraySources)
            }
        )


def _sources(kind: int, cell: int, index, ra, dec, flux, core) -> XraySources:
    n = len(flux)
    return XraySources(
        np.full(n, kind, np.int8), np.full(n, cell, np.int64), np.asarray(index, np.int64),
        ra, dec, flux, np.broadcast_to(core, n).astype(float),
    )  # fmt: skip


@lru_cache(maxsize=256)
def sources_of_cell(cell: int, seed: int, settings: SimulationSettings) -> XraySources:
    """Return all X-ray sources centred in a generation cell."""
    parts = [clusters_of_cell(cell, seed, settings)]
    ra, dec, flux, _ = agn_of_cell(cell, seed, settings)
    parts.append(_sources(AGN, cell, np.arange(len(flux)), ra, dec, flux, 0.0))
    if settings.xray.galaxies:
        parts.append(_galaxies(cell, seed, settings))
    return XraySources.concatenate(parts)


def clusters_of_cell(cell: int, seed: int, settings: SimulationSettings) -> XraySources:
    """Return the gas of a cell's halos.

    Two Gaussian numbers are drawn for every halo whatever the scatter.
    """
    halos = halos_of_cell(cell, seed, settings.halos)
    bright, wide = generator(seed, Kind.XRAY_CLUSTERS, cell).standard_normal((2, len(halos)))
    xray = settings.xray
    # The relations are those of hydrostatic masses, as the pressure profile's are.
    mass = settings.halos.hydrostatic_one_minus_b * halos.m500c_msun
    luminosity = mean_luminosity(mass, halos.z)
    luminosity = luminosity * np.exp(xray.luminosity_scatter_ln * bright)
    flux = observed_flux(luminosity, mass, halos.z)
    core = 60 * halos.theta500_arcmin * xray.core_radius_r500
    core = core * np.exp(xray.core_radius_scatter_ln * wide)
    gas = _sources(CLUSTER, cell, halos.index, halos.ra_deg, halos.dec_deg, flux, core)
    # The cut comes after all draws: the random numbers of the remaining halos do not depend on it.
    return gas.take(flux > FAINTEST_FLUX)


@lru_cache(maxsize=256)
def agn_of_cell(
    cell: int, seed: int, settings: SimulationSettings
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Draw a cell's active galaxies.

    Returns
    -------
    ra_deg, dec_deg : ndarray, shape (n,)
    flux : ndarray, shape (n,)
        In 0.5-2 keV [erg/s/cm2].
    mag : ndarray, shape (3, n)
        g, r, i of their counterparts [AB].
    """
    rng = generator(seed, Kind.XRAY_AGN, cell)
    xray = settings.xray
    per_deg2, parts, ln_flux = count_quantiles(xray.agn_flux_min)
    n = rng.poisson(per_deg2 * xray.agn_counts * GENERATION_AREA_DEG2)
    flux = np.exp(np.interp(rng.random(n), parts, ln_flux))
    ra, dec = uniform_positions(rng, cell, n)
    # log10 of the X-ray to optical flux ratio, log f_X + 0.4 r + 5.37: about 0 with a scatter of
    # 0.45 dex for active galaxies, and far below -2 for normal ones.
    ratio = _AGN_RATIO + _AGN_RATIO_SCATTER * rng.standard_normal(n)
    r = 2.5 * (ratio - np.log10(flux) - _FLUX_ZERO)
    blue = rng.standard_normal((2, n))
    return ra, dec, flux, np.stack([r + 0.2 + 0.2 * blue[0], r, r - 0.15 - 0.1 * blue[1]])


def _galaxies(cell: int, seed: int, settings: SimulationSettings) -> XraySources:
    """Return the hot gas of a cell's bright field galaxies."""
    seen = field_of_cell(cell, seed, settings)
    # Nearby ellipticals have extended hot gas. In X-rays they look like small clusters, and are the
    # main contaminant that an optical image reveals.
    number = np.flatnonzero(seen.mag[1] < _GALAXY_R_MAX)
    bright = seen.take(number)
    noise = generator(seed, Kind.XRAY_GALAXIES, cell).standard_normal((2, len(number)))
    log_flux = np.where(bright.red, _RED_RATIO, _BLUE_RATIO) - 0.4 * bright.mag[1] - _FLUX_ZERO
    log_flux = log_flux + _GALAXY_RATIO_SCATTER * noise[0]
    kpc = np.where(bright.red, _RED_CORE_KPC, _BLUE_CORE_KPC)
    kpc = kpc * np.exp(_GALAXY_CORE_SCATTER * noise[1])
    core = np.degrees(kpc / 1e3 / cosmology.angular_distance_mpc(bright.z)) * 3600
    gas = _sources(GALAXY, cell, number, bright.ra_deg, bright.dec_deg, 10**log_flux, core)
    return gas.take(gas.flux > FAINTEST_FLUX)
