"""From a file's unit to a survey's: prefixes, and Planck's own factors between K_CMB and MJy/sr.

A unit that cannot be converted is an error: a map in K read as if in uK looks like a map.
"""

from __future__ import annotations

import re

from astropy import units as u

from clusterscan.core.errors import SourceError

MJY_SR_PER_K_CMB = {
    "HFI100": 244.1,
    "HFI143": 371.74,
    "HFI217": 483.690,
    "HFI353": 287.450,
    "HFI545": 58.04,
    "HFI857": 2.27,
}
"""Integrated over the measured bandpasses (Planck 2013 results IX, A&A 571, A9, table 6)."""

_KELVIN = re.compile(r"^(?P<prefix>[munμµ]?)K(?:elvin)?(?:[_ ]?\(?(?:CMB|cmb|thermo)\w*\)?)?$")
_PREFIXES = {"": 1.0, "m": 1e-3, "u": 1e-6, "μ": 1e-6, "µ": 1e-6, "n": 1e-9}


def factor(have: str, want: str, channel: str | None = None) -> float:
    """Return what values are multiplied by to change their unit.

    Parameters
    ----------
    have, want : str
        Units: kelvin of thermodynamic (CMB) temperature as files write it (``K_CMB``, ``uK``,
        ``mK,thermodynamic``), or what astropy reads.
    channel : str, optional
        Planck channel, between temperature and MJy/sr.

    Raises
    ------
    SourceError
        If there is no conversion.
    """
    if have == want:
        return 1.0
    kelvins = [_kelvin(have), _kelvin(want)]
    if None not in kelvins:
        return kelvins[0] / kelvins[1]  # type: ignore[operator]
    try:
        if channel is not None and kelvins[0] is not None:
            return kelvins[0] * MJY_SR_PER_K_CMB[channel] * _plain("MJy / sr", want)
        if channel is not None and kelvins[1] is not None:
            return _plain(have, "MJy / sr") / MJY_SR_PER_K_CMB[channel] / kelvins[1]
        return _plain(have, want)
    except ValueError as error:  # astropy's UnitConversionError is one, too
        raise SourceError(
            f"no conversion from {have!r} to {want!r}"
            + ("" if channel else " without a Planck `channel`")
            + "; correct the band's `unit` or the survey's, or give `scale_by`"
        ) from error


def _kelvin(unit: str) -> float | None:
    match = _KELVIN.match(unit.replace(",", " ").strip())
    return None if match is None else _PREFIXES[match["prefix"]]


def _plain(have: str, want: str) -> float:
    if have == want:
        return 1.0
    return float(u.Unit(have).to(u.Unit(want)))
