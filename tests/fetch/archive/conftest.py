"""Archives of a few files, and what tests ask of their images."""

import io

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from clusterscan.config.execution import DownloadSettings
from clusterscan.config.image_sources import ArchiveSource
from clusterscan.core import sky
from clusterscan.fetch.download.store import Access
from clusterscan.fetch.registry import open_source
from clusterscan.fetch.source import tokens_by_tile
from clusterscan.formats.image_spec import ImageSpec
from clusterscan.formats.raw_image import read_raw

ORDER, SCALE = 4, 300.0


def _tile_at(ra, dec, order=ORDER):
    return int(sky.owning_cell(np.array([ra]), np.array([dec]), order)[0])


def _archive(tmp_path, files, *, unit="uK_CMB", scale=SCALE, order=ORDER, **values):
    bands = {
        band: entry if isinstance(entry, dict) else {"image": str(entry)}
        for band, entry in files.items()
    }
    spec = ImageSpec("test", tuple(bands), unit, scale, order, 20.0)
    settings = ArchiveSource(kind="archive", files=bands, **values)
    quick = DownloadSettings(retries=1, backoff_s=0.01, stall_s=2.0)
    return open_source(settings, spec, access=Access(quick, tmp_path / "cache"))


def _fetch(source, tile, path):
    offered = tokens_by_tile(source.objects([tile]), [tile])
    return source.prepare(offered).fetch_tile(tile, path)


def _fetched(tmp_path, source, tile):
    path = tmp_path / "raw.fits"
    outcome = _fetch(source, tile, path)
    assert outcome.status == "ok", outcome.reason
    return read_raw(path, source.spec.bands)


def _positions(raw):
    y, x = np.nonzero(raw.mask == 0)
    return y, x, raw.wcs.pixel_to_world(x, y)


def _car_wcs(frame, step=0.5, rows=361, columns=720):
    names = {"icrs": ("RA---CAR", "DEC--CAR"), "galactic": ("GLON-CAR", "GLAT-CAR")}[frame]
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = names
    wcs.wcs.crval = [0.0, 0.0]
    wcs.wcs.cdelt = [-step, step]
    wcs.wcs.crpix = [columns / 2 + 0.5, (rows + 1) / 2]
    return wcs


def car_sky(frame, function):
    wcs = _car_wcs(frame)
    y, x = np.indices((361, 720))
    where = wcs.pixel_to_world(x, y).spherical
    values = function(where.lon.deg.ravel(), where.lat.deg.ravel()).reshape(361, 720)
    return values.astype(np.float32), wcs


@pytest.fixture(scope="module")
def car_maps(tmp_path_factory, sky_function):
    folder = tmp_path_factory.mktemp("car")
    for frame in ("icrs", "galactic"):
        values, wcs = car_sky(frame, sky_function)
        cube = np.stack([values, 0 * values, 0 * values])  # I, Q, U
        header = wcs.to_header()
        header["BUNIT"] = "uK"
        fits.PrimaryHDU(cube, header).writeto(folder / f"{frame}.fits")
    return folder


def _coadd(ra, dec, value, side=120, scale=60.0, unit="Vega nanomaggies"):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [ra, dec]
    wcs.wcs.crpix = [(side + 1) / 2] * 2
    wcs.wcs.cdelt = [-scale / 3600, scale / 3600]
    buffer = io.BytesIO()
    header = wcs.to_header()
    header["BUNIT"] = unit
    fits.PrimaryHDU(np.full((side, side), value, np.float32), header).writeto(buffer)
    return buffer.getvalue()


@pytest.fixture(scope="session")
def tile_at():
    """Return a function that gives the tile at a position."""
    return _tile_at


@pytest.fixture(scope="session")
def archive():
    """Return a function that opens an archive of files."""
    return _archive


@pytest.fixture(scope="session")
def fetch():
    """Return a function that does as the stage does with a tile."""
    return _fetch


@pytest.fixture(scope="session")
def fetched():
    """Return a function that gives a tile's raw image."""
    return _fetched


@pytest.fixture(scope="session")
def positions():
    """Return a function that gives the positions of an image's good pixels."""
    return _positions


@pytest.fixture(scope="session")
def coadd():
    """Return a function that makes a small coadd."""
    return _coadd


@pytest.fixture(scope="session")
def car_wcs():
    """Return a function that makes the WCS of a sky in CAR."""
    return _car_wcs
