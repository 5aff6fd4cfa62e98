"""HEALPix maps of the full sky show their sky on every tile."""

import healpy as hp
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from reproject import reproject_from_healpix

from clusterscan.core.errors import SourceError

PLACES = {
    "equator": (100.0, 1.0),
    "RA 0": (0.3, 40.0),
    "RA 180": (180.2, -20.0),
    "north pole": (0.0, 90.0),
    "south pole": (0.0, -90.0),
    "near a pole": (77.0, 84.0),
    "galactic centre": (266.4, -29.0),
}


NSIDE = 64


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("nest", [True, False])
def test_a_healpix_map_in_galactic_coordinates_shows_its_sky(
    tmp_path, sky_function, place, nest, tile_at, archive, fetched, positions
):
    lon, lat = hp.pix2ang(NSIDE, np.arange(12 * NSIDE**2), nest=nest, lonlat=True)
    values = sky_function(lon, lat)
    path = tmp_path / "map.fits"
    columns = {"column_names": ["I_STOKES", "Q_STOKES"], "column_units": "K_CMB"}
    hp.write_map(path, [values, 0 * values], nest=nest, coord="G", dtype=np.float32, **columns)
    source = archive(tmp_path, {"f": path}, format="healpix")
    raw = fetched(tmp_path, source, tile_at(*PLACES[place]))
    y, x, where = positions(raw)
    there = where.galactic
    interpolated = hp.get_interp_val(values, there.l.deg, there.b.deg, nest=nest, lonlat=True)
    np.testing.assert_allclose(raw.image[0, y, x], 1e6 * interpolated, rtol=1e-6)
    assert np.abs(1e-6 * raw.image[0, y, x] - sky_function(there.l.deg, there.b.deg)).max() < 3e-3


@pytest.mark.parametrize("place", PLACES)
def test_the_real_wmap_sky_is_what_reproject_makes_of_it(
    tmp_path, real_data, place, tile_at, archive, fetched
):
    path = real_data / "images/wmap/wmap_band_iqumap_r9_7yr_V_v4_udgraded32.fits"
    band = {"image": str(path), "unit": "mK"}  # the file names neither unit nor frame
    source = archive(tmp_path, {"V": band}, format="healpix", scale=600.0, frame="galactic")
    raw = fetched(tmp_path, source, tile_at(*PLACES[place]))
    with fits.open(path) as hdus:
        values = np.asarray(hdus[1].data.field(0)).ravel()
        nested = hdus[1].header["ORDERING"] != "RING"
    expected, _ = reproject_from_healpix(
        (1000.0 * values.astype(float), "galactic"), raw.wcs, shape_out=raw.mask.shape,
        nested=nested,
    )  # fmt: skip
    np.testing.assert_allclose(raw.image[0], expected, rtol=1e-5, atol=1e-3)


def test_pixels_without_data_spoil_what_is_interpolated_from_them(
    tmp_path, tile_at, archive, fetched
):
    values = np.ones(12 * NSIDE**2)
    tile = tile_at(10.0, 10.0)
    vector = hp.ang2vec(10.0, 10.0, lonlat=True)
    values[hp.query_disc(NSIDE, vector, np.radians(1.0))] = hp.UNSEEN
    hp.write_map(tmp_path / "map.fits", values, coord="C", dtype=np.float32, column_units="uK_CMB")
    raw = fetched(tmp_path, archive(tmp_path, {"f": tmp_path / "map.fits"}, format="healpix"), tile)
    y, x = np.nonzero(raw.mask)
    bad = raw.wcs.pixel_to_world(x, y).separation(SkyCoord(10.0, 10.0, unit="deg")).deg
    assert y.size > 100
    assert bad.max() < 1.0 + 2.5 * np.degrees(hp.nside2resol(NSIDE))
    np.testing.assert_allclose(raw.image[raw.image != 0], 1.0, rtol=1e-6)


def test_a_map_that_does_not_say_its_frame_must_be_told(tmp_path, archive, fetch):
    hp.write_map(tmp_path / "map.fits", np.ones(12 * NSIDE**2), dtype=np.float32)
    source = archive(tmp_path, {"f": tmp_path / "map.fits"}, format="healpix")
    with pytest.raises(SourceError, match="give the setting frame"):
        fetch(source, 0, tmp_path / "raw.fits")
    band = {"image": str(tmp_path / "map.fits"), "column": "U"}
    source = archive(tmp_path, {"f": band}, format="healpix", frame="galactic")
    with pytest.raises(SourceError, match="no column 'U'"):
        fetch(source, 0, tmp_path / "raw.fits")


def test_a_healpix_map_is_not_looked_for_in_an_image(tmp_path, tile_at, archive, fetch):
    path = tmp_path / "map.fits"
    hp.write_map(path, np.arange(12 * 16**2, dtype=np.float32), nest=True, coord="C")
    files = {"f150": {"image": str(path), "extension": 0}}
    source = archive(tmp_path, files, format="healpix")
    with pytest.raises(SourceError, match=r"map\.fits: no table 0; correct extension"):
        fetch(source, tile_at(100.0, 1.0), tmp_path / "raw.fits")
