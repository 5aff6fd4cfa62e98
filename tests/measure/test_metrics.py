"""metrics.json: plain numbers, intervals beside them, curves."""

import json

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from clusterscan.core.errors import ProductError
from clusterscan.measure.confusion_and_curves import precision_recall, roc
from clusterscan.measure.labelled import calibrated, labelled, to_labelled
from clusterscan.measure.scores import metrics_of, prediction_metrics

# What the report and earlier readers of metrics.json rely on.
PLAIN = (
    "examples", "positives", "threshold", "accuracy", "precision", "recall", "f1", "brier",
    "confusion_matrix", "roc_auc", "average_precision", "roc", "precision_recall",
)  # fmt: skip


def test_measures_of_a_case_worked_out_by_hand():
    label = np.array([0, 0, 1, 1, 1])
    probability = np.array([0.1, 0.6, 0.4, 0.8, 0.9])
    found = metrics_of(labelled(label, probability, "ab"))
    assert found["confusion_matrix"] == [[1, 1], [1, 2]]
    assert found["accuracy"] == pytest.approx(3 / 5)
    assert found["balanced_accuracy"] == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert found["precision"] == pytest.approx(2 / 3)
    assert found["recall"] == pytest.approx(2 / 3)
    assert found["f1"] == pytest.approx(2 / 3)
    assert found["f_beta"] == pytest.approx(2 / 3)  # of equal precision and recall
    assert found["fall_out"] == pytest.approx(1 / 2)
    # Of the 6 pairs of a positive and a negative, one is in the wrong order.
    assert found["roc_auc"] == pytest.approx(5 / 6)
    # Recall rises by a third at precisions 1/1, 2/2 and 3/4.
    assert found["average_precision"] == pytest.approx((1 + 1 + 3 / 4) / 3)
    assert found["brier"] == pytest.approx((0.01 + 0.36 + 0.36 + 0.04 + 0.01) / 5)
    # Each example has a bin of its own.
    assert found["ece"] == pytest.approx((0.1 + 0.6 + 0.6 + 0.2 + 0.1) / 5)


def test_metrics_are_json_with_the_plain_keys_and_intervals(binary, four_classes):
    found = json.loads(json.dumps(metrics_of(labelled(*binary, "ab")), allow_nan=False))
    assert set(PLAIN) <= set(found)
    assert isinstance(found["roc_auc"], float)
    for name, (low, high) in found["intervals"].items():
        assert low <= found[name] <= high, name
    names = ("a", "b", "c", "d")
    found = json.loads(json.dumps(metrics_of(labelled(*four_classes, names)), allow_nan=False))
    assert found["positive"] is None
    assert found["f1"] == found["macro_f1"]
    assert set(found["curves"]) == set(names)
    assert "roc" not in found


def test_a_missing_class_leaves_the_measures_that_need_it_empty():
    found = metrics_of(labelled(np.zeros(4), np.full(4, 0.2), "ab"))
    assert found["accuracy"] == 1
    assert found["roc_auc"] is found["roc"] is found["precision_recall"] is None
    empty = metrics_of(labelled(np.zeros(0), np.zeros(0), "ab"))
    assert empty["examples"] == empty["positives"] == 0
    assert empty["accuracy"] is None
    assert empty["intervals"] == {}
    json.dumps(empty, allow_nan=False)


def test_long_curves_are_thinned_but_keep_their_ends_and_area():
    rng = np.random.default_rng(1)
    label = rng.integers(2, size=5000)
    probability = np.clip(rng.normal(label, 1.0) / 8 + 0.5, 0, 1)
    found = metrics_of(labelled(label, probability, "ab"), bootstrap=0)
    x, y = found["roc"].values()
    assert len(x) == len(y) <= 200
    assert (x[0], y[0], x[-1], y[-1]) == (0, 0, 1, 1)
    # Two unit Gaussians one sigma apart: area Phi(1 / sqrt(2)) = 0.760.
    assert found["roc_auc"] == pytest.approx(norm.cdf(1 / np.sqrt(2)), abs=0.02)
    assert np.trapezoid(y, x) == pytest.approx(found["roc_auc"], abs=0.003)


def test_thinned_curves_of_rare_positives_keep_the_part_that_matters():
    rng = np.random.default_rng(2)
    label = np.zeros(40_000, dtype=int)
    label[:400] = 1
    score = rng.normal(3.0 * label, 1.0)
    curve = precision_recall(label == 1, score)
    recall, precision = np.array(curve["recall"]), np.array(curve["precision"])
    assert len(recall) <= 200
    assert (recall[0], recall[-1], precision[-1]) == (1, 0, 1)
    assert np.abs(np.diff(recall)).max() < 0.03
    from sklearn.metrics import average_precision_score

    steps = -np.diff(recall)
    assert (steps * precision[:-1]).sum() == pytest.approx(
        average_precision_score(label, score), abs=0.02
    )
    assert len(roc(label == 1, score)["false_positive_rate"]) <= 200


def predictions(label, probability):
    n = len(label)
    return pd.DataFrame(
        {
            "example_id": [f"e{k}" for k in range(n)],
            "object_id": [f"o{k // 3}" if k % 2 else "" for k in range(n)],
            "label": label,
            "probability_field": 1 - probability,
            "probability_cluster": probability,
        }
    )


CLASSES = ("field", "cluster")


def test_a_table_of_predictions_measures_like_its_arrays(binary):
    table = predictions(*binary)
    found = prediction_metrics(table, CLASSES, bootstrap=0)
    same = metrics_of(labelled(*binary, CLASSES), bootstrap=0)
    assert found["roc_auc"] == same["roc_auc"]
    # 300 examples without an object, and 300 that show two views or one of 200 objects.
    assert found["objects"] == 300 + table.loc[table["object_id"] != "", "object_id"].nunique()


def test_calibration_of_a_table_changes_probabilities_alone(binary):
    table = predictions(*binary)
    found = calibrated(table, CLASSES, {"kind": "temperature", "temperature": 2.0})
    assert list(found) == list(table)
    np.testing.assert_array_equal(found["label"], table["label"])
    odds = found["probability_cluster"] / found["probability_field"]
    before = table["probability_cluster"] / table["probability_field"]
    np.testing.assert_allclose(odds, np.sqrt(before), rtol=1e-6)
    pd.testing.assert_frame_equal(calibrated(table, CLASSES, None), table)


def test_a_table_that_does_not_fit_the_classes_is_refused(binary):
    table = predictions(*binary)
    with pytest.raises(ProductError, match="no column probability_star"):
        prediction_metrics(table, ("field", "star"))
    with pytest.raises(ProductError, match="no column label"):
        to_labelled(table.drop(columns="label"), CLASSES)
    with pytest.raises(ProductError, match="no column vote"):
        to_labelled(table, CLASSES, weight="vote")
    table["vote"] = np.arange(len(table))
    assert to_labelled(table, CLASSES, weight="vote").weight.sum() == 600 * 599 / 2
