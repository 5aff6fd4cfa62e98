"""Calibration and its error against known temperatures, other libraries and theory."""

import numpy as np
import pytest
from scipy.special import expit, softmax

from clusterscan.core.errors import ModelError
from clusterscan.measure.calibration import (
    apply_to_logits,
    apply_to_probability,
    fit_platt,
    fit_temperature,
)
from clusterscan.measure.labelled import labelled
from clusterscan.measure.reliability import (
    calibration_error_floor,
    expected_calibration_error,
    reliability,
)
from clusterscan.measure.scores import scores_of

AB = ("a", "b")


def overconfident(n, temperature, classes=2, seed=1):
    """Return logits that are too large by a factor, and labels drawn from the true ones."""
    rng = np.random.default_rng(seed)
    if classes == 2:
        true = rng.normal(0.3, 1.5, n)
        return temperature * true, (rng.random(n) < expit(true)).astype(int)
    true = rng.normal(0, 1.5, (n, classes))
    edges = softmax(true, axis=1).cumsum(axis=1)
    return temperature * true, (rng.random((n, 1)) > edges[:, :-1]).sum(axis=1)


def sample(n, seed=2):
    """Return a perfectly calibrated sample."""
    rng = np.random.default_rng(seed)
    probability = rng.beta(0.6, 0.9, n)
    return (rng.random(n) < probability).astype(int), probability


@pytest.mark.parametrize("classes", [2, 5])
@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_a_known_temperature_is_found(temperature, classes):
    logits, label = overconfident(20_000, temperature, classes)
    found = fit_temperature(logits, label)
    assert found["temperature"] == pytest.approx(temperature, rel=0.04)
    assert found["cross_entropy_after"] <= found["cross_entropy_before"]


def test_the_temperature_is_that_of_scikit_learn():
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.linear_model import LogisticRegression

    frozen = pytest.importorskip("sklearn.frozen")
    logits, label = overconfident(5000, 2.5)
    model = LogisticRegression().fit(logits[:, None], label)
    model.coef_, model.intercept_ = np.array([[1.0]]), np.array([0.0])
    try:
        theirs = CalibratedClassifierCV(frozen.FrozenEstimator(model), method="temperature")
        theirs.fit(logits[:, None], label)
    except ValueError:
        pytest.skip("this scikit-learn knows no temperature scaling")
    mine = apply_to_logits(fit_temperature(logits, label), logits)
    np.testing.assert_allclose(mine, theirs.predict_proba(logits[:, None]), atol=2e-3)


def test_platt_finds_a_known_slope_and_offset():
    logits, label = overconfident(20_000, 2.0)
    found = fit_platt(logits + 1.0, label)
    # The true logit is (x - 1) / 2.
    assert found["slope"] == pytest.approx(0.5, rel=0.05)
    assert found["offset"] == pytest.approx(-0.5, abs=0.05)


def test_platt_is_that_of_scikit_learn():
    from sklearn.calibration import _SigmoidCalibration

    logits, label = overconfident(800, 2.0)
    theirs = _SigmoidCalibration().fit(logits, label).predict(logits)
    mine = apply_to_logits(fit_platt(logits, label), logits)[:, 1]
    np.testing.assert_allclose(mine, theirs, atol=1e-4)


def test_one_logit_and_two_logits_are_calibrated_alike():
    logits, label = overconfident(3000, 2.0)
    two = np.column_stack([np.zeros_like(logits), logits]) + 7.0  # a common offset means nothing
    for fit in (fit_temperature, fit_platt):
        one = fit(logits, label)
        again = fit(two, label)
        assert {k: v for k, v in again.items() if k != "kind"} == pytest.approx(
            {k: v for k, v in one.items() if k != "kind"}, abs=1e-4
        )
        np.testing.assert_allclose(
            apply_to_logits(one, two), apply_to_logits(one, logits), atol=1e-12
        )
        np.testing.assert_allclose(
            apply_to_logits(one, logits[:, None]), apply_to_logits(one, logits)
        )


@pytest.mark.parametrize("classes", [2, 4])
def test_probabilities_are_calibrated_like_their_logits(classes):
    logits, label = overconfident(2000, 1.5, classes)
    calibration = fit_temperature(logits, label)
    plain = apply_to_logits(None, logits)
    np.testing.assert_allclose(plain.sum(axis=1), 1)
    np.testing.assert_allclose(
        apply_to_probability(calibration, plain), apply_to_logits(calibration, logits), atol=1e-6
    )
    np.testing.assert_array_equal(apply_to_probability(None, plain), plain)
    again = apply_to_probability(calibration, plain)
    np.testing.assert_array_equal(again.argmax(axis=1), plain.argmax(axis=1))


def test_missing_probabilities_stay_missing():
    calibration = {"kind": "temperature", "temperature": 2.0}
    found = apply_to_probability(calibration, np.array([[0.1, 0.9], [np.nan, np.nan]]))
    assert found[0, 1] == pytest.approx(expit(np.log(9) / 2))
    assert np.isnan(found[1]).all()


def test_certainty_does_not_break_calibration():
    for calibration in ({"kind": "temperature", "temperature": 0.02},
                        {"kind": "platt", "slope": 3.0, "offset": 1.0}):  # fmt: skip
        found = apply_to_probability(calibration, np.array([[0.0, 1.0], [1.0, 0.0]]))
        assert np.isfinite(found).all()
        assert (found.argmax(axis=1) == [1, 0]).all()


def test_a_separated_sample_does_not_ask_for_certainty():
    label = np.repeat([0, 1], 20)
    logits = np.where(label == 1, 1.0, -1.0)
    for fit in (fit_temperature, fit_platt):
        probability = apply_to_logits(fit(logits, label), logits)[:, 1]
        # Platt's targets: (N + 1) / (N + 2).
        np.testing.assert_allclose(probability[label == 1], 21 / 22, atol=1e-3)


def test_one_class_or_nothing_cannot_be_calibrated():
    assert fit_temperature(np.array([1.0, 2.0]), np.array([1, 1])) is None
    assert fit_platt(np.array([1.0, 2.0]), np.array([0, 0])) is None
    assert fit_temperature(np.empty(0), np.empty(0, dtype=int)) is None


@pytest.mark.parametrize(
    ("calibration", "text"),
    [
        ({"kind": "splines"}, "kind 'splines'"),
        ({}, "kind None"),
        ({"kind": "temperature"}, "not valid"),
        ({"kind": "temperature", "temperature": 0.0}, "not valid"),
        ({"kind": "temperature", "temperature": float("nan")}, "not valid"),
        ({"kind": "platt", "slope": 1.0}, "not valid"),
    ],
)
def test_an_impossible_calibration_is_refused(calibration, text):
    with pytest.raises(ModelError, match=text):
        apply_to_logits(calibration, np.zeros(3))


def test_logits_that_are_not_finite_are_refused_with_their_row():
    with pytest.raises(ModelError, match="first at row 1"):
        fit_temperature(np.array([0.0, np.inf]), np.array([0, 1]))
    with pytest.raises(ModelError, match="two classes, not 3"):
        fit_platt(np.zeros((4, 3)), np.arange(4) % 2)


def test_the_calibration_error_is_that_of_torchmetrics():
    from clusterscan.networks.torchvision_repair import repair

    repair()
    import torch
    from torchmetrics.functional.classification import (
        binary_calibration_error,
        multiclass_calibration_error,
    )

    label, probability = sample(1000)
    theirs = binary_calibration_error(torch.tensor(probability), torch.tensor(label), n_bins=15)
    assert expected_calibration_error(labelled(label, probability, AB)) == pytest.approx(
        float(theirs), abs=1e-6
    )
    logits, label = overconfident(1000, 2.0, 4)
    chance = softmax(logits, axis=1)
    theirs = multiclass_calibration_error(
        torch.tensor(chance), torch.tensor(label), num_classes=4, n_bins=15
    )
    assert expected_calibration_error(labelled(label, chance, "abcd")) == pytest.approx(
        float(theirs), abs=1e-6
    )


def test_the_error_of_perfect_probabilities_vanishes_as_the_sample_grows():
    errors = [expected_calibration_error(labelled(*sample(n), AB)) for n in (500, 20_000, 200_000)]
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 0.003


def test_the_floor_is_the_mean_error_of_perfect_probabilities():
    found, floor = [], []
    for seed in range(200):
        data = labelled(*sample(800, seed), AB)
        found.append(expected_calibration_error(data))
        floor.append(calibration_error_floor(data))
    error = np.std(found) / np.sqrt(200)
    assert np.mean(floor) == pytest.approx(np.mean(found), abs=4 * error)


def test_the_floor_counts_views_of_an_object_once():
    label, probability = sample(500)
    views = labelled(
        np.tile(label, 9), np.tile(probability, 9), AB, groups=np.tile(np.arange(500), 9)
    )
    one = calibration_error_floor(labelled(label, probability, AB))
    assert calibration_error_floor(views) == pytest.approx(one)


def test_the_interval_of_the_calibration_error_holds_its_value():
    label, probability = sample(400)
    found = scores_of(labelled(label, probability, AB))["ece"]
    assert 0 <= found["low"] < found["value"] < found["high"]


def test_a_claim_of_certainty_that_fails_every_other_time_has_an_error_of_a_half():
    data = labelled(np.array([0, 1] * 50), np.ones(100), AB)
    assert expected_calibration_error(data) == pytest.approx(0.5)
    (row,) = reliability(data)
    assert (row["low"], row["high"], row["claimed"], row["true"]) == (0.9, 1.0, 1.0, 0.5)


def test_the_reliability_diagram_holds_every_example_once():
    label, probability = sample(1000)
    rows = reliability(labelled(label, probability, AB, groups=np.arange(1000) // 2))
    assert sum(row["examples"] for row in rows) == 1000
    for row in rows:
        assert row["low"] <= row["claimed"] <= row["high"]
        assert row["true_low"] <= row["true"] <= row["true_high"]
        assert row["objects"] <= row["examples"]
    assert reliability(labelled([], [], AB)) == []
