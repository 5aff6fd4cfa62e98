"""The position that a name holds: J235959.9-010203, JHHMM.m+DDMM, G123.45-06.78."""

from __future__ import annotations

import numpy as np
import pandas as pd

from clusterscan.core import sky

_EQUATORIAL = (
    r"J\s?(?P<ra>\d{6}|\d{4})(?P<part>\.\d+)?(?P<sign>[+\-\u2212])(?P<dec>\d{6}|\d{4}|\d{2})"
    r"(?P<rest>\.\d+)?(?!\d)"
)
_GALACTIC = r"G(?P<l>\d{1,3}\.\d+)(?P<b>[+\-]\d{1,2}\.\d+)"


def positions_in_names(names: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """Return the ICRS positions (ra_deg, dec_deg) that names hold, NaN where they hold none.

    A name is truncated, so its position is right to about its last digit.

    References
    ----------
    IAU recommendations for nomenclature, https://cdsweb.u-strasbg.fr/Dic/iau-spec.html
    """
    text = names.astype("string")
    ra, dec = _equatorial(text)
    parts = text.str.replace("\u2212", "-").str.extract(_GALACTIC)
    galactic = np.isnan(ra) & parts["l"].notna().to_numpy()
    if galactic.any():
        ra[galactic], dec[galactic] = _galactic(parts[galactic].astype(float))
    return ra, dec


def disagreement_deg(names: pd.Series, ra_deg: np.ndarray, dec_deg: np.ndarray) -> np.ndarray:
    """Return how far positions lie from those in their names [deg], NaN where there is none."""
    ra, dec = positions_in_names(names)
    return sky.separation_deg(ra, dec, ra_deg, dec_deg)


def _equatorial(text: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    parts = text.str.extract(_EQUATORIAL)
    ra = _base_60(parts["ra"], parts["part"]) * 15
    dec = _base_60(parts["dec"], parts["rest"])
    dec = np.where(parts["sign"].isin(["-", "\u2212"]).to_numpy(), -dec, dec)
    wrong = ~((ra <= 360) & (np.abs(dec) <= 90))
    return np.where(wrong, np.nan, ra), np.where(wrong, np.nan, dec)


def _base_60(digits: pd.Series, fraction: pd.Series) -> np.ndarray:
    """Return the value of HHMMSS, HHMM or HH with a decimal fraction of its last part."""
    number = pd.to_numeric(digits, errors="coerce").to_numpy(dtype=float, na_value=np.nan)
    part = pd.to_numeric(fraction, errors="coerce").to_numpy(dtype=float, na_value=0.0)
    pairs = digits.str.len().to_numpy(dtype=float, na_value=np.nan) / 2
    last = number % 100 + part
    middle = number // 100 % 100
    return np.select(
        [pairs == 3, pairs == 2, pairs == 1],
        [number // 10000 + middle / 60 + last / 3600, middle + last / 60, number + part],
        np.nan,
    )


def _galactic(parts: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    from astropy.coordinates import SkyCoord

    longitude, latitude = parts["l"].to_numpy(), parts["b"].to_numpy()
    good = (longitude <= 360) & (np.abs(latitude) <= 90)
    ra, dec = np.full(good.size, np.nan), np.full(good.size, np.nan)
    icrs = SkyCoord(longitude[good], latitude[good], unit="deg", frame="galactic").icrs
    ra[good], dec[good] = icrs.ra.deg, icrs.dec.deg
    return ra, dec
