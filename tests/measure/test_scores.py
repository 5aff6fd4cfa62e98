"""Measures against scikit-learn, theory and cases worked out by hand."""

import warnings

import numpy as np
import pytest
from scipy.stats import binomtest, norm
from sklearn import metrics as sk

from clusterscan.core.errors import ProductError
from clusterscan.measure import confusion_and_curves as cm
from clusterscan.measure.confusion_and_curves import Ranking
from clusterscan.measure.intervals import draws, interval, shifted_interval, wilson
from clusterscan.measure.labelled import labelled
from clusterscan.measure.reliability import squared_error
from clusterscan.measure.scores import scores_of

NAMES = ("a", "b", "c", "d")


def measured(label, probability, classes, positive=1, *, weight=None, groups=None, **options):
    return scores_of(
        labelled(label, probability, classes, positive, weight=weight, groups=groups), **options
    )


def value(entry):
    return entry["value"]


@pytest.mark.parametrize("positive", [0, 1])
def test_binary_measures_are_those_of_scikit_learn(binary, positive):
    label, probability = binary
    found = measured(label, probability, NAMES[:2], positive, bootstrap=0)
    chance = probability if positive == 1 else 1 - probability
    said = np.where(chance >= 0.5, positive, 1 - positive)
    mine = found["per_class"][NAMES[positive]]
    options = {"pos_label": positive}
    assert value(found["accuracy"]) == pytest.approx(sk.accuracy_score(label, said))
    assert value(found["balanced_accuracy"]) == pytest.approx(
        sk.balanced_accuracy_score(label, said)
    )
    assert value(mine["precision"]) == pytest.approx(sk.precision_score(label, said, **options))
    assert value(mine["recall"]) == pytest.approx(sk.recall_score(label, said, **options))
    assert value(mine["f1"]) == pytest.approx(sk.f1_score(label, said, **options))
    assert value(mine["f_beta"]) == pytest.approx(sk.fbeta_score(label, said, beta=2, **options))
    tn, fp, _, _ = sk.confusion_matrix(label == positive, said == positive).ravel()
    assert value(mine["fall_out"]) == pytest.approx(fp / (fp + tn))
    assert value(mine["roc_auc"]) == pytest.approx(sk.roc_auc_score(label == positive, chance))
    assert value(mine["average_precision"]) == pytest.approx(
        sk.average_precision_score(label == positive, chance)
    )
    assert value(found["brier"]) == pytest.approx(sk.brier_score_loss(label, probability))
    assert found["confusion"]["counts"] == sk.confusion_matrix(label, said).tolist()
    assert found["confusion"]["normalised"] == pytest.approx(
        sk.confusion_matrix(label, said, normalize="true")
    )


def test_measures_of_many_classes_are_those_of_scikit_learn(four_classes):
    label, probability = four_classes
    found = measured(label, probability, NAMES, bootstrap=0, beta=0.5)
    said = probability.argmax(axis=1)
    for average, mine in ((None, found["per_class"]), ("macro", found["macro"])):
        precision, recall, f1, _ = sk.precision_recall_fscore_support(label, said, average=average)
        f_beta = sk.fbeta_score(label, said, beta=0.5, average=average)
        auc = sk.roc_auc_score(label, probability, multi_class="ovr", average=average)
        ap = sk.average_precision_score(np.eye(4)[label], probability, average=average)
        for key, wanted in (
            ("precision", precision), ("recall", recall), ("f1", f1), ("f_beta", f_beta),
            ("roc_auc", auc), ("average_precision", ap),
        ):  # fmt: skip
            got = (
                value(mine[key])
                if average
                else np.array([value(mine[name][key]) for name in NAMES])
            )
            assert got == pytest.approx(wanted), key
    assert value(found["balanced_accuracy"]) == pytest.approx(value(found["macro"]["recall"]))
    brier = ((probability - np.eye(4)[label]) ** 2).sum(axis=1).mean()
    assert value(found["brier"]) == pytest.approx(brier)


def test_the_draws_of_the_bootstrap_have_the_values_scikit_learn_gives_them(four_classes):
    label, probability = four_classes
    objects = np.arange(500) // 3  # views of an object together
    data = labelled(label, probability, NAMES, groups=objects)
    times = np.concatenate(list(draws(data.n_objects, 500, 7, np.random.default_rng(1))))
    rankings = [Ranking(label == c, probability[:, c]) for c in range(4)]
    for one in times:
        weight = one[data.object]
        counts = cm.confusion(label, data.predicted, weight, 4)
        by_class = cm.class_measures(counts, beta=2.0)
        options = {"sample_weight": weight, "average": None}
        precision, recall, f1, _ = sk.precision_recall_fscore_support(
            label, data.predicted, **options
        )
        f_beta = sk.fbeta_score(label, data.predicted, beta=2.0, **options)
        for key, wanted in (
            ("precision", precision), ("recall", recall), ("f1", f1), ("f_beta", f_beta),
        ):  # fmt: skip
            assert by_class[key] == pytest.approx(wanted), key
        assert cm.accuracy(counts) == pytest.approx(
            sk.accuracy_score(label, data.predicted, sample_weight=weight)
        )
        assert cm.mean_over_classes(by_class["recall"]) == pytest.approx(
            sk.balanced_accuracy_score(label, data.predicted, sample_weight=weight)
        )
        for c, ranking in enumerate(rankings):
            area, average = ranking.areas(weight[None])
            arguments = (label == c, probability[:, c])
            assert area[0] == pytest.approx(sk.roc_auc_score(*arguments, sample_weight=weight))
            assert average[0] == pytest.approx(
                sk.average_precision_score(*arguments, sample_weight=weight)
            )


def test_a_binary_brier_score_is_that_of_the_positive_class(binary):
    label, probability = binary
    for positive in (0, 1):
        data = labelled(label, probability, NAMES[:2], positive)
        assert squared_error(data) == pytest.approx((probability - label) ** 2)


def test_weights_count_as_repeated_examples(binary):
    label, probability = binary
    weight = np.random.default_rng(2).integers(0, 4, 600)
    again = np.repeat(np.arange(600), weight)
    one = measured(label, probability, NAMES[:2], weight=weight, bootstrap=0)
    other = measured(label[again], probability[again], NAMES[:2], bootstrap=0)
    assert one["confusion"]["counts"] == other["confusion"]["counts"]
    for key in ("accuracy", "brier", "ece"):
        assert value(one[key]) == pytest.approx(value(other[key])), key
    for key in one["macro"]:
        assert value(one["macro"][key]) == pytest.approx(value(other["macro"][key])), key


def test_the_interval_of_a_proportion_is_the_binomial_one():
    n, share = 2000, 0.8
    label = np.zeros(n, dtype=int)
    probability = np.where(np.arange(n) < share * n, 0.1, 0.9)
    found = measured(label, probability, NAMES[:2], bootstrap=4000)["accuracy"]
    sigma = np.sqrt(share * (1 - share) / n)
    assert value(found) == pytest.approx(share)
    assert found["high"] - found["low"] == pytest.approx(2 * sigma, rel=0.06)
    assert (found["high"] + found["low"]) / 2 == pytest.approx(share, abs=0.15 * sigma)


def test_the_interval_of_the_roc_area_is_the_one_of_hanley_and_mcneil():
    # Exponential scores: area A = 1 / (1 + rate), for which their variance is exact.
    rng = np.random.default_rng(3)
    n, a = 700, 0.8
    label = np.repeat([0, 1], n)
    score = rng.exponential(1.0, 2 * n) * np.where(label == 1, a / (1 - a), 1.0)
    found = measured(label, 1 - np.exp(-score), NAMES[:2], bootstrap=2000)
    area = found["per_class"]["b"]["roc_auc"]
    q1, q2 = a / (2 - a), 2 * a**2 / (1 + a)
    variance = (a * (1 - a) + (n - 1) * (q1 - a**2) + (n - 1) * (q2 - a**2)) / n**2
    assert abs(area["value"] - a) < 3 * np.sqrt(variance)
    assert (area["high"] - area["low"]) / 2 == pytest.approx(np.sqrt(variance), rel=0.1)


def test_views_of_one_object_do_not_narrow_the_interval(binary):
    label, probability = binary
    label, probability, objects = label[:300], probability[:300], np.arange(300)
    once = measured(label, probability, NAMES[:2], groups=objects, bootstrap=500)
    nine = measured(
        np.tile(label, 9), np.tile(probability, 9), NAMES[:2], groups=np.tile(objects, 9),
        bootstrap=500,
    )  # fmt: skip
    loose = measured(np.tile(label, 9), np.tile(probability, 9), NAMES[:2], bootstrap=500)
    for key in ("accuracy", "brier"):
        assert nine[key] == pytest.approx(once[key])
        width = {k: v[key]["high"] - v[key]["low"] for k, v in
                 (("once", once), ("loose", loose))}  # fmt: skip
        assert width["loose"] == pytest.approx(width["once"] / np.sqrt(9), rel=0.2)
    assert nine["objects"] == 300


def test_intervals_of_named_objects_do_not_depend_on_the_order_of_the_rows(binary):
    label, probability = binary
    names = np.array([f"object {n // 2}" for n in range(600)])
    shuffle = np.random.default_rng(4).permutation(600)
    one = measured(label, probability, NAMES[:2], groups=names)
    other = measured(label[shuffle], probability[shuffle], NAMES[:2], groups=names[shuffle])
    assert other["macro"]["roc_auc"] == pytest.approx(one["macro"]["roc_auc"])
    assert other["accuracy"] == pytest.approx(one["accuracy"])


def test_the_number_of_draws_at_a_time_does_not_change_what_is_drawn(monkeypatch):
    from clusterscan.measure import intervals

    whole = np.concatenate(list(draws(40, 40, 30, np.random.default_rng(5))))
    monkeypatch.setattr(intervals, "_MOST_NUMBERS", 200)
    pieces = list(draws(40, 40, 30, np.random.default_rng(5)))
    assert len(pieces) == 6
    np.testing.assert_array_equal(np.concatenate(pieces), whole)
    np.testing.assert_array_equal(whole.sum(axis=1), 40)


def test_examples_without_an_object_are_objects_of_their_own():
    names = np.array(["x", "", None, "x", np.nan, "y"], dtype=object)
    data = labelled(np.zeros(6), np.zeros(6), NAMES[:2], groups=names)
    assert data.n_objects == 5
    assert data.object[0] == data.object[3]
    assert len(set(data.object.tolist())) == 5


def test_a_perfect_sample_is_not_said_to_be_exact():
    label = np.repeat([0, 1], 25)
    found = measured(label, label.astype(float), NAMES[:2])
    accuracy = found["accuracy"]
    exact = binomtest(50, 50).proportion_ci(0.6827, method="wilson")
    assert (accuracy["value"], accuracy["high"]) == (1, 1)
    assert accuracy["low"] == pytest.approx(exact.low, abs=1e-5)
    assert found["per_class"]["b"]["recall"]["low"] == pytest.approx(
        binomtest(25, 25).proportion_ci(0.6827, method="wilson").low, abs=1e-5
    )
    assert found["per_class"]["b"]["fall_out"]["high"] > 0.03
    assert found["per_class"]["b"]["roc_auc"] == {"value": 1, "low": None, "high": None}


def test_wilson_intervals_are_those_of_scipy():
    for k, n in ((0, 7), (3, 7), (7, 7), (40, 90)):
        exact = binomtest(k, n).proportion_ci(0.6827, method="wilson")
        assert wilson(k, n) == pytest.approx((exact.low, exact.high), abs=1e-6)


def test_a_class_without_examples_is_left_out_of_averages():
    label = np.array([0, 0, 1, 1])
    probability = np.array([[0.8, 0.1, 0.1], [0.1, 0.2, 0.7], [0.1, 0.8, 0.1], [0.1, 0.8, 0.1]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = measured(label, probability, NAMES[:3])
    assert {
        value(entry) for key, entry in found["per_class"]["c"].items() if key != "fall_out"
    } == {None}
    assert value(found["per_class"]["c"]["fall_out"]) == 1 / 4
    assert value(found["macro"]["recall"]) == pytest.approx((1 / 2 + 1) / 2)
    assert found["confusion"]["normalised"][2] == [None, None, None]
    assert found["support"] == {"a": 2, "b": 2, "c": 0}


def test_a_class_never_predicted_has_the_precision_0():
    found = measured(np.array([0, 1]), np.array([0.1, 0.2]), NAMES[:2])
    assert value(found["per_class"]["b"]["precision"]) == 0
    assert value(found["per_class"]["b"]["f1"]) == 0


def test_one_class_alone_leaves_areas_undefined():
    found = measured(np.ones(5, dtype=int), np.full(5, 0.7), NAMES[:2])
    assert value(found["accuracy"]) == 1
    assert value(found["per_class"]["b"]["recall"]) == 1
    assert value(found["per_class"]["b"]["fall_out"]) is None
    assert value(found["per_class"]["b"]["roc_auc"]) is None
    assert value(found["macro"]["average_precision"]) is None


def test_nothing_to_measure_measures_nothing():
    for probability in (np.empty(0), np.empty((0, 2))):
        found = measured(np.empty(0), probability, NAMES[:2])
        assert found["examples"] == found["objects"] == 0
        assert value(found["accuracy"]) is value(found["ece"]) is found["ece_floor"] is None
        assert value(found["macro"]["f1"]) is None
        assert found["confusion"]["counts"] == [[0, 0], [0, 0]]
    assert measured([], np.empty((0, 3)), NAMES[:3])["accuracy"]["value"] is None


@pytest.mark.parametrize(
    ("label", "probability", "options", "text"),
    [
        ([0, 1], [0.2, np.nan], {}, "first \\[nan, nan\\] at row 1"),
        ([0, 1], [0.2, 1.5], {}, "lie outside \\[0, 1\\]"),
        ([0, 1], [[0.2, 0.2], [0.5, 0.5]], {}, "add up to 1"),
        ([0, np.nan], [0.2, 0.4], {}, "label: 1 of 2 .* first nan at row 1"),
        ([0, 2], [0.2, 0.4], {}, "0 to 1 \\(a, b\\)"),
        ([0, -1], [0.2, 0.4], {}, "not one of"),
        (["a", "b"], [0.2, 0.4], {}, "'a'.* not class numbers"),
        ([0, 1, 1], [0.2, 0.4], {}, "3 labels but probabilities of 2"),
        ([0, 1], np.full((2, 3), 1 / 3), {}, "does not fit 2 classes"),
        ([0, 1], [0.2, 0.4], {"weight": [1, np.nan]}, "weight"),
        ([0, 1], [0.2, 0.4], {"weight": [1, -1]}, "weight"),
        ([0, 1], [0.2, 0.4], {"groups": ["x"]}, "groups"),
        ([0, 1], [0.2, 0.4], {"positive": 2}, "positive = 2"),
    ],
)
def test_impossible_input_is_refused_with_its_row(label, probability, options, text):
    with pytest.raises(ProductError, match=text):
        measured(np.array(label), np.array(probability), NAMES[:2], **options)


def test_class_names_must_differ():
    with pytest.raises(ProductError, match="different names"):
        measured([0, 1], np.eye(2), ("a", "a"))


def test_draws_that_cannot_say_give_no_interval():
    assert interval(np.array([0.5, 0.5, 0.5])) is None
    assert interval(np.array([0.5, np.nan, np.nan, np.nan, 0.6])) is None
    assert interval(np.empty(0)) is None
    assert shifted_interval(np.full(3, 0.1), 0.05) is None


def test_percentiles_of_gaussian_draws_are_one_sigma_away():
    drawn = norm.ppf((np.arange(20000) + 0.5) / 20000)
    assert interval(drawn) == pytest.approx((-1, 1), abs=1e-3)
    assert shifted_interval(drawn + 5, 3.0) == pytest.approx((2, 4), abs=1e-3)
    assert shifted_interval(drawn + 5, 0.5)[0] == 0
