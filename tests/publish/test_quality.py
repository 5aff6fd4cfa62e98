"""Flags and masked fractions come from the image pixels around an object."""

import numpy as np
import pytest
from astropy.wcs import WCS
from mocpy import MOC

from clusterscan.core import sky
from clusterscan.core.errors import ConfigError, ImageError
from clusterscan.formats.catalogue_columns import FLAGS
from clusterscan.formats.tile_image import TileImage, write_tile
from clusterscan.publish.quality import image_quality, moc_flags, read_mask

STAR, INCOMPLETE, DUST = (FLAGS[name][0] for name in ("star", "incomplete", "dust"))
CENTRE = (150.0, 2.0)
SHAPE = (401, 401)


def frame(scale_arcsec=6.0):
    """Return a WCS whose pixel (200, 200) lies at the centre."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = CENTRE
    wcs.wcs.crpix = [201, 201]
    wcs.wcs.cdelt = [-scale_arcsec / 3600, scale_arcsec / 3600]
    return wcs


def at(dx_arcmin, dy_arcmin):
    """Return the position beside the centre as arrays of one."""
    ra, dec = frame().pixel_to_world_values(200 - 10 * dx_arcmin, 200 + 10 * dy_arcmin)
    return np.atleast_1d(ra), np.atleast_1d(dec)


def look(mask, place, radius_arcmin=3.0):
    return image_quality([lambda tile: (mask, frame())], *place, 5, radius_arcmin)


def test_half_the_pixels_are_masked_where_a_masked_edge_runs_through_the_object():
    mask = np.zeros(SHAPE, dtype=np.uint8)
    mask[201:] = 4
    flags, fraction = look(mask, at(0, 0.05))  # between two rows of pixels
    assert fraction == pytest.approx(0.5, abs=0.02)
    assert flags == STAR


@pytest.mark.parametrize(("plane", "flag"), [(1, INCOMPLETE), (2, STAR), (4, STAR)])
def test_one_bad_pixel_flags_the_objects_within_the_radius_and_no_other(plane, flag):
    mask = np.zeros(SHAPE, dtype=np.uint8)
    mask[200, 200] = plane
    near, fraction = look(mask, at(2.9, 0))
    assert near == flag
    assert fraction == pytest.approx(1 / (np.pi * 30**2), rel=0.02)  # 30 pixels are 3 arcmin
    far, fraction = look(mask, at(3.2, 0))
    assert far == 0
    assert fraction == 0


def test_beyond_the_image_there_is_no_coverage():
    flags, fraction = look(np.zeros(SHAPE, dtype=np.uint8), at(20, 0))  # on the last column
    assert flags == INCOMPLETE
    assert fraction == pytest.approx(0.5, abs=0.03)


def test_a_survey_without_the_tile_counts_as_wholly_masked_and_the_worst_survey_is_told():
    whole = np.zeros(SHAPE, dtype=np.uint8)
    surveys = [lambda tile: (whole, frame()), lambda tile: None]
    flags, fraction = image_quality(surveys, *at(0, 0), 5, 3.0)
    assert (flags[0], fraction[0]) == (INCOMPLETE, 1.0)


def test_each_object_is_seen_in_the_image_of_the_tile_that_owns_it():
    ra, dec = sky.cell_centres(np.array([4432, 4433]), 5)
    asked = []
    image_quality([lambda tile: asked.append(tile)], ra, dec, 5, 3.0)
    assert asked == [4432, 4433]
    assert image_quality([], np.empty(0), np.empty(0), 5, 3.0)[0].shape == (0,)


def test_the_mask_of_a_tile_image_is_read_without_the_image(tmp_path):
    mask = np.arange(12, dtype=np.uint8).reshape(3, 4) % 8
    image = np.zeros((1, 3, 4), dtype=np.float32)
    write_tile(tmp_path / "tile.fits", TileImage(image, mask, frame(), "uK_CMB", ("f090",)))
    planes, wcs = read_mask(tmp_path / "tile.fits")
    np.testing.assert_array_equal(planes, mask)
    np.testing.assert_allclose(wcs.wcs.crval, CENTRE)
    (tmp_path / "tile.fits").write_bytes(b"no image")
    with pytest.raises(ImageError, match="delete it and run again"):
        read_mask(tmp_path / "tile.fits")


def test_objects_inside_a_moc_carry_its_flag(tmp_path):
    ra, dec = np.array([10.0, 10.0, 200.0]), np.array([0.0, 3.0, 0.0])
    cells = sky.owning_cell(ra[[0, 2]], dec[[0, 2]], 8).astype(np.uint64)
    moc = MOC.from_healpix_cells(np.sort(cells), np.full(2, 8, dtype=np.uint8), 8)
    moc.save(str(tmp_path / "dust.fits"), format="fits")
    np.testing.assert_array_equal(
        moc_flags({"dust": str(tmp_path / "dust.fits")}, ra, dec), [DUST, 0, DUST]
    )
    assert moc_flags({}, ra, dec).tolist() == [0, 0, 0]
    (tmp_path / "bad.fits").write_bytes(b"SIMPLE")
    with pytest.raises(ConfigError, match=r"flag_mocs\.dust"):
        moc_flags({"dust": str(tmp_path / "bad.fits")}, ra, dec)


@pytest.mark.parametrize("content", [b"", b"<html>no such file</html>", None])
def test_a_moc_that_is_missing_cut_short_or_none_is_no_empty_sky(tmp_path, content):
    path = tmp_path / "dust.fits"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"flag_mocs\.dust.*dust\.fits"):
        moc_flags({"dust": str(path)}, np.array([45.0]), np.array([0.0]))
    cells = np.arange(0, 4000, 2, dtype=np.uint64)
    MOC.from_healpix_cells(cells, np.full(cells.size, 8, np.uint8), 8).save(
        str(path), format="fits", overwrite=True
    )
    path.write_bytes(path.read_bytes()[:9000])  # all headers, and some cells
    with pytest.raises(ConfigError, match=r"truncated|cut short"):
        moc_flags({"dust": str(path)}, np.array([45.0]), np.array([0.0]))
