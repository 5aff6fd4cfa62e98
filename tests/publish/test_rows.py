"""Classes, and what a survey's networks say together."""

import numpy as np
import pandas as pd

from clusterscan.formats.catalogue_columns import catalogue_columns
from clusterscan.publish.catalogue import classes, survey_means

MODELS = [("act", "a"), ("act", "b"), ("act", "filter"), ("unwise", "a")]


def test_only_known_clusters_of_the_test_region_were_recovered_rather_than_learnt():
    known = np.array([True, True, True, True, False, False])
    split = np.array(["train", "validation", "", "test", "test", "train"])
    assert classes(known, split).tolist() == ["known", "known", "known", "recovered", "new", "new"]


def test_a_survey_says_the_mean_of_its_networks_that_have_a_value():
    rows = pd.DataFrame(
        {
            "prob_act_a": [0.2, np.nan, np.nan],
            "prob_act_b": [0.6, 0.4, np.nan],
            "snr_act_filter": [9.0, 9.0, 9.0],
            "prob_unwise_a": [0.9, 0.1, np.nan],
            "pcal_unwise_a": [0.8, 0.2, np.nan],
        }
    )
    means = survey_means(rows, MODELS)
    np.testing.assert_allclose(means["prob_act"], [0.4, 0.4, np.nan])
    np.testing.assert_allclose(means["prob_unwise"], [0.9, 0.1, np.nan])
    np.testing.assert_allclose(means["pcal_unwise"], [0.8, 0.2, np.nan])
    assert "pcal_act" not in means  # no network of it was calibrated


def test_every_survey_with_a_network_has_its_columns_and_no_other():
    names = [c.name for c in catalogue_columns([*MODELS, ("hsc", "filter")])]
    assert {"prob_act", "pcal_act", "prob_unwise", "pcal_unwise"} <= set(names)
    assert "prob_hsc" not in names
