from statistics import NormalDist

import numpy as np
import pytest

from clusterscan.config.train import NormalisationSettings
from clusterscan.errors import ModelError
from clusterscan.networks.normalise import Normalisation, apply, measure

STANDARD = NormalisationSettings(kind="standard")


def test_gaussian_pixels_with_outliers_and_gaps_become_standard_normal():
    rng = np.random.default_rng(1)
    images = rng.normal([[[[5.0]], [[-3.0]]]], [[[[2.0]], [[0.1]]]], size=(40, 2, 64, 64))
    images[:, :, :2] = 1e4  # 3 % bright stars
    images[:, :, 5, :7] = np.nan
    found = measure(images.astype(np.float32), STANDARD)
    # With a share e of outliers above, the median is the Gaussian's 0.5 / (1 - e) quantile.
    shift = NormalDist().inv_cdf(0.5 / (1 - 2 / 64))
    np.testing.assert_allclose(found.median, [5.0 + 2 * shift, -3.0 + 0.1 * shift], atol=0.02)
    np.testing.assert_allclose(found.sigma, [2.0, 0.1], rtol=0.05)
    values = apply(images.astype(np.float32), found)
    assert values.dtype == np.float32
    assert np.isfinite(values).all()
    assert (values[:, :, 5, :7] == 0).all()


def test_asinh_is_linear_near_the_background_and_logarithmic_far_above():
    norm = Normalisation("asinh", 3.0, (10.0,), (2.0,))
    z = np.array([0.0, 0.01, -0.01, 3000.0])
    values = apply((10 + 2 * z).reshape(1, 1, -1).astype(np.float32), norm)[0, 0]
    np.testing.assert_allclose(values[:3], z[:3], atol=1e-5)
    np.testing.assert_allclose(values[3], 3 * np.log(2 * 1000), rtol=1e-5)


def test_infinite_pixels_are_as_bright_as_float16_can_say():
    norm = Normalisation("standard", 1.0, (0.0,), (1.0,))
    image = np.array([[[np.inf, -np.inf, 1e6, np.nan]]], dtype=np.float32)
    np.testing.assert_array_equal(apply(image, norm)[0, 0], [65504, -65504, 65504, 0])


def test_photon_counts_with_a_median_of_zero_still_have_a_spread():
    counts = np.random.default_rng(2).poisson(0.05, size=(10, 1, 32, 32)).astype(np.float32)
    assert measure(counts, STANDARD).sigma[0] == pytest.approx(np.sqrt(0.05), rel=0.1)


def test_bands_without_information_are_refused():
    with pytest.raises(ModelError, match="no finite pixel"):
        measure(np.full((2, 1, 8, 8), np.nan), STANDARD)
    with pytest.raises(ModelError, match="constant"):
        measure(np.ones((2, 1, 8, 8)), STANDARD)
    norm = Normalisation("standard", 1.0, (0.0,), (1.0,))
    with pytest.raises(ModelError, match="2 bands, the model was trained on 1"):
        apply(np.zeros((2, 4, 4)), norm)


def test_a_card_gives_back_the_same_normalisation():
    norm = Normalisation("asinh", 3.0, (1.5, -2.0), (0.3, 4.0))
    assert Normalisation.from_json(norm.to_json()) == norm
    with pytest.raises(ModelError, match="damaged"):
        Normalisation.from_json({"kind": "asinh"})
