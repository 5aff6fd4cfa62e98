"""Power spectra of the microwave sky and of the instrument's noise, C_l in uK2 sr.

References
----------
Planck Collaboration VI 2020, A&A 641, A6 (CMB; by CAMB, see resources/simulation).
Planck Collaboration I 2020, A&A 641, A1, Table 4 (Planck's noise and beams).
Naess et al. 2020, JCAP 12, 046 (maps of ACT and Planck together).
Dunkley et al. 2013, JCAP 07, 025 (clustered infrared background, shape l^0.8 and amplitude).
"""

from __future__ import annotations

from functools import lru_cache
from importlib import resources

import numpy as np

from clusterscan.config.simulation import MicrowaveSettings
from clusterscan.physics import spectra

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
    """Return the lensed primary CMB; zero below l = 2 and beyond the table's end."""
    return np.interp(ell, *_cmb_table(), left=0.0, right=0.0)


def cib_cl_150(ell: np.ndarray, dl3000_uk2: float) -> np.ndarray:
    """Return the clustered infrared background at 150 GHz; zero below l = 2."""
    ell = np.asarray(ell, dtype=float)
    safe = np.maximum(ell, 2.0)
    dl = dl3000_uk2 * (safe / 3000.0) ** 0.8
    return np.where(ell >= 2, dl * 2 * np.pi / (safe * (safe + 1)), 0.0)


def cib_scaling(frequency_ghz: np.ndarray) -> np.ndarray:
    """Return the infrared background's temperature over that at 150 GHz."""
    flux = spectra.grey_body(np.asarray(frequency_ghz), 150.0)
    return flux * spectra.uk_sr_per_jansky(frequency_ghz) / spectra.uk_sr_per_jansky(150.0)


def noise_cl(ell: np.ndarray, band: int, settings: MicrowaveSettings) -> np.ndarray:
    """Return the map noise of a band: ACT-like white noise and atmosphere, coadded with Planck.

    Beams differ, but both maps are brought to one beam before they are added; on scales where
    Planck matters the ACT beams are 1.
    """
    white = (settings.white_noise_uk_arcmin[band] * _ARCMIN) ** 2
    if white == 0:
        return np.zeros_like(np.asarray(ell, dtype=float))
    knee = settings.noise_knee_ell[band]
    bounded = np.maximum(np.asarray(ell, dtype=float), _LARGEST_SCALE_ELL)
    red = (bounded / knee) ** settings.noise_slope if knee > 0 else 0.0
    ground = white * (1.0 + red)
    planck = (_PLANCK_NOISE_UK_ARCMIN[band] * _ARCMIN) ** 2
    weight = beam(ell, _PLANCK_FWHM_ARCMIN[band]) ** 2 / planck
    return 1.0 / (1.0 / ground + weight)


def beam(ell: np.ndarray, fwhm_arcmin: float) -> np.ndarray:
    """Return a Gaussian beam's transfer function."""
    sigma = fwhm_arcmin * _ARCMIN / np.sqrt(8 * np.log(2))
    return np.exp(-0.5 * (np.asarray(ell) * sigma) ** 2)
