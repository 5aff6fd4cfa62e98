"""A raw image becomes a tile image, or a status with a reason; never a crash."""

import numpy as np
import pytest
from scipy import ndimage

from clusterscan.config.preprocess import PreprocessSettings
from clusterscan.core import sky
from clusterscan.core.errors import ImageError
from clusterscan.formats.image_spec import ImageSpec
from clusterscan.formats.mask_planes import NO_COVERAGE
from clusterscan.formats.raw_image import RawImage, write_raw
from clusterscan.formats.tile_image import read_tile, write_tile
from clusterscan.preprocess.make_tile import preprocess_file, preprocess_tile

TILE, ORDER, SCALE = 3000, 6, 30.0
HIGHPASS = {"kind": "highpass", "fwhm_arcmin": 8.0}


def spec(settings, **values):
    return ImageSpec(
        **{
            "survey": "test",
            "bands": ("a", "b"),
            "unit": "uK",
            "pixel_scale_arcsec": SCALE,
            "tile_order": ORDER,
            "halo_arcmin": 4.0,
            "margin_arcmin": settings.margin_arcmin,
            "binning": settings.binning,
            **values,
        }
    )


def make_raw(path, wanted, tile=TILE, fill=None):
    wcs, shape = sky.tile_frame(tile, ORDER, SCALE, wanted.raw_halo_arcmin, multiple=wanted.binning)
    y, x = np.indices(shape)
    ra, dec = wcs.pixel_to_world_values(x, y)
    # Waves of 20' in Dec on a gradient: the same sky whichever tile looks at it.
    smooth = 100 * np.sin(2 * np.pi * dec * 60 / 20) + 50 * dec
    image = np.stack([smooth, 50 + 2 * smooth]).astype(np.float32)
    mask = np.zeros(shape, np.uint8)
    if fill is not None:
        fill(image, mask)
    write_raw(path, RawImage(image, mask, wcs, wanted.unit), wanted.bands, tile)
    return ra, dec, image


def test_the_median_of_every_band_vanishes_and_gaps_hold_the_background(tmp_path):
    settings = PreprocessSettings(binning=2, background={"kind": "median"})

    def spoil(image, mask):
        mask[:20, :30] = NO_COVERAGE
        image[:, :20, :30] = np.nan
        image[0, 40, 40] = np.nan

    make_raw(tmp_path / "raw.fits", spec(settings), fill=spoil)
    tile = preprocess_tile(tmp_path / "raw.fits", settings, spec(settings))
    assert np.isfinite(tile.image).all()
    np.testing.assert_allclose(tile.image[:, ~tile.covered], 0, atol=1e-3)
    np.testing.assert_allclose(np.median(tile.image[:, tile.covered], axis=1), 0, atol=1e-3)
    assert tile.mask[:10, :15].all()
    assert (~tile.covered).sum() == 150


def test_the_same_sky_comes_out_alike_in_neighbouring_tiles_after_a_high_pass(tmp_path):
    settings = PreprocessSettings(background=HIGHPASS)
    tiles = {}
    for tile in (TILE, int(sky.neighbours(TILE, ORDER)[0])):
        make_raw(tmp_path / "raw.fits", spec(settings), tile=tile)
        tiles[tile] = preprocess_tile(tmp_path / "raw.fits", settings, spec(settings))
    first, second = tiles.values()
    y, x = np.indices(first.mask.shape)
    ra, dec = first.wcs.pixel_to_world_values(x, y)
    x2, y2 = second.to_pixel(ra.ravel(), dec.ravel())
    ny, nx = second.mask.shape
    both = (x2 > 1) & (y2 > 1) & (x2 < nx - 2) & (y2 < ny - 2)
    assert both.sum() > 200
    there = ndimage.map_coordinates(second.image[0], [y2[both], x2[both]], order=3)
    here = first.image[0].ravel()[both]
    assert np.abs(here).max() > 30  # the waves survive the filter
    np.testing.assert_allclose(there, here, atol=0.5)


def test_the_trimmed_image_still_holds_the_tile_and_its_halo(tmp_path):
    settings = PreprocessSettings(background=HIGHPASS)
    make_raw(tmp_path / "raw.fits", spec(settings))
    tile = preprocess_tile(tmp_path / "raw.fits", settings, spec(settings))
    vectors = sky.outline_vectors(TILE, ORDER)
    ra = np.degrees(np.arctan2(vectors[:, 1], vectors[:, 0]))
    x, y = tile.to_pixel(ra, np.degrees(np.arcsin(vectors[:, 2])))
    halo = 60 * 4.0 / SCALE
    ny, nx = tile.mask.shape
    assert min(x.min(), y.min()) >= halo - 1
    assert x.max() <= nx - halo
    assert y.max() <= ny - halo
    assert nx < sky.tile_frame(TILE, ORDER, SCALE, spec(settings).raw_halo_arcmin)[1][1]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"unit": "mK"}, "unit 'uK'"),
        ({"pixel_scale_arcsec": 60.0}, "pixels of 30.0000 arcsec"),
        ({"bands": ("a", "c")}, "lacks band c"),
    ],
)
def test_a_raw_image_unlike_the_survey_fails_with_the_reason(tmp_path, change, reason):
    settings = PreprocessSettings()
    make_raw(tmp_path / "raw.fits", spec(settings))
    outcome = preprocess_file(
        tmp_path / "raw.fits", tmp_path / "tile.fits", settings, spec(settings, **change)
    )
    assert outcome.status == "failed"
    assert reason in outcome.reason
    assert not (tmp_path / "tile.fits").exists()


def test_a_broken_file_and_one_of_nan_fail_and_an_empty_one_has_no_coverage(tmp_path):
    settings = PreprocessSettings()

    def run():
        return preprocess_file(
            tmp_path / "raw.fits", tmp_path / "tile.fits", settings, spec(settings)
        )

    (tmp_path / "raw.fits").write_bytes(b"SIMPLE  = nonsense")
    assert run().status == "failed"
    make_raw(tmp_path / "raw.fits", spec(settings), fill=lambda image, _: image.fill(np.nan))
    assert run().status == "failed"
    assert "no finite pixel" in run().reason
    make_raw(tmp_path / "raw.fits", spec(settings), fill=lambda _, mask: mask.fill(NO_COVERAGE))
    assert run().status == "no_coverage"


def test_a_tile_image_survives_writing_with_the_same_bytes_every_time(tmp_path):
    settings = PreprocessSettings(binning=2)
    make_raw(tmp_path / "raw.fits", spec(settings))
    tile = preprocess_tile(tmp_path / "raw.fits", settings, spec(settings))
    for name in ("1.fits", "2.fits"):
        write_tile(tmp_path / name, tile)
    assert (tmp_path / "1.fits").read_bytes() == (tmp_path / "2.fits").read_bytes()
    again = read_tile(tmp_path / "1.fits")
    np.testing.assert_array_equal(again.image, tile.image)
    np.testing.assert_array_equal(again.mask, tile.mask)
    assert (again.unit, again.bands) == ("uK", ("a", "b"))
    assert again.pixel_scale_arcsec == 2 * SCALE
    np.testing.assert_allclose(
        again.wcs.pixel_to_world_values(5, 7), tile.wcs.pixel_to_world_values(5, 7), rtol=1e-13
    )


def test_a_damaged_tile_image_says_what_to_do(tmp_path):
    settings = PreprocessSettings()
    make_raw(tmp_path / "raw.fits", spec(settings))
    write_tile(
        tmp_path / "a.fits", preprocess_tile(tmp_path / "raw.fits", settings, spec(settings))
    )
    data = (tmp_path / "a.fits").read_bytes()
    (tmp_path / "a.fits").write_bytes(data[: len(data) // 2])
    with pytest.raises(ImageError, match="delete it and run again"):
        read_tile(tmp_path / "a.fits")
    with pytest.raises(ImageError, match=r"missing\.fits"):
        read_tile(tmp_path / "missing.fits")
