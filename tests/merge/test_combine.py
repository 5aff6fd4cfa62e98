"""The combination of models against scikit-learn's logistic regression."""

import json

import numpy as np
import pytest
from scipy.special import expit

from clusterscan.core.errors import CatalogueError
from clusterscan.merge import Combiner, combine, fit_combiner
from clusterscan.merge.combine import plain_combiner


def sample(n=500, seed=0):
    rng = np.random.default_rng(seed)
    known = rng.random(n) < 0.4
    x = np.stack([2 * known + rng.normal(0, 1, n), known + rng.normal(0, 1.5, n)], axis=1) * 3 - 1
    return x, known


def test_the_fit_agrees_with_scikit_learn():
    from sklearn.linear_model import LogisticRegression

    x, known = sample()
    z = (x - x.mean(axis=0)) / x.std(axis=0)
    peer = LogisticRegression(C=1.0, tol=1e-10, max_iter=1000).fit(z, known)
    ours = fit_combiner(x, known, ["a", "b"])
    np.testing.assert_allclose(ours.weight, peer.coef_[0], rtol=1e-4)
    np.testing.assert_allclose(combine(ours, x), peer.predict_proba(z)[:, 1], atol=1e-4)


def test_missing_values_agree_with_scikit_learns_indicators():
    from sklearn.linear_model import LogisticRegression

    x, known = sample(800, 1)
    gone = np.random.default_rng(2).random(x.shape) < np.where(known[:, None], 0.1, 0.4)
    gone[gone.all(axis=1)] = False
    x = np.where(gone, np.nan, x)
    z = np.nan_to_num((x - np.nanmean(x, axis=0)) / np.nanstd(x, axis=0))
    peer = LogisticRegression(C=1.0, tol=1e-10, max_iter=2000).fit(np.hstack([z, gone]), known)
    ours = fit_combiner(x, known, ["a", "b"])
    expected = peer.predict_proba(np.hstack([z, gone]))[:, 1]
    np.testing.assert_allclose(combine(ours, x), expected, atol=1e-4)
    assert min(ours.missing) < 0  # missing more often where nothing is known


def test_no_model_counts_against_an_object():
    x, known = sample()
    twin = np.stack([x[:, 0], -x[:, 0] + 0.1 * x[:, 1]], axis=1)
    ours = fit_combiner(twin, known, ["a", "b"])
    assert min(ours.weight) >= 0


def test_too_few_examples_fall_back_to_the_mean_logit():
    x, _ = sample(20)
    x[3, 1] = np.nan
    x[4] = np.nan
    few = np.arange(20) < 7
    ours = fit_combiner(x, few, ["a", "b"])
    assert ours.kind == "logit_mean"
    prob = combine(ours, x)
    assert prob[0] == pytest.approx(expit(x[0].mean()))
    assert prob[3] == pytest.approx(expit(x[3, 0]))
    assert prob[4] == 0


def test_plain_combinations_are_what_their_names_say():
    x = np.array([[2.0, -1.0], [np.nan, 0.5], [np.nan, np.nan]])
    mean = combine(plain_combiner(["a", "b"], "mean"), x)
    np.testing.assert_allclose(mean, [(expit(2) + expit(-1)) / 2, expit(0.5), 0.0], rtol=1e-6)
    alone = combine(plain_combiner(["a", "b"], "single", "a"), x)
    np.testing.assert_allclose(alone, [expit(2), expit(0.5), 0.0])
    with pytest.raises(CatalogueError, match="stand alone"):
        plain_combiner(["a"], "single", "z")


def test_a_combiner_survives_json():
    x, known = sample()
    ours = fit_combiner(x, known, ["a", "b"])
    again = Combiner.from_dict(json.loads(json.dumps(ours.to_dict())))
    np.testing.assert_array_equal(combine(again, x), combine(ours, x))


def test_each_object_is_combined_by_itself():
    x, known = sample()
    ours = fit_combiner(x, known, ["a", "b"])
    np.testing.assert_array_equal(combine(ours, x)[17:30], combine(ours, x[17:30]))


def test_features_and_labels_must_agree():
    with pytest.raises(CatalogueError, match="must agree"):
        fit_combiner(np.zeros((3, 1)), np.zeros(2, bool), ["a"])
