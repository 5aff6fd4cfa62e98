"""Only whole, well-formed raw images count as data."""

import numpy as np
import pytest
from astropy.io import fits

from clusterscan.core import sky
from clusterscan.core.errors import ImageError
from clusterscan.formats.raw_image import RawImage, read_raw, write_raw


@pytest.fixture
def raw():
    wcs, shape = sky.tile_frame(1000, 5, 600.0, 5.0)
    rng = np.random.default_rng(1)
    mask = (rng.random(shape) < 0.1).astype(np.uint8)
    return RawImage(rng.normal(size=(2, *shape)).astype(np.float32), mask, wcs, "uK")


def test_a_raw_image_survives_writing(raw, tmp_path):
    write_raw(tmp_path / "a.fits", raw, ("W1", "W2"), 1000)
    again = read_raw(tmp_path / "a.fits", ("W1", "W2"))
    np.testing.assert_array_equal(again.image, raw.image)
    np.testing.assert_array_equal(again.mask, raw.mask)
    assert again.unit == "uK"
    assert again.image.dtype == np.float32
    np.testing.assert_allclose(
        again.wcs.pixel_to_world_values(3.0, 4.0),
        raw.wcs.pixel_to_world_values(3.0, 4.0),
        rtol=1e-13,
    )


def test_bands_come_in_the_order_asked_for(raw, tmp_path):
    write_raw(tmp_path / "a.fits", raw, ("W1", "W2"), 1000)
    turned = read_raw(tmp_path / "a.fits", ("W2", "W1"))
    np.testing.assert_array_equal(turned.image, raw.image[::-1])


@pytest.mark.parametrize("keep", [0, 100, 2880, 4000, -3000])
def test_a_truncated_file_is_refused(raw, tmp_path, keep):
    write_raw(tmp_path / "a.fits", raw, ("W1", "W2"), 1000)
    data = (tmp_path / "a.fits").read_bytes()
    (tmp_path / "a.fits").write_bytes(data[:keep])
    with pytest.raises(ImageError, match=r"a\.fits"):
        read_raw(tmp_path / "a.fits", ("W1", "W2"))


def test_a_web_page_is_no_image(tmp_path):
    (tmp_path / "a.fits").write_text("<html>" + "502 Bad Gateway" * 500)
    with pytest.raises(ImageError, match="not a whole FITS image"):
        read_raw(tmp_path / "a.fits", ("W1",))


def test_a_missing_band_and_unequal_shapes_are_refused(raw, tmp_path):
    write_raw(tmp_path / "a.fits", raw, ("W1", "W2"), 1000)
    with pytest.raises(ImageError, match="lacks band W3"):
        read_raw(tmp_path / "a.fits", ("W1", "W3"))
    with fits.open(tmp_path / "a.fits") as hdus:
        hdus["W2"].data = hdus["W2"].data[:-1]
        hdus.writeto(tmp_path / "b.fits")
    with pytest.raises(ImageError, match="different shapes"):
        read_raw(tmp_path / "b.fits", ("W1", "W2"))


def test_an_image_without_a_place_on_the_sky_is_refused(tmp_path):
    hdus = [fits.PrimaryHDU(), fits.ImageHDU(np.zeros((5, 5), np.float32), name="W1")]
    fits.HDUList(hdus).writeto(tmp_path / "a.fits")
    with pytest.raises(ImageError, match="no celestial WCS"):
        read_raw(tmp_path / "a.fits", ("W1",))
