"""IAU names of objects: coordinates truncated in integer arithmetic, never rounded.

The rules are those of the IAU's designation specification: acronym, space, J, right ascension,
sign, declination, each *truncated* to the digits shown. Truncating floats fails at declinations
near 0 (the sign of -00:00:36 is lost), at the borders of digits (10 deg may be stored as
9.999999999999998) and at 24 h, so positions are first converted to whole picodegrees.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

PICO = 10**12
DEFAULT_FORMAT = "JHHMMSS.s+DDMMSS"
GUARD_DEG = 1e-9

_FORMAT = re.compile(r"JHHMM(SS)?(?:\.([ms]{1,4}))?\+DDMM(SS)?(?:\.([ms]{1,4}))?")


@dataclass(frozen=True)
class _Digits:
    """Digits of one coordinate: seconds shown or not, and the number of decimals."""

    seconds: bool
    decimals: int

    @property
    def per_whole(self) -> int:
        """Number of smallest steps in one hour or degree."""
        return (3600 if self.seconds else 60) * 10**self.decimals

    def text(self, steps: int) -> str:
        """Return a number of steps as HHMMSS.s or DDMM.m."""
        whole, fraction = divmod(steps, 10**self.decimals)
        if self.seconds:
            whole, last = divmod(whole, 60)
            leading, middle = divmod(whole, 60)
            text = f"{leading:02d}{middle:02d}{last:02d}"
        else:
            leading, middle = divmod(whole, 60)
            text = f"{leading:02d}{middle:02d}"
        return f"{text}.{fraction:0{self.decimals}d}" if self.decimals else text


def iau_names(
    ra_deg: np.ndarray | Sequence[float],
    dec_deg: np.ndarray | Sequence[float],
    acronym: str = "CSCAN",
    *,
    name_format: str = DEFAULT_FORMAT,
    guard_deg: float = GUARD_DEG,
) -> list[str]:
    """Return one unique IAU name for each position, such as ``CSCAN J195740.5+333827``.

    Positions that share a truncated name all get a letter (a, b, ... z, aa, ...) in order of
    declination and right ascension, so names do not depend on the order of the rows.

    Parameters
    ----------
    ra_deg, dec_deg : float array, shape (n,)
        ICRS position [deg]; RA may lie outside [0, 360).
    acronym : str
        Opens every name; '' gives bare ``J...`` names.
    name_format : str
        Digits shown: ``JHHMM[.m]`` or ``JHHMMSS[.s]``, then ``+DDMM[.m]`` or ``+DDMMSS[.s]``,
        with up to 4 decimals.
    guard_deg : float
        A coordinate less than this below the border of a digit counts as on it, because
        arithmetic and text files leave errors of that size. Declinations this close to 0 get
        '+'.

    Returns
    -------
    names : list of str
        In the order of the rows.

    Raises
    ------
    ValueError
        If a position is not on the sky, or the format is not one of the above.

    References
    ----------
    IAU Commission 5, "IAU Recommendations for Nomenclature"; Lortet, Borde & Ochsenbein 1994,
    A&AS 107, 193.
    """
    ra = np.asarray(ra_deg, dtype=np.float64).ravel()
    dec = np.asarray(dec_deg, dtype=np.float64).ravel()
    _check_positions(ra, dec)
    ra_digits, dec_digits = _parse_format(name_format)
    guard = round(guard_deg * PICO)
    prefix = f"{acronym} J" if acronym else "J"
    names = [
        f"{prefix}{_ra_text(a, ra_digits, guard)}{_dec_text(d, dec_digits, guard)}"
        for a, d in zip((ra % 360.0).tolist(), dec.tolist(), strict=True)
    ]
    return _made_unique(names, ra % 360.0, dec)


def _check_positions(ra: np.ndarray, dec: np.ndarray) -> None:
    if ra.shape != dec.shape:
        raise ValueError(f"{ra.size} right ascensions but {dec.size} declinations")
    bad = ~(np.abs(dec) <= 90) | ~np.isfinite(ra)  # negated so that NaN counts as bad
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise ValueError(
            f"{bad.sum()} of {bad.size} positions cannot be named, the first at row {row}: "
            f"ra_deg = {ra[row]}, dec_deg = {dec[row]}; remove them or correct their coordinates"
        )


def _parse_format(name_format: str) -> tuple[_Digits, _Digits]:
    match = _FORMAT.fullmatch(name_format)
    if match is None:
        raise ValueError(f"name format {name_format!r} is not of the form {DEFAULT_FORMAT!r}")
    digits = []
    for seconds, decimals in (match.group(1, 2), match.group(3, 4)):
        letter = "s" if seconds else "m"
        if decimals and set(decimals) != {letter}:
            raise ValueError(f"decimals in name format {name_format!r} must be {letter!r} there")
        digits.append(_Digits(bool(seconds), len(decimals or "")))
    return digits[0], digits[1]


def _ra_text(ra_deg: float, digits: _Digits, guard: int) -> str:
    # 15 degrees an hour; the modulo carries 24 h (reached only through the guard) back to 0 h.
    steps = (round(ra_deg * PICO) + guard) * digits.per_whole // (15 * PICO)
    return digits.text(steps % (24 * digits.per_whole))


def _dec_text(dec_deg: float, digits: _Digits, guard: int) -> str:
    pico = round(dec_deg * PICO)
    # The sign is that of the position, not of the truncated number: -00:00:36 is named -0000.
    sign = "-" if pico < -guard else "+"
    # Truncation is towards zero on both sides of the equator: -0.019 deg is -0001, not -0002.
    steps = (abs(pico) + guard) * digits.per_whole // PICO
    return sign + digits.text(min(steps, 90 * digits.per_whole))


# All objects of a shared name get a letter, not only the later ones: otherwise the name without a
# letter would depend on which object comes first.
def _made_unique(names: list[str], ra: np.ndarray, dec: np.ndarray) -> list[str]:
    rows_of: dict[str, list[int]] = defaultdict(list)
    for row, name in enumerate(names):
        rows_of[name].append(row)
    unique = list(names)
    for name, rows in rows_of.items():
        if len(rows) > 1:
            for rank, row in enumerate(sorted(rows, key=lambda i: (dec[i], ra[i], i))):
                unique[row] = name + _letters(rank)
    return unique


def _letters(rank: int) -> str:
    text = ""
    rank += 1
    while rank:
        rank, letter = divmod(rank - 1, 26)
        # Base 26 without a zero, as spreadsheet columns: z is followed by aa.
        text = chr(ord("a") + letter) + text
    return text
