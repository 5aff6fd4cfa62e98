import json
from statistics import NormalDist

import numpy as np
import pytest

from clusterscan.config.train import NormalisationSettings
from clusterscan.core.errors import ModelError
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


def test_log_is_linear_near_the_background_and_falls_behind_asinh_nowhere():
    norm = Normalisation("log", 3.0, (10.0,), (2.0,))
    z = np.array([0.0, 0.003, -0.003, 3000.0, -3000.0])
    values = apply((10 + 2 * z).reshape(1, 1, -1).astype(np.float32), norm)[0, 0]
    np.testing.assert_allclose(values[:3], z[:3], atol=1e-5)
    np.testing.assert_allclose(values[3:], [3 * np.log1p(1000), -3 * np.log1p(1000)], rtol=1e-5)


def test_quantiles_make_any_skewed_distribution_normal():
    """By the ranks: a log-normal image becomes what its logarithm is."""
    rng = np.random.default_rng(3)
    deviates = rng.normal(size=(20, 2, 64, 64))
    images = np.exp(np.array([[[[1.0]], [[2.0]]]]) * deviates).astype(np.float32)
    found = measure(images, NormalisationSettings(kind="quantile"))
    values = apply(images, found)
    inside = np.abs(deviates) < 3
    np.testing.assert_allclose(values[inside], deviates[inside], atol=0.12)
    assert abs(values.mean()) < 0.02
    assert values.std() == pytest.approx(1, abs=0.02)
    assert values.max() == pytest.approx(3.5, abs=0.05)  # the tails end at the last knot


def test_the_background_of_counts_is_zero_whatever_their_ties():
    counts = np.random.default_rng(2).poisson(0.2, size=(10, 1, 32, 32)).astype(np.float32)
    counts[0, 0, 0, 0] = np.nan
    values = apply(counts, measure(counts, NormalisationSettings(kind="quantile")))
    assert values[0, 0, 0, 0] == 0
    assert set(np.unique(values[counts == 0])) == {0.0}
    assert values[counts == 1].min() > 1


def test_unit_is_the_range_of_the_training_images_or_of_quantiles_of_them():
    bytes_of = np.arange(256, dtype=np.float32).reshape(1, 1, 16, 16)
    whole = measure(bytes_of, NormalisationSettings(kind="unit"))
    np.testing.assert_allclose(apply(bytes_of, whole), bytes_of / 255, atol=1e-6)
    settings = NormalisationSettings(kind="unit", unit_quantiles=(0.2, 0.8))
    inner = apply(bytes_of, measure(bytes_of, settings))
    np.testing.assert_allclose(inner, np.clip((bytes_of / 255 - 0.2) / 0.6, 0, 1), atol=1e-5)
    flat = np.zeros((1, 1, 16, 16), np.float32)
    flat[0, 0, 0, :3] = 1.0
    with pytest.raises(ModelError, match="widen them"):
        measure(flat, NormalisationSettings(kind="unit", unit_quantiles=(0.0, 0.5)))


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


@pytest.mark.parametrize("kind", ["asinh", "log", "quantile", "standard", "unit"])
def test_a_card_gives_back_the_same_normalisation(kind):
    images = np.random.default_rng(4).gamma(2.0, size=(5, 3, 16, 16)).astype(np.float32)
    norm = measure(images, NormalisationSettings(kind=kind))
    text = json.dumps(norm.to_json(), allow_nan=False)
    again = Normalisation.from_json(json.loads(text))
    assert again == norm
    np.testing.assert_array_equal(apply(images, again), apply(images, norm))


@pytest.mark.parametrize(
    "changes",
    [
        {"kind": "sqrt"},
        {"median": None},
        {"sigma": [1.0, 2.0]},
        {"kind": "unit"},
        {"kind": "quantile", "knots": [[1.0, 2.0]]},
    ],
)
def test_a_damaged_normalisation_is_refused(changes):
    sound = {"kind": "asinh", "softening": 3.0, "median": [0.0], "sigma": [1.0]}
    Normalisation.from_json(sound)
    with pytest.raises(ModelError, match="damaged"):
        Normalisation.from_json(sound | changes)
    with pytest.raises(ModelError, match="damaged"):
        Normalisation.from_json({"kind": "asinh"})


def test_a_colour_gain_makes_mean_and_differences_of_the_bands():
    norm = Normalisation("standard", 1.0, (0.0,) * 3, (1.0,) * 3, colour_gain=3.0)
    image = np.random.default_rng(1).normal(size=(3, 4, 5)).astype(np.float32)
    image[2, 0, 0] = np.nan
    found = apply(image, norm)
    np.testing.assert_allclose(found[0, 1:], image.mean(axis=0)[1:], rtol=1e-5)
    np.testing.assert_allclose(found[1], 3 * (image[0] - image[1]), rtol=1e-5)
    assert found[0, 0, 0] == found[2, 0, 0] == 0
    assert Normalisation.from_json(norm.to_json()) == norm


def test_one_band_alone_has_no_colour_to_gain():
    image = np.ones((1, 4, 4), np.float32)
    norms = [Normalisation("standard", 1.0, (0.0,), (1.0,), colour_gain=g) for g in (0.0, 3.0)]
    np.testing.assert_array_equal(*(apply(image, norm) for norm in norms))
