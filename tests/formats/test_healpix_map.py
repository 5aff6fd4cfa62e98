"""HEALPix maps of all or a part of the sky give what healpy reads, and only that is in memory."""

import tracemalloc

import healpy as hp
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.table import Table

from clusterscan.config.execution import DownloadSettings
from clusterscan.config.image_sources import ArchiveSource
from clusterscan.core.errors import SourceError
from clusterscan.fetch.download.store import Access
from clusterscan.fetch.registry import open_source
from clusterscan.fetch.source import tokens_by_tile
from clusterscan.formats import healpix_map
from clusterscan.formats.healpix_map import HealpixMap
from clusterscan.formats.image_spec import ImageSpec
from clusterscan.formats.raw_image import read_raw

NSIDE = 128
CENTRE = (83.0, -55.0)  # in the map's frame [deg]
RADIUS = 8.0


@pytest.fixture(scope="module")
def values():
    return np.random.default_rng(5).normal(size=hp.nside2npix(NSIDE))


def disc(nest, radius=RADIUS):
    middle = hp.ang2vec(*CENTRE, lonlat=True)
    return hp.query_disc(NSIDE, middle, np.radians(radius), nest=nest)


def write_partial(path, values, nest, unit="K_CMB", coord="C"):
    """Let healpy write what lies in a disc, as EXPLICIT."""
    kept = np.full(values.size, hp.UNSEEN)
    kept[disc(nest)] = values[disc(nest)]
    hp.write_map(
        path, kept, nest=nest, partial=True, coord=coord, column_units=unit, dtype=np.float64
    )
    assert fits.getheader(path, 1)["INDXSCHM"].strip() == "EXPLICIT"


def some_positions(radius, count=4000):
    rng = np.random.default_rng(6)
    lat = CENTRE[1] + rng.uniform(-radius, radius, count)
    return CENTRE[0] + rng.uniform(-radius, radius, count) / np.cos(np.radians(lat)), lat


@pytest.mark.parametrize("nest", [False, True], ids=["RING", "NESTED"])
@pytest.mark.parametrize("coord", ["C", "G"])
def test_a_partial_map_gives_what_healpy_interpolates(tmp_path, values, nest, coord):
    path = tmp_path / "map.fits"
    write_partial(path, values, nest, coord=coord)
    lon, lat = some_positions(4.0)
    frame = {"C": "icrs", "G": "galactic"}[coord]
    found, unit = HealpixMap(path).at(SkyCoord(lon, lat, unit="deg", frame=frame), nearest=False)
    expected = hp.get_interp_val(hp.read_map(path, nest=nest), lon, lat, nest=nest, lonlat=True)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    assert unit == "K_CMB"


@pytest.mark.parametrize("nest", [False, True], ids=["RING", "NESTED"])
def test_what_a_partial_map_does_not_list_is_no_data(tmp_path, values, nest):
    path = tmp_path / "map.fits"
    write_partial(path, values, nest)
    lon, lat = some_positions(12.0)
    found, _ = HealpixMap(path).at(SkyCoord(lon, lat, unit="deg"), nearest=True)
    theirs = hp.read_map(path, nest=nest)[hp.ang2pix(NSIDE, lon, lat, nest=nest, lonlat=True)]
    np.testing.assert_array_equal(np.isnan(found), theirs == hp.UNSEEN)
    seen = np.isfinite(found)
    assert 0.1 < seen.mean() < 0.9
    np.testing.assert_allclose(found[seen], theirs[seen], rtol=1e-6)


def listed(path, pixels, values, name="PIXEL", **header):
    table = fits.BinTableHDU(Table({name: pixels, "I": values}))
    table.header.update(
        {"NSIDE": NSIDE, "ORDERING": "RING", "INDXSCHM": "EXPLICIT", "COORDSYS": "C", **header}
    )
    table.writeto(path)


def test_pixels_may_be_listed_in_any_order_and_many_parts(tmp_path, values, monkeypatch):
    monkeypatch.setattr(healpix_map, "_PART_ROWS", 100)
    pixels = np.random.default_rng(7).permutation(disc(False))
    listed(tmp_path / "map.fits", pixels, values[pixels])
    lon, lat = some_positions(3.0)
    where = SkyCoord(lon, lat, unit="deg")
    found, _ = HealpixMap(tmp_path / "map.fits").at(where, nearest=True)
    expected = values[hp.ang2pix(NSIDE, lon, lat, lonlat=True)]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_of_a_large_partial_map_only_parts_are_in_memory(tmp_path):
    count = 1_200_000
    pixels = np.arange(count, dtype=np.int64) + 1_000_000_000
    path = tmp_path / "map.fits"
    listed(path, pixels, pixels % 1000 * 1.0, NSIDE=16384, ORDERING="NESTED")
    lon, lat = hp.pix2ang(16384, pixels[[5, 1_034_567, count - 1]], nest=True, lonlat=True)
    tracemalloc.start()
    found, _ = HealpixMap(path).at(SkyCoord(lon, lat, unit="deg"), nearest=True)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.tolist() == [5.0, 567.0, 999.0]
    assert path.stat().st_size > 16e6
    assert peak < 10e6


def test_of_a_large_whole_map_only_the_pixels_needed_are_in_memory(tmp_path):
    nside, path = 2048, tmp_path / "map.fits"
    table = fits.BinTableHDU.from_columns(
        [fits.Column("I", "1024E", array=np.zeros((1, 1024), np.float32))]
    )
    table.header.update({"NSIDE": nside, "ORDERING": "NESTED", "COORDSYS": "C"})
    table.header["NAXIS2"] = hp.nside2npix(nside) // 1024
    start = fits.PrimaryHDU().header.tostring() + table.header.tostring()
    path.write_bytes(start.encode())
    pixel = 31_415_926
    with path.open("r+b") as handle:  # 200 MB, almost all holes
        size = len(start) + 4 * hp.nside2npix(nside)
        handle.truncate(size + -size % 2880)
        handle.seek(len(start) + 4 * pixel)
        handle.write(np.array([2.5], ">f4").tobytes())
    where = SkyCoord(*hp.pix2ang(nside, [pixel, 5], nest=True, lonlat=True), unit="deg")
    tracemalloc.start()
    found, _ = HealpixMap(path).at(where, nearest=True)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.tolist() == [2.5, 0.0]
    assert peak < 5e6


@pytest.mark.parametrize(
    ("header", "name", "match"),
    [
        ({}, "FLUX", "no column of pixel numbers"),
        ({"INDXSCHM": "SPARSE"}, "PIXEL", "neither IMPLICIT nor EXPLICIT"),
        ({"ORDERING": ""}, "PIXEL", "does not state its ordering"),
    ],
)
def test_a_partial_map_that_does_not_say_its_pixels_is_refused(tmp_path, header, name, match):
    listed(tmp_path / "map.fits", np.arange(4), np.ones(4), name, **header)
    with pytest.raises(SourceError, match=match):
        HealpixMap(tmp_path / "map.fits").at(SkyCoord([1.0], [1.0], unit="deg"), nearest=True)


def test_a_partial_map_in_mjy_per_sr_becomes_microkelvin_of_its_channel(tmp_path, values):
    """Planck 2013 results IX, table 6: 58.04 MJy/sr a K_CMB at 545 GHz."""
    path = tmp_path / "map.fits"
    write_partial(path, values, nest=True, unit="MJy/sr")
    settings = ArchiveSource(
        kind="archive",
        format="healpix",
        resampling="nearest",
        files={"HFI545": {"image": str(path), "channel": "HFI545"}},
    )
    spec = ImageSpec("planck", ("HFI545",), "uK_CMB", 300.0, 5, 10.0)
    source = open_source(settings, spec, access=Access(DownloadSettings(), tmp_path / "cache"))
    tile = int(hp.ang2pix(32, *CENTRE, nest=True, lonlat=True))
    offered = tokens_by_tile(source.objects([tile]), [tile])
    assert source.prepare(offered).fetch_tile(tile, tmp_path / "raw.fits").status == "ok"
    raw = read_raw(tmp_path / "raw.fits", ("HFI545",))
    y, x = np.indices(raw.mask.shape)
    ra, dec = raw.wcs.pixel_to_world_values(x, y)
    expected = values[hp.ang2pix(NSIDE, ra, dec, nest=True, lonlat=True)] * 1e6 / 58.04
    np.testing.assert_allclose(raw.image[0], expected, rtol=1e-5)
