import numpy as np
import pytest

from clusterscan.train.metrics import classification_metrics, recall_by_redshift


def test_measures_of_a_case_worked_out_by_hand():
    label = np.array([0, 0, 1, 1, 1])
    probability = np.array([0.1, 0.6, 0.4, 0.8, 0.9])
    found = classification_metrics(label, probability)
    assert found["confusion_matrix"] == [[1, 1], [1, 2]]
    assert found["accuracy"] == pytest.approx(3 / 5)
    assert found["precision"] == pytest.approx(2 / 3)
    assert found["recall"] == pytest.approx(2 / 3)
    assert found["f1"] == pytest.approx(2 / 3)
    # Of the 6 pairs of a positive and a negative, one is in the wrong order.
    assert found["roc_auc"] == pytest.approx(5 / 6)
    # Recall rises by a third at precisions 1/1, 2/2 and 3/4.
    assert found["average_precision"] == pytest.approx((1 + 1 + 3 / 4) / 3)
    assert found["brier"] == pytest.approx((0.01 + 0.36 + 0.36 + 0.04 + 0.01) / 5)


def test_a_missing_class_leaves_the_measures_that_need_it_empty():
    found = classification_metrics(np.zeros(4), np.full(4, 0.2))
    assert found["accuracy"] == 1
    assert found["roc_auc"] is None
    assert found["roc"] is None
    assert classification_metrics(np.zeros(0), np.zeros(0))["examples"] == 0


def test_long_curves_are_thinned_but_keep_their_ends():
    rng = np.random.default_rng(1)
    label = rng.integers(2, size=5000)
    found = classification_metrics(label, np.clip(rng.normal(label, 1.0) / 4 + 0.5, 0, 1))
    x, y = found["roc"].values()
    assert len(x) == len(y) <= 200
    assert (x[0], y[0], x[-1], y[-1]) == (0, 0, 1, 1)
    # Two unit Gaussians one sigma apart: area Phi(1 / sqrt(2)) = 0.760.
    assert found["roc_auc"] == pytest.approx(0.760, abs=0.02)


def test_recall_by_redshift_counts_each_object_once():
    redshift = np.array([0.0, 0.2, 0.5, 1.0, np.nan])
    rows = recall_by_redshift(
        redshift, np.array([0.9, 0.1, 0.9, 0.9, 0.9]), np.array([0, 0.5, 1.0])
    )
    assert [(r["positives"], r["found"]) for r in rows] == [(2, 1), (2, 2)]
    assert recall_by_redshift(redshift[:0], redshift[:0], np.array([0, 1]))[0]["recall"] is None
