"""Frames and settings that the simulated sky's tests share."""

import numpy as np
import pytest
from astropy.wcs import WCS

from clusterscan.config.simulation import SimulationSettings


@pytest.fixture(scope="session")
def settings():
    """Return the default simulated sky."""
    return SimulationSettings()


@pytest.fixture(scope="session")
def make_frame():
    """Return a function that makes a tangent-plane WCS and its shape."""

    def make(ra_deg, dec_deg, size, scale_arcsec, angle_deg=0.0, shift=(0, 0)):
        ny, nx = (size, size) if np.isscalar(size) else size
        wcs = WCS(naxis=2)
        wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
        wcs.wcs.cunit = ["deg", "deg"]
        wcs.wcs.radesys = "ICRS"
        wcs.wcs.crval = [ra_deg, dec_deg]
        wcs.wcs.cdelt = [-scale_arcsec / 3600, scale_arcsec / 3600]
        c, s = np.cos(np.radians(angle_deg)), np.sin(np.radians(angle_deg))
        wcs.wcs.pc = [[c, s], [-s, c]]
        wcs.wcs.crpix = [(nx + 1) / 2 - shift[0], (ny + 1) / 2 - shift[1]]
        return wcs, (ny, nx)

    return make
