"""Binning keeps surface brightness (or counts), masks and places on the sky."""

import numpy as np
import pytest

from clusterscan.core import sky
from clusterscan.core.errors import ImageError
from clusterscan.formats.mask_planes import BRIGHT_STAR, NO_COVERAGE, SATURATED
from clusterscan.preprocess.reduction import bin_image, bin_mask, bin_wcs


def test_the_mean_of_covered_pixels_is_kept_and_the_sum_of_counts():
    image = np.random.default_rng(1).normal(size=(2, 12, 18))
    covered = np.ones((12, 18), bool)
    np.testing.assert_allclose(
        bin_image(image, covered, 3).mean(axis=(1, 2)), image.mean(axis=(1, 2)), rtol=1e-5
    )
    np.testing.assert_allclose(
        bin_image(image, covered, 3, "sum").sum(axis=(1, 2)), image.sum(axis=(1, 2)), rtol=1e-5
    )


def test_pixels_without_coverage_weigh_nothing_even_if_nan():
    image = np.full((1, 4, 4), 5.0)
    covered = np.ones((4, 4), bool)
    covered[0, 0] = covered[2:, 2:] = False
    image[:, ~covered] = np.nan
    np.testing.assert_array_equal(bin_image(image, covered, 2)[0], [[5, 5], [5, 0]])
    np.testing.assert_array_equal(bin_image(image, covered, 2, "sum")[0], [[20, 20], [20, 0]])


def test_one_saturated_pixel_spoils_a_bin_but_coverage_is_lost_only_beyond_half():
    mask = np.zeros((2, 8), np.uint8)
    mask[0, 0] = SATURATED
    mask[1, 2] = BRIGHT_STAR
    mask[:, 4] = NO_COVERAGE  # half of the third bin
    mask[:, 6:] = NO_COVERAGE
    mask[0, 7] = 0  # three quarters of the fourth
    expected = [SATURATED, BRIGHT_STAR, 0, NO_COVERAGE]
    np.testing.assert_array_equal(bin_mask(mask, 2)[0], expected)


@pytest.mark.parametrize("n", [2, 3, 4, 7])
@pytest.mark.parametrize("tile", [0, 1000, 2047, 4095, 12287])
def test_a_binned_wcs_names_the_same_sky(n, tile):
    wcs, (ny, nx) = sky.tile_frame(tile, 5, 20.0, 5.0, n)
    rng = np.random.default_rng(2)
    x, y = rng.uniform(0, nx - 1, 20), rng.uniform(0, ny - 1, 20)
    ra, dec = wcs.pixel_to_world_values(x, y)
    binned_x, binned_y = bin_wcs(wcs, n).world_to_pixel_values(ra, dec)
    np.testing.assert_allclose(binned_x, (x - (n - 1) / 2) / n, atol=1e-7)
    np.testing.assert_allclose(binned_y, (y - (n - 1) / 2) / n, atol=1e-7)


def test_a_source_stays_within_a_hundredth_of_a_pixel_of_its_sky_position():
    wcs, (ny, nx) = sky.tile_frame(5000, 6, 10.0, 2.0, 4)
    x0, y0 = 103.3, 88.7
    y, x = np.indices((ny, nx))
    star = np.exp(-((x - x0) ** 2 + (y - y0) ** 2) / (2 * 8.0**2))
    binned = bin_image(star[None], np.ones((ny, nx), bool), 4, "sum")[0]
    by, bx = np.indices(binned.shape)
    centroid = (bx * binned).sum() / binned.sum(), (by * binned).sum() / binned.sum()
    ra, dec = wcs.pixel_to_world_values(x0, y0)
    place = bin_wcs(wcs, 4).world_to_pixel_values(ra, dec)
    np.testing.assert_allclose(centroid, place, atol=0.01)


def test_an_image_that_does_not_divide_is_refused():
    with pytest.raises(ImageError, match="multiples"):
        bin_image(np.zeros((1, 10, 9)), np.ones((10, 9), bool), 2)
