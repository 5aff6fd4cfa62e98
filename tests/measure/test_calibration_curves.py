"""Isotonic and beta calibration, and the purity that probabilities promise."""

import numpy as np
import pytest
from scipy.special import expit

from clusterscan.core.errors import ModelError
from clusterscan.measure.calibration import (
    apply_to_logits,
    beta_logit,
    fit_beta,
    fit_isotonic,
    isotonic_logit,
)
from clusterscan.measure.reliability import expected_purity, purest_sample, sample_thresholds


def drawn(n=4000, seed=0):
    rng = np.random.default_rng(seed)
    score = rng.normal(0, 2, n)
    return score, (rng.random(n) < expit(score)).astype(int)


def test_isotonic_steps_agree_with_scikit_learn():
    from sklearn.isotonic import IsotonicRegression

    score, label = drawn()
    peer = IsotonicRegression(out_of_bounds="clip").fit(score, label)
    ours = apply_to_logits(fit_isotonic(score, label, end_slope=1.0), score)[:, 1]
    # Joining the steps' centres moves a value by less than a step.
    assert np.abs(ours - peer.predict(score)).mean() < 0.02


def test_isotonic_is_strictly_rising_also_beyond_the_examples():
    score, label = drawn(300)
    found = fit_isotonic(score, label, end_slope=0.8)
    level = isotonic_logit(found, np.linspace(-30, 30, 500))
    assert (np.diff(level) > 0).all()


def test_knots_that_do_not_rise_are_refused():
    bad = {"kind": "isotonic", "score": [0.0, 0.0], "logit": [0.0, 1.0], "end_slope": 1.0}
    with pytest.raises(ModelError, match="do not rise"):
        isotonic_logit(bad, np.zeros(1))
    with pytest.raises(ModelError, match="not a rising curve"):
        beta_logit({"kind": "beta", "slope": -1.0}, np.zeros(1))


def test_beta_calibration_finds_the_straight_line_where_it_is_true():
    score, label = drawn(60_000)
    found = fit_beta(score, label, slope=1.0, offset=0.0)
    assert found["low_rise"] == pytest.approx(1.0, abs=0.05)
    assert found["high_rise"] == pytest.approx(1.0, abs=0.05)
    assert found["constant"] == pytest.approx(0.0, abs=0.05)


def test_beta_calibration_follows_a_floor_of_chance_matches():
    rng = np.random.default_rng(1)
    score = rng.normal(-1, 2, 60_000)
    true = 0.1 + 0.9 * expit(2 * score)
    label = (rng.random(score.size) < true).astype(int)
    found = fit_beta(score, label, slope=1.0, offset=0.0)
    assert found["low_rise"] < 0.3 < found["high_rise"]
    off = np.abs(apply_to_logits(found, score)[:, 1] - true)
    assert off.mean() < 0.02


def test_expected_purity_is_the_mean_of_all_at_least_as_probable():
    prob = np.array([0.2, 0.9, 0.5, 0.9])
    np.testing.assert_allclose(expected_purity(prob), [2.5 / 4, 0.9, 2.3 / 3, 0.9])
    assert expected_purity(np.empty(0)).size == 0


def test_samples_nest_and_promise_their_purity():
    prob = np.sort(np.random.default_rng(0).random(1000))
    levels = (0.6, 0.8, 0.9, 0.999999)
    at = sample_thresholds(prob, levels)
    assert np.isnan(at[3])
    assert (np.diff(at[:3]) > 0).all()
    sample = purest_sample(prob, levels)
    for level, threshold in zip(levels[:3], at[:3], strict=True):
        members = prob[np.nan_to_num(sample) >= level]
        assert members.min() == threshold
        assert members.mean() >= level
        larger = prob[prob >= prob[prob < threshold].max()]
        assert larger.mean() < level
