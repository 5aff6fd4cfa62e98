"""The high-pass removes what is smooth, keeps what is small, and ignores what is masked."""

import numpy as np
import pytest
from scipy import ndimage

from clusterscan.preprocess.reduction import highpass, medians

FWHM = 20.0
SIGMA = FWHM / np.sqrt(8 * np.log(2))


def test_a_wave_is_damped_by_one_minus_the_gaussian_s_transform():
    # Far from borders a wave of wavenumber k keeps 1 - exp(-k² σ² / 2) of its amplitude.
    x = np.arange(400)
    for period in (15.0, 40.0, 120.0):
        wave = np.cos(2 * np.pi * (x - 200) / period) * np.ones((400, 1))
        kept = highpass(wave[None], np.ones(wave.shape, bool), FWHM)[0, 200, 200]
        k = 2 * np.pi / period
        assert kept == pytest.approx(1 - np.exp(-((k * SIGMA) ** 2) / 2), abs=1e-4)


def test_it_equals_direct_convolution_in_the_interior():
    image = np.random.default_rng(1).normal(1000.0, 1.0, size=(200, 210))
    ours = highpass(image[None], np.ones(image.shape, bool), 8.0)[0]
    sigma = 8.0 / np.sqrt(8 * np.log(2))
    other = image - ndimage.gaussian_filter(image, sigma, truncate=8.0)
    inner = (slice(40, -40), slice(40, -40))
    np.testing.assert_allclose(ours[inner], other[inner], atol=1e-5)


def test_a_constant_vanishes_up_to_the_border_and_around_holes():
    valid = np.ones((100, 120), bool)
    valid[30:60, 40:80] = False
    image = np.where(valid, 7.0e4, np.nan)[None]
    np.testing.assert_allclose(highpass(image, valid, FWHM), 0.0, atol=1e-2)


def test_masked_values_do_not_matter_and_come_out_as_zero():
    rng = np.random.default_rng(2)
    image = rng.normal(size=(1, 80, 90))
    valid = rng.random((80, 90)) > 0.2
    other = np.where(valid, image, 1e30)
    np.testing.assert_array_equal(highpass(image, valid, 9.0), highpass(other, valid, 9.0))
    assert (highpass(other, valid, 9.0)[0][~valid] == 0).all()


def test_nothing_wraps_around_the_border():
    image = np.zeros((1, 100, 100))
    image[0, 50, 2] = 1000.0
    filtered = highpass(image, np.ones((100, 100), bool), FWHM)
    assert abs(filtered[0, 50, 97]) < 1e-3


def test_the_median_is_that_of_valid_pixels_alone():
    image = np.arange(12.0).reshape(1, 3, 4)
    valid = image[0] < 5
    assert medians(image, valid) == [2.0]
    assert medians(image, np.zeros((3, 4), bool)) == [0.0]
