"""Maps of the full sky and fields show their sky on every tile, and only what is needed is read."""

import tracemalloc

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS, Sip
from reproject import reproject_interp

PLACES = {
    "equator": (100.0, 1.0),
    "RA 0": (0.3, 40.0),
    "RA 180": (180.2, -20.0),
    "north pole": (0.0, 90.0),
    "south pole": (0.0, -90.0),
    "near a pole": (77.0, 84.0),
    "galactic centre": (266.4, -29.0),
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("frame", ["icrs", "galactic"])
def test_a_full_sky_map_in_car_shows_its_sky_everywhere(
    tmp_path, car_maps, sky_function, frame, place, tile_at, archive, fetched, positions
):
    source = archive(tmp_path, {"f": car_maps / f"{frame}.fits"})
    raw = fetched(tmp_path, source, tile_at(*PLACES[place]))
    assert (raw.mask == 0).all()
    y, x, where = positions(raw)
    there = where.transform_to(frame).spherical
    expected = sky_function(there.lon.deg, there.lat.deg)
    # Half a degree of a sky of curvature 16 (cos 4y) at most: (0.5 deg)^2 / 8 * 16.
    assert np.abs(raw.image[0, y, x] - expected).max() < 3e-4


@pytest.mark.parametrize("place", ["equator", "galactic centre", "near a pole"])
def test_a_cut_is_what_reproject_makes_of_the_whole_map(
    tmp_path, car_maps, place, tile_at, archive, fetched
):
    path = car_maps / "icrs.fits"
    raw = fetched(tmp_path, archive(tmp_path, {"f": path}), tile_at(*PLACES[place]))
    with fits.open(path) as hdus:
        whole = (hdus[0].data[0], WCS(hdus[0].header).celestial)
    expected, _ = reproject_interp(whole, raw.wcs, shape_out=raw.mask.shape)
    np.testing.assert_allclose(raw.image[0], expected, atol=2e-5)


def test_a_cut_of_a_distorted_image_lies_where_its_pixels_lie(
    tmp_path, tile_at, archive, fetched, positions
):
    """Its distortion counts from a pixel of the whole image."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN-SIP", "DEC--TAN-SIP"]
    wcs.wcs.crval, wcs.wcs.crpix = [32.0, 21.0], [300.5, 300.5]
    wcs.wcs.cdelt = [-60 / 3600, 60 / 3600]
    a, b = np.zeros((3, 3)), np.zeros((3, 3))
    a[2, 0], b[1, 1] = 5e-5, -4e-5
    wcs.sip = Sip(a, b, None, None, wcs.wcs.crpix)
    y, x = np.indices((600, 600))
    _, dec = wcs.pixel_to_world_values(x, y)
    header = wcs.to_header(relax=True)
    fits.PrimaryHDU(dec.astype(np.float32), header).writeto(tmp_path / "image.fits")
    source = archive(tmp_path, {"f": tmp_path / "image.fits"}, scale=60.0, order=6)
    raw = fetched(tmp_path, source, tile_at(34.0, 23.0, 6))
    y, x, where = positions(raw)
    # float32 and bilinear interpolation cost 1e-5 deg; without the shift it is 0.02 deg.
    assert np.abs(raw.image[0, y, x] - where.dec.deg).max() < 1e-4


def test_of_a_map_of_gigabytes_only_the_cut_is_read(tmp_path, tile_at, archive, fetched, car_wcs):
    rows, columns, step = 10320, 43200, 0.5 / 60  # of the size of ACT's, almost all holes
    wcs = car_wcs("icrs", step, rows, columns)
    wcs.wcs.crpix = [columns / 2 + 0.5, 63.0 / step]  # Dec -63 to 23
    header = fits.PrimaryHDU(header=wcs.to_header()).header
    header["BITPIX"], header["NAXIS"] = -32, 3
    for axis, length in enumerate((columns, rows, 3), start=1):
        header.insert(f"NAXIS{axis - 1}" if axis > 1 else "NAXIS", (f"NAXIS{axis}", length), True)
    path = tmp_path / "act.fits"
    with path.open("wb") as handle:
        handle.write(header.tostring().encode())
        size = 4 * rows * columns * 3
        handle.truncate(handle.tell() + size + -size % 2880)
    assert path.stat().st_size > 5e9
    source = archive(
        tmp_path, {"f": path}, scale=30.0, order=5, versions="mtime"
    )  # the checksum of 5 GB of holes would be most of this test's time
    tracemalloc.start()
    raw = fetched(tmp_path, source, tile_at(150.0, 2.0, 5))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (raw.image == 0).all()
    assert peak < 100e6


def test_no_inverse_variance_is_no_data(
    tmp_path, car_maps, tile_at, archive, fetch, fetched, positions
):
    with fits.open(car_maps / "icrs.fits") as hdus:
        header, shape = hdus[0].header, hdus[0].shape
    ivar = np.ones(shape, np.float32)
    ivar[:, :, 100:] = 0.0
    fits.PrimaryHDU(ivar, header).writeto(tmp_path / "ivar.fits")
    band = {"image": str(car_maps / "icrs.fits"), "weight": str(tmp_path / "ivar.fits")}
    source = archive(tmp_path, {"f": band})
    edge = float(WCS(header).celestial.pixel_to_world_values(100, 180)[0])
    raw = fetched(tmp_path, source, tile_at(edge, 0.0))
    _, _, where = positions(raw)
    assert 0.1 < (raw.mask == 0).mean() < 0.99
    assert (where.ra.deg > edge).all()
    assert fetch(source, tile_at(0.0, 0.0), tmp_path / "none.fits").status == "no_coverage"


def test_a_field_has_no_data_on_the_other_side_of_the_sky(
    tmp_path, tile_at, archive, fetch, fetched, car_wcs
):
    wcs = car_wcs("icrs")
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval, wcs.wcs.crpix = [30.0, 10.0], [40.0, 40.0]
    wcs.wcs.cdelt = [-0.05, 0.05]
    fits.PrimaryHDU(np.ones((80, 80), np.float32), wcs.to_header()).writeto(tmp_path / "a.fits")
    source = archive(tmp_path, {"f": tmp_path / "a.fits"})
    for ra, dec in ((210.0, -10.0), (120.0, 0.0), (30.0, 60.0), (0.0, 90.0)):
        assert fetch(source, tile_at(ra, dec), tmp_path / "raw.fits").status == "no_coverage"
    assert (fetched(tmp_path, source, tile_at(30.0, 10.0)).image.max()) == 1.0
