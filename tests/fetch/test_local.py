"""A folder of FITS images in any projection shows its sky on every tile."""

import os

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from clusterscan.config.execution import DownloadSettings
from clusterscan.config.image_sources import LocalSource
from clusterscan.core import sky
from clusterscan.core.errors import SourceError
from clusterscan.fetch.download.store import Access
from clusterscan.fetch.registry import open_source
from clusterscan.fetch.source import tokens_by_tile
from clusterscan.formats.image_spec import ImageSpec
from clusterscan.formats.raw_image import read_raw

SCALE = 60.0
ORDER = 5
RA, DEC = 0.0, 30.0  # across RA 0


def slope(ra, dec):
    """A sky without a jump at RA 0."""
    return 10.0 + np.sin(np.radians(8 * ra)) + 2.0 * np.cos(np.radians(5 * dec))


def write_image(path, ra, dec, projection="TAN", side=160, scale=SCALE, offset=0.0, frame="RA"):
    wcs = WCS(naxis=2)
    names = {"RA": ("RA--", "DEC-"), "G": ("GLON", "GLAT")}[frame]
    wcs.wcs.ctype = [f"{name}-{projection}" for name in names]
    wcs.wcs.crval = [ra, dec] if projection != "CAR" else [ra, 0.0]
    wcs.wcs.cdelt = [-scale / 3600, scale / 3600]
    lift = 0.0 if projection != "CAR" else dec * 3600 / scale
    wcs.wcs.crpix = [side / 2 + 0.3, side / 2 - lift]
    y, x = np.indices((side, side))
    where = wcs.pixel_to_world(x, y).icrs
    data = (slope(where.ra.deg, where.dec.deg) + offset).astype(np.float32)
    path.parent.mkdir(parents=True, exist_ok=True)
    fits.PrimaryHDU(data, wcs.to_header()).writeto(path, overwrite=True)
    return wcs


def local(folder, tmp_path, **values):
    spec = ImageSpec("test", ("f",), "adu", SCALE, ORDER, 10.0)
    settings = LocalSource(
        kind="local", **{"path": str(folder), "files": {"f": "**/*.fits"}, **values}
    )
    return open_source(settings, spec, access=Access(DownloadSettings(), tmp_path / "cache"))


def fetch(source, tile, path):
    offered = tokens_by_tile(source.objects([tile]), [tile])
    return source.prepare(offered).fetch_tile(tile, path)


def assert_shows_the_sky(raw, y, x):
    error = np.abs(raw.image[0, y, x] - slope(*raw.wcs.pixel_to_world_values(x, y)))
    assert (error < 2e-5).mean() > 0.95
    assert error.max() < 2e-3  # on the outermost half pixel the image's last value holds


def tile_at(ra, dec):
    return int(sky.owning_cell(np.array([ra]), np.array([dec]), ORDER)[0])


@pytest.mark.parametrize("projection", ["TAN", "SIN", "ZEA", "CAR"])
def test_any_projection_shows_the_sky(tmp_path, projection):
    write_image(tmp_path / "in/a.fits", RA, DEC, projection)
    tile = tile_at(RA, DEC)
    assert fetch(local(tmp_path / "in", tmp_path), tile, tmp_path / "raw.fits").status == "ok"
    raw = read_raw(tmp_path / "raw.fits", ("f",))
    y, x = np.nonzero(raw.mask == 0)
    assert y.size > 5000
    assert_shows_the_sky(raw, y, x)


def test_overlapping_images_are_averaged_and_none_is_lost(tmp_path):
    write_image(tmp_path / "in/a.fits", 0.3, DEC, offset=0.0)
    write_image(tmp_path / "in/sub/b.fits", 359.4, DEC, offset=1.0)
    write_image(tmp_path / "in/far.fits", 90.0, -40.0)
    tile = tile_at(RA, DEC)
    source = local(tmp_path / "in", tmp_path)
    assert [item.name for item in source.objects([tile])] == ["f:a.fits", "f:sub/b.fits"]
    fetch(source, tile, tmp_path / "raw.fits")
    raw = read_raw(tmp_path / "raw.fits", ("f",))
    y, x = np.nonzero(raw.mask == 0)
    excess = raw.image[0, y, x] - slope(*raw.wcs.pixel_to_world_values(x, y))
    for value in (0.0, 0.5, 1.0):
        assert (np.abs(excess - value) < 1e-4).mean() > 0.05
    assert (np.abs(excess * 2 - np.rint(excess * 2)) < 5e-3).mean() > 0.99


def test_a_galactic_image_lands_on_the_icrs_tile(tmp_path):
    write_image(tmp_path / "in/a.fits", 111.2, -31.5, frame="G")  # near RA 0.3, Dec 30.2
    tile = tile_at(RA, DEC)
    assert fetch(local(tmp_path / "in", tmp_path), tile, tmp_path / "raw.fits").status == "ok"
    raw = read_raw(tmp_path / "raw.fits", ("f",))
    y, x = np.nonzero(raw.mask == 0)
    assert_shows_the_sky(raw, y, x)


def test_flux_is_kept_by_adaptive_resampling(tmp_path):
    write_image(tmp_path / "in/a.fits", RA, DEC, side=480, scale=SCALE / 3)
    path = tmp_path / "in/a.fits"
    with fits.open(path, mode="update") as hdus:
        hdus[0].data[:] = 0.0
        hdus[0].data[237:244, 237:244] = 2.0
    settings = {"resampling": "adaptive", "quantity": "flux", "scale_by": {"f": 10.0}}
    fetch(local(tmp_path / "in", tmp_path, **settings), tile_at(RA, DEC), tmp_path / "raw.fits")
    raw = read_raw(tmp_path / "raw.fits", ("f",))
    assert raw.image.sum() == pytest.approx(7 * 7 * 2.0 * 10.0, rel=1e-3)
    with pytest.raises(ValueError, match="adaptive"):
        local(tmp_path / "in", tmp_path, quantity="flux")


def test_values_without_data_are_no_coverage(tmp_path):
    write_image(tmp_path / "in/a.fits", RA, DEC)
    with fits.open(tmp_path / "in/a.fits", mode="update") as hdus:
        hdus[0].data[:] = -99.0
    source = local(tmp_path / "in", tmp_path, no_data=-99.0)
    assert fetch(source, tile_at(RA, DEC), tmp_path / "raw.fits").status == "no_coverage"
    assert not (tmp_path / "raw.fits").exists()


def test_tokens_change_with_bytes_and_not_with_time(tmp_path):
    path = tmp_path / "in/a b=c.fits"  # a name that needs quoting
    write_image(path, RA, DEC)
    tile = tile_at(RA, DEC)
    source = local(tmp_path / "in", tmp_path)
    first = tokens_by_tile(source.objects([tile]), [tile])[tile]
    assert "=sha256 " in first[0]
    os.utime(path, (1, 1))
    assert tokens_by_tile(source.objects([tile]), [tile])[tile] == first
    assert fetch(source, tile, tmp_path / "raw.fits").status == "ok"
    write_image(path, RA, DEC, offset=1.0)
    assert tokens_by_tile(source.objects([tile]), [tile])[tile] != first
    weak = local(tmp_path / "in", tmp_path, versions="mtime")
    assert weak.objects([tile])[0].token.startswith("weak ")


def test_files_that_are_no_images_of_the_sky_are_named(tmp_path):
    (tmp_path / "in").mkdir()
    source = local(tmp_path / "in", tmp_path)
    with pytest.raises(SourceError, match="no file matches"):
        source.objects([0])
    fits.PrimaryHDU(np.zeros((4, 4))).writeto(tmp_path / "in/a.fits")
    with pytest.raises(SourceError, match="no celestial WCS"):
        source.objects([0])
    (tmp_path / "in/a.fits").write_bytes(b"<html>")
    with pytest.raises(SourceError, match="not a FITS file"):
        source.objects([0])


def test_a_file_that_was_cut_short_is_no_data(tmp_path):
    write_image(tmp_path / "in/a.fits", RA, DEC)
    tile = tile_at(RA, DEC)
    source = local(tmp_path / "in", tmp_path)
    offered = tokens_by_tile(source.objects([tile]), [tile])
    data = (tmp_path / "in/a.fits").read_bytes()
    (tmp_path / "in/a.fits").write_bytes(data[:20000])
    with pytest.raises(SourceError, match="truncated"):
        source.prepare(offered).fetch_tile(tile, tmp_path / "raw.fits")


def test_patterns_stay_in_the_folder(tmp_path):
    for pattern in ("/etc/*", "../*.fits"):
        with pytest.raises(ValueError, match="leaves the folder"):
            local(tmp_path, tmp_path, files={"f": pattern})
