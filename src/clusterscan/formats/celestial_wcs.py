"""An image's place on the sky as its header says it, and never as the FITS defaults would have it.

A header without CRVAL is at RA 0, Dec 0 by the standard's defaults, and one without a step has
pixels of one degree: such an image would show its sky in another place without a word.
"""

from __future__ import annotations

import warnings
from numbers import Real

from astropy.io import fits
from astropy.utils.exceptions import AstropyUserWarning
from astropy.wcs import WCS, FITSFixedWarning, WcsError

from clusterscan.core.errors import SourceError


def celestial_wcs(header: fits.Header, where: str, mending: str) -> WCS:
    """Return the celestial WCS of an image's header.

    Parameters
    ----------
    header : astropy.io.fits.Header
        Of the image.
    where, mending : str
        For messages: the file, and what to do about it.

    Raises
    ------
    SourceError
        If there is none, or the header lacks numbers that it needs.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FITSFixedWarning)
            warnings.simplefilter("ignore", AstropyUserWarning)
            wcs = WCS(header)
    except (WcsError, ValueError) as error:
        reason = str(error).strip().splitlines()[-1]
        raise SourceError(f"{where}: a damaged celestial WCS ({reason}); {mending}") from error
    if not wcs.has_celestial:
        raise SourceError(f"{where}: no celestial WCS, so no place on the sky; {mending}")
    axes = [wcs.wcs.lng + 1, wcs.wcs.lat + 1]
    missing = [f"{key}{axis}" for key in ("CRVAL", "CRPIX") for axis in axes
               if not _is_number(header.get(f"{key}{axis}"))]  # fmt: skip
    for axis in axes:
        steps = [f"CDELT{axis}", *(f"CD{axis}_{other}" for other in axes)]
        if not any(_is_number(header.get(key)) for key in steps):
            missing.append(steps[0])
    if missing:
        raise SourceError(
            f"{where}: its celestial WCS lacks a number for {', '.join(missing)}; {mending}"
        )
    return wcs


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)
