"""Rows of the catalogue: classes, survey means, matches with known and true clusters."""

import numpy as np
import pandas as pd
import pytest

from clusterscan.formats.catalogue_columns import catalogue_columns
from clusterscan.publish.catalogue import Truth, catalogue_rows, classes, survey_means

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


def test_an_object_is_true_only_by_a_cluster_that_counts_and_each_cluster_once():
    objects = pd.DataFrame(
        {
            "ra_deg": [10.0, 10.01, 20.0], "dec_deg": [0.0, 0.0, 0.0], "prob": [0.6, 0.9, 0.8],
            "known_row": [0, -1, -1], "forced_act_net": [0.5, 0.6, 0.7], "split": ["test"] * 3,
        }
    )  # fmt: skip
    known = pd.DataFrame(
        {
            "catalogues": ["sz"], "sz_name": ["A"], "sz_sep_arcsec": [3.0], "z": [0.3],
            "z_type": ["spec"], "z_source": ["sz"], "m500c_msun": [3e14], "m500c_source": ["sz"],
            "conflicts": [2], "sz_row": [1], "sz_ra_deg": [10.0], "sz_dec_deg": [0.01],
        }
    )  # fmt: skip
    truth = pd.DataFrame(
        {
            "name": ["big", "small"], "ra_deg": [10.006, 20.0], "dec_deg": [0.0, 0.0],
            "z": [0.3, 0.2], "m500c_msun": [4e14, 1e13],
        }
    )  # fmt: skip
    rows = catalogue_rows(
        objects, known, ["sz"], purities=(0.8,),
        truth=Truth(truth, cut={"m500c_msun": (5e13, None)}),
        filter_snr={"act": np.array([1.0, 2.0, 3.0])},
    )  # fmt: skip
    assert rows["truth_name"].tolist() == ["", "big", ""]
    assert rows["truth_sep_arcsec"][1] == pytest.approx(0.004 * 3600)
    assert rows["class"].tolist() == ["recovered", "new", "new"]  # in the test region
    assert rows["sz_name"].tolist() == ["A", "", ""]
    # From the object itself to that catalogue's own position.
    np.testing.assert_allclose(rows["sz_sep_arcsec"], [36.0, np.nan, np.nan])
    assert 0 <= rows["sz_p_chance"][0] < 1e-3
    assert rows["known_conflicts"].tolist() == [2, -1, -1]
    np.testing.assert_allclose(rows["purity"], [2.3 / 3, 0.9, 0.85])
    np.testing.assert_array_equal(rows["purity_sample"], [np.nan, 0.8, 0.8])
    assert rows["prob_act_net"].tolist() == [0.5, 0.6, 0.7]
    assert rows["snr_act_filter"].tolist() == [1.0, 2.0, 3.0]
