"""Catalogues of the simulated sky: the truth, and the catalogues that two surveys would make.

The SZ catalogue is limited in signal-to-noise like ACT DR5's (Hilton et al. 2021, ApJS 253, 3),
the richness catalogue in richness like CAMIRA's (Oguri et al. 2018, PASJ 70, S20). The
signal-to-noise is that of an ideal multi-frequency matched filter (Melin, Bartlett & Delabrouille
2006, A&A 459, 341, Eqs. 9 to 11).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import numpy as np
import pandas as pd
from scipy.special import j0

from clusterscan.config.simulation import MicrowaveSettings, SimulationSettings
from clusterscan.core import sky
from clusterscan.core.errors import CatalogueError
from clusterscan.physics import cosmology, sz_effect
from clusterscan.physics.mass_function import mass_of_richness
from clusterscan.simulate.halos import Halos, halos_of_cell
from clusterscan.simulate.microwave_sky import (
    beam,
    cib_cl_150,
    cib_scaling,
    cmb_cl,
    noise_cl,
    unresolved_power,
)
from clusterscan.simulate.sky_cells import (
    GENERATION_AREA_DEG2,
    GENERATION_ORDER,
    Kind,
    generator,
    offset_positions,
    uniform_positions,
)


def truth_of_cell(
    ipix: int, order: int, *, seed: int, settings: SimulationSettings
) -> pd.DataFrame:
    """Return every simulated cluster centred in a HEALPix cell.

    Parameters
    ----------
    ipix, order : int
        The cell (NESTED) at any order.
    seed : int
        The sky's seed, >= 0.
    settings : SimulationSettings
        The sky's settings.

    Returns
    -------
    pandas.DataFrame
        Rows in falling mass within each generation cell. Columns: name; ra_deg, dec_deg (ICRS,
        the gas centre and brightest galaxy); z; m500c_msun; r500_arcmin; y0 (central Compton
        parameter, with scatter); y500_arcmin2 (cylindrical integral within R500 of the
        pressure profile); richness (expected, with intrinsic scatter); q_sz (expected
        signal-to-noise in the microwave survey).
    """
    cells = _generation_cells(ipix, order)
    halos = Halos.concatenate([_clusters(int(cell), seed, settings) for cell in cells])
    if order > GENERATION_ORDER:
        halos = halos.take(sky.owning_cell(halos.ra_deg, halos.dec_deg, order) == ipix)
    numbers = zip(halos.cell, halos.index, strict=True)
    return pd.DataFrame(
        {
            "name": [f"SIM{seed}-{cell}-{index}" for cell, index in numbers],
            "ra_deg": halos.ra_deg,
            "dec_deg": halos.dec_deg,
            "z": halos.z,
            "m500c_msun": halos.m500c_msun,
            "r500_arcmin": halos.r500_arcmin,
            "y0": halos.y0,
            "y500_arcmin2": halos.y500_arcmin2,
            "richness": halos.richness,
            "q_sz": expected_snr(halos.y0, halos.theta500_arcmin, settings.microwave),
        }
    )


def known_of_cell(
    ipix: int,
    order: int,
    *,
    seed: int,
    settings: SimulationSettings,
    selection: Literal["sz", "richness"] = "sz",
) -> pd.DataFrame:
    """Draw a survey's catalogue in a HEALPix cell: incomplete, noisy, not pure.

    Parameters
    ----------
    ipix, order, seed, settings
        As for `truth_of_cell`.
    selection : {'sz', 'richness'}
        A signal-to-noise limited SZ survey, or a richness limited optical one.

    Returns
    -------
    pandas.DataFrame
        Columns: name; ra_deg, dec_deg (measured centre, which lies in the cell); z, z_err;
        m500c_msun (from the observable, noisy); snr or richness (the observable); truth_name
        (the halo behind the entry, empty if there is none; for validation only).

    Raises
    ------
    CatalogueError
        If the selection is unknown.
    """
    select = {"sz": known_sz, "richness": known_richness}.get(selection)
    if select is None:
        raise CatalogueError(
            f"selection = {selection!r} is not a simulated catalogue; use 'sz' or 'richness'"
        )
    # A measured centre may lie across a border: look at the neighbours' halos as well.
    cells = _generation_cells(ipix, order)
    around = np.unique(np.concatenate([sky.neighbours(int(c), GENERATION_ORDER) for c in cells]))
    parts = [select(int(cell), seed, settings) for cell in np.union1d(cells, around)]
    table = pd.concat(parts, ignore_index=True)
    owner = sky.owning_cell(table["ra_deg"].to_numpy(), table["dec_deg"].to_numpy(), order)
    return table[owner == ipix].reset_index(drop=True)


def _generation_cells(ipix: int, order: int) -> np.ndarray:
    """Return the generation cells in a HEALPix cell, or the one that holds it."""
    if order <= GENERATION_ORDER:
        return sky.descendants(int(ipix), order, GENERATION_ORDER)
    return np.array([sky.ancestor(int(ipix), order, GENERATION_ORDER)], dtype=np.int64)


def _clusters(cell: int, seed: int, settings: SimulationSettings) -> Halos:
    """Return a generation cell's halos that are heavy enough to be listed."""
    halos = halos_of_cell(cell, seed, settings.halos)
    return halos.take(halos.m500c_msun >= settings.halos.m500c_min_msun)


# --- the two surveys --------------------------------------------------------------------------


_POSITION_BOOST = 2.0
_SPECTROSCOPIC_ERROR = 0.0005
_FALSE_Z = (0.2, 0.9)  # projections are assigned redshifts in this range
_SZ_POSITION_ARCMIN = 1.4  # Rayleigh width times S/N, about a beam (Hilton et al. 2021, Fig. 8)


@lru_cache(maxsize=512)
def known_sz(cell: int, seed: int, settings: SimulationSettings) -> pd.DataFrame:
    """Return the SZ catalogue's entries from one generation cell (cached: do not change it)."""
    known = settings.known
    halos = _clusters(cell, seed, settings)
    rng = generator(seed, Kind.KNOWN_SZ, cell)
    noise, luck, turn, distance = _draws(rng, len(halos))
    z, z_err = _redshifts(rng, halos.z, settings)
    mean = expected_snr(halos.y0, halos.theta500_arcmin, settings.microwave)
    # A peak is found where it is highest: q^2 grows by 1 per coordinate (Vanderlinde et al. 2010).
    snr = np.sqrt(mean**2 + _POSITION_BOOST * (mean > 1)) + noise
    # Limits act on the noisy S/N: clusters just below the limit enter by upward noise (Eddington
    # bias), as in a real catalogue.
    listed = (snr >= known.sz_snr_min) & (luck < known.sz_completeness)
    with np.errstate(divide="ignore"):
        offset = _SZ_POSITION_ARCMIN / np.maximum(snr, 1.0) * distance / 60.0
    ra, dec = offset_positions(halos.ra_deg, halos.dec_deg, offset, 2 * np.pi * turn)
    table = _table(halos, listed, ra, dec, z, z_err, f"SIMSZ{seed}-{cell}", seed)
    table["snr"] = snr[listed]
    table = _append_false(
        table, rng, cell, seed, known.sz_false_per_deg2, "snr", known.sz_snr_min, 4.0
    )
    table["m500c_msun"] = _mass_of_snr(table["snr"].to_numpy(), table["z"].to_numpy(), settings)
    return table[[*_COLUMNS, "snr", "truth_name"]]


@lru_cache(maxsize=512)
def known_richness(cell: int, seed: int, settings: SimulationSettings) -> pd.DataFrame:
    """Return the richness catalogue's entries from one generation cell (cached, as above)."""
    known = settings.known
    halos = _clusters(cell, seed, settings)
    rng = generator(seed, Kind.KNOWN_RICHNESS, cell)
    noise, luck, turn, distance = _draws(rng, len(halos))
    counted, missed = rng.standard_normal(len(halos)), rng.random(len(halos))
    z, z_err = _redshifts(rng, halos.z, settings)
    observed = halos.richness * np.exp(known.richness_noise_ln * noise)
    # Log-normal noise of the measurement, then Poisson-like noise of counting galaxies.
    observed = np.maximum(observed + np.sqrt(observed) * counted, 0.0)
    listed = (
        (observed >= known.richness_min)
        & (luck < known.richness_completeness)
        & (z >= known.richness_z_min)
        & (z <= known.richness_z_max)
    )
    # Optical finders take a bright galaxy as the centre. In a part of the clusters it is the wrong
    # one, and the offset is then a fraction of R500 instead of a few arcseconds.
    width = np.where(missed < known.miscentred_part, known.miscentring_r500, 0.02)
    offset = width * halos.r500_arcmin * distance / 60.0
    ra, dec = offset_positions(halos.ra_deg, halos.dec_deg, offset, 2 * np.pi * turn)
    table = _table(halos, listed, ra, dec, z, z_err, f"SIMRI{seed}-{cell}", seed)
    table["richness"] = observed[listed]
    table = _append_false(
        table, rng, cell, seed, known.richness_false_per_deg2, "richness", known.richness_min, 4.0
    )
    table["m500c_msun"] = mass_of_richness(
        table["richness"].to_numpy(), np.maximum(table["z"].to_numpy(), 0.0)
    )
    return table[[*_COLUMNS, "richness", "truth_name"]]


_COLUMNS = ["name", "ra_deg", "dec_deg", "z", "z_err", "m500c_msun"]


def _draws(
    rng: np.random.Generator, n: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Draw noise (normal), luck (uniform), and the offset's turn (uniform) and length (Rayleigh).

    All halos get their numbers, listed or not, so changing a limit does not move the others.
    """
    return rng.standard_normal(n), rng.random(n), rng.random(n), rng.rayleigh(1.0, n)


def _redshifts(
    rng: np.random.Generator, z: np.ndarray, settings: SimulationSettings
) -> tuple[np.ndarray, np.ndarray]:
    """Draw measured redshifts, spectroscopic or photometric, and their errors."""
    spectroscopic = rng.random(len(z)) < settings.known.spectroscopic_part
    photometric = settings.known.photo_z_scatter * (1 + z)
    error = np.where(spectroscopic, _SPECTROSCOPIC_ERROR, np.maximum(photometric, 1e-4))
    return np.maximum(z + error * rng.standard_normal(len(z)), 0.01), error


def _table(halos, listed, ra, dec, z, z_err, prefix: str, seed: int) -> pd.DataFrame:
    """Return the common columns of the listed halos."""
    rows = np.flatnonzero(listed)
    return pd.DataFrame(
        {
            "name": [f"{prefix}-{halos.index[i]}" for i in rows],
            "ra_deg": ra[rows],
            "dec_deg": dec[rows],
            "z": z[rows],
            "z_err": z_err[rows],
            "truth_name": [f"SIM{seed}-{halos.cell[i]}-{halos.index[i]}" for i in rows],
        }
    ).astype({"name": "str", "truth_name": "str"})


def _append_false(
    table: pd.DataFrame,
    rng: np.random.Generator,
    cell: int,
    seed: int,
    per_deg2: float,
    observable: str,
    limit: float,
    slope: float,
) -> pd.DataFrame:
    """Add false entries, whose observable falls steeply from the limit."""
    count = rng.poisson(per_deg2 * GENERATION_AREA_DEG2)
    ra, dec = uniform_positions(rng, cell, count)
    z = rng.uniform(*_FALSE_Z, count)
    # Pareto distribution by inverse transform: most false entries lie just above the limit.
    value = limit * (1.0 - rng.random(count)) ** (-1.0 / slope / 2.0)
    if count == 0:
        return table
    prefix = "SIMSZ" if observable == "snr" else "SIMRI"
    false = pd.DataFrame(
        {
            "name": [f"{prefix}{seed}-{cell}-F{i}" for i in range(count)],
            "ra_deg": ra,
            "dec_deg": dec,
            "z": z,
            "z_err": 0.02 * (1 + z),
            "truth_name": [""] * count,
            observable: value,
        }
    )
    return pd.concat([table, false], ignore_index=True) if len(table) else false


def _mass_of_snr(snr: np.ndarray, z: np.ndarray, settings: SimulationSettings) -> np.ndarray:
    """Invert the expected signal-to-noise to true masses, on a grid of masses."""
    grid = np.geomspace(1e13, 5e15, 160)
    one_minus_b = settings.halos.hydrostatic_one_minus_b
    masses = np.empty(len(snr))
    for i in range(len(snr)):
        own = one_minus_b * grid
        theta = cosmology.angle_arcmin(cosmology.r500_mpc(own, z[i]), z[i])
        q = expected_snr(sz_effect.central_compton(own, z[i]), theta, settings.microwave)
        masses[i] = np.exp(
            # The boost by the free position is taken off again, so masses are not biased high by
            # it.
            np.interp(np.sqrt(max(snr[i] ** 2 - _POSITION_BOOST, 0.1)), q, np.log(grid))
        )
    return masses


# --- signal-to-noise in the microwave survey --------------------------------------------------


_ARCMIN = np.pi / 180 / 60


@lru_cache(maxsize=8)
def central_compton_noise(settings: MicrowaveSettings) -> tuple[np.ndarray, np.ndarray]:
    """Tabulate the 1 sigma error of y0 against angular size.

    The noise is the CMB, the infrared background, sources below 10 mJy, and the instrument's;
    the signal is the pressure profile of that size, all bands together.

    Returns
    -------
    theta500_arcmin, sigma_y0 : ndarray, shape (n,)
    """
    ell = np.geomspace(50.0, 2.5e4, 1200)
    weight = _weight(ell, settings)
    sizes = np.geomspace(0.2, 60.0, 48)
    sigma = np.empty_like(sizes)
    for i, theta500 in enumerate(sizes):
        tau = _profile_transform(ell, theta500)
        # Melin et al. 2006, Eq. 11, in ln l: one power of l from the plane, one from the logarithm.
        sigma[i] = np.trapezoid(ell**2 * tau**2 * weight / (2 * np.pi), np.log(ell)) ** -0.5
    return sizes, sigma


def _weight(ell: np.ndarray, settings: MicrowaveSettings) -> np.ndarray:
    """Return f^T N^-1 f, f the SZ spectrum and N the beam-corrected noise between bands.

    CMB, infrared background and sources are common to the bands; the instrument's noise is not.
    """
    ghz = np.array(settings.frequency_sz_ghz)
    common = cmb_cl(ell)[:, None, None] * np.ones((3, 3)) * settings.cmb
    dust = cib_scaling(ghz)
    cib = cib_cl_150(ell, settings.clustered_cib_uk2)
    common = common + cib[:, None, None] * np.outer(dust, dust)
    common = common + unresolved_power(settings)[None]
    for band in range(3):
        transfer = beam(ell, settings.beam_fwhm_arcmin[band])
        common[:, band, band] += (
            # Dividing the noise by the beam instead of multiplying all signals by it gives the same
            # filter.
            noise_cl(ell, band, settings) / np.maximum(transfer, 1e-8) ** 2 + 1e-12
        )
    signal = sz_effect.sz_uk(ghz)
    return np.einsum("i,lij,j->l", signal, np.linalg.inv(common), signal)


@lru_cache(maxsize=1)
def _unit_transform() -> tuple[np.ndarray, np.ndarray]:
    """Tabulate the Hankel transform of the profile with y0 = 1 and theta500 = 1 rad."""
    s, g = sz_effect.projected_shape()
    # Fine steps near the cusp, where the profile changes fastest.
    fine = np.concatenate([np.linspace(0, 0.1, 400)[:-1], np.linspace(0.1, s[-1], 4000)])
    profile = np.interp(fine, s, g) / g[0]
    k = np.concatenate([[0.0], np.geomspace(1e-3, 500.0, 500)])
    values = [np.trapezoid(2 * np.pi * fine * profile * j0(x * fine), fine) for x in k]
    return k, np.array(values)


def _profile_transform(ell: np.ndarray, theta500_arcmin: float) -> np.ndarray:
    theta = theta500_arcmin * _ARCMIN
    return theta**2 * np.interp(ell * theta, *_unit_transform(), right=0.0)


def expected_snr(
    y0: np.ndarray, theta500_arcmin: np.ndarray, settings: MicrowaveSettings
) -> np.ndarray:
    """Return the mean signal-to-noise of halos in the survey."""
    sizes, sigma = central_compton_noise(settings)
    return np.asarray(y0) / np.exp(np.interp(np.log(theta500_arcmin), np.log(sizes), np.log(sigma)))
