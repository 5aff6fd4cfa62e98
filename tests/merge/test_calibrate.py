"""The probability of objects: chosen on left-out sky, at the sky's base rate, with an error."""

import json

import numpy as np
import pytest
from scipy.special import expit, logit

from clusterscan.config.merge import MergeSettings
from clusterscan.merge.calibrate import (
    ProbabilityModel,
    bootstrap_error,
    choose_model,
    combination_names,
    examples_of,
    fit_method,
    fit_probability,
    fit_scores,
    training_rate,
)
from clusterscan.merge.combine import choose, left_out_loss, sky_folds

SETTINGS = MergeSettings()
NAMES = ["a", "b"]


def sky(n, seed=0, shift=2.0):
    """Objects whose model a is a logit at the base rate 1/2, and b noise."""
    rng = np.random.default_rng(seed)
    real = rng.random(n) < 0.2
    # Two Gaussians of variance d, d apart: their log likelihood ratio at a is a itself.
    a = np.where(real, 1, -1) * shift**2 / 2 + rng.normal(0, shift, n)
    b = rng.normal(0, 3, n)
    return np.column_stack([a, b]), real, rng.uniform(10, 16, n), rng.uniform(-3, 3, n)


def examples(n=3000, seed=0, settings=SETTINGS):
    x, real, ra, dec = sky(n, seed)
    return examples_of(x, real, ra, dec, settings=settings, seed=1)


def test_the_base_rate_of_the_training_is_undone_exactly():
    # Of two unit Gaussians the log likelihood ratio is the logit at the base rate 1/2, so the
    # true probability at the sky's rate 0.2 is its logit plus logit(0.2).
    x, real, *_ = sky(40_000)
    found = fit_method("temperature", x[:, 0], real, 0.5)
    assert found["temperature"] == pytest.approx(1.0, abs=0.05)
    assert found["offset"] == pytest.approx(logit(0.2), abs=0.05)


@pytest.mark.parametrize("method", ["temperature", "platt", "beta", "isotonic"])
def test_every_calibration_holds_on_other_sky(method):
    model = fit_probability(examples(4000), NAMES, "single:a", method, rates={"a": 0.5})
    x, real, *_ = sky(20_000, seed=5)
    prob = model.probability(x)
    truth = expit(x[:, 0] + logit(0.2))
    assert prob.mean() == pytest.approx(real.mean(), abs=0.015)
    assert np.sqrt(np.mean((prob - truth) ** 2)) < 0.04


@pytest.mark.parametrize("method", ["temperature", "platt", "beta", "isotonic"])
def test_no_calibration_changes_the_order_of_scores(method):
    model = fit_probability(examples(500), NAMES, "single:a", method, rates={})
    score = np.linspace(-12, 12, 400)
    prob = model.probability(np.column_stack([score, np.zeros(400)]))
    assert (np.diff(prob) > 0).all()
    assert model.probability(np.full((1, 2), np.nan))[0] == 0.0


def test_a_score_that_misleads_says_nothing():
    x, real, *_ = sky(500)
    assert fit_method("platt", -x[:, 0], real, 0.5)["slope"] == 0.0


def test_folds_leave_out_whole_cells_and_are_of_equal_size():
    _, _, ra, dec = sky(5000)
    cell, fold = sky_folds(ra, dec, cell_order=6, folds=5, seed=3)
    pairs = np.unique(np.column_stack([cell, fold]), axis=0)
    assert len(pairs) == cell.max() + 1
    cells_in_fold = np.bincount(pairs[:, 1])
    assert len(cells_in_fold) == 5
    assert np.ptp(cells_in_fold) <= 1
    again = sky_folds(ra[::-1], dec[::-1], cell_order=6, folds=5, seed=3)[1]
    np.testing.assert_array_equal(again[::-1], fold)


def test_a_fit_never_sees_the_objects_it_is_judged_on():
    fold = np.repeat([0, 1, 2], 4)
    seen = []

    def fit(rows):
        return lambda out: seen.append((set(rows), set(out))) or np.full(len(out), 0.5)

    loss = left_out_loss(fit, np.tile([True, False], 6), fold)
    assert all(not rows & out and len(rows | out) == 12 for rows, out in seen)
    np.testing.assert_allclose(loss, np.log(2))


def test_within_one_standard_error_the_simpler_way_is_taken():
    cell = np.repeat(np.arange(10), 5)
    noise = np.random.default_rng(0).normal(0, 0.2, 50)
    losses = {"free": np.full(50, 0.5), "plain": 0.5 + noise - noise.mean() + 0.005}
    counts = {"free": 9, "plain": 1}
    assert next(t.name for t in choose(losses, counts, cell) if t.chosen) == "plain"
    strict = choose(losses, counts, cell, errors=0.0)
    assert next(t.name for t in strict if t.chosen) == "free"
    losses["plain"] = np.full(50, 0.6)  # always worse: no noise to hide in
    assert next(t.name for t in choose(losses, counts, cell) if t.chosen) == "free"


def test_a_useless_second_network_is_not_combined_with():
    choice = choose_model(examples(), NAMES, settings=SETTINGS, rates={"a": 0.5, "b": 0.5})
    assert choice.combination == "single:a"


def test_two_networks_with_independent_noise_are_stacked_or_averaged():
    rng = np.random.default_rng(4)
    _, real, ra, dec = sky(3000)
    x = np.where(real, 1, -1)[:, None] * 0.5 + rng.normal(0, 1, (3000, 2))
    both = examples_of(x, real, ra, dec, settings=SETTINGS, seed=1)
    choice = choose_model(both, NAMES, settings=SETTINGS, rates={})
    assert not choice.combination.startswith("single")


def test_signal_to_noise_ratios_are_not_averaged_as_probabilities():
    assert "mean" not in combination_names(NAMES, SETTINGS, scale="snr")
    assert combination_names(["a"], SETTINGS) == ["single:a"]


def test_the_error_is_that_of_repeated_skies():
    settings = MergeSettings(calibration={"n_bootstrap": 60, "methods": ["platt"]})
    grid = np.column_stack([np.linspace(-3, 3, 7), np.zeros(7)])
    one = examples(1500, 0, settings)
    choice = choose_model(one, NAMES, settings=settings, rates={})
    error = bootstrap_error(one, grid, NAMES, choice, settings=settings, rates={}, seed=2)
    probs = [
        fit_probability(
            examples(1500, seed, settings), NAMES, choice.combination, choice.method,
            rates={},
        ).probability(grid)
        for seed in range(1, 41)
    ]  # fmt: skip
    ratio = error / np.std(probs, axis=0, ddof=1)
    assert ((ratio > 0.5) & (ratio < 2.0)).all()


def test_a_model_survives_json():
    model = fit_probability(examples(), NAMES, "stacking", "beta", rates={})
    again = ProbabilityModel.from_dict(json.loads(json.dumps(model.to_dict())))
    x = sky(50, seed=9)[0]
    np.testing.assert_array_equal(again.probability(x), model.probability(x))


def test_with_too_few_real_objects_the_mean_logit_stands_uncalibrated():
    x, _, ra, dec = sky(60)
    few = np.arange(60) < 3
    scored = fit_scores(
        x, NAMES, ra, dec, is_real=lambda score: few, is_listed=few, rows=np.ones(60, bool),
        settings=SETTINGS, scale="probability", rates={}, seed=0,
    )  # fmt: skip
    np.testing.assert_allclose(scored.columns["prob"], expit(x.mean(axis=1)))
    assert np.isnan(scored.columns["prob_err"]).all()
    assert scored.record["method"] is None


def test_the_training_rate_counts_what_the_training_saw():
    card = {
        "classes": ["other", "cluster"],
        "training": {
            "examples": {"train": {"other": 1672, "cluster": 418}},
            "settings": {"negatives_per_positive": 2.0, "class_weights": "none"},
        },
    }
    assert training_rate(card) == pytest.approx(1 / 3)
    card["training"]["settings"]["negatives_per_positive"] = None
    assert training_rate(card) == pytest.approx(0.2)
    card["training"]["settings"]["class_weights"] = "balanced"
    assert training_rate(card) == 0.5
    assert training_rate({}) == 0.5
