"""What the report says of a probability whose truth is known."""

import numpy as np
import pandas as pd
import pytest

from clusterscan.config.validation import ValidateSettings
from clusterscan.publish.report_quality import probability_section
from clusterscan.validate.performance import rounded
from clusterscan.validate.probability import probability_report

SETTINGS = ValidateSettings(
    radius_arcmin=1.0, chance_shift_arcmin=5.0, completeness_cut={}, purity_cut={}
)


def sky(n=6000, seed=0):
    """Objects on a grid, each with its own probability of having a cluster at its place."""
    rng = np.random.default_rng(seed)
    ra, dec = (a.ravel() for a in np.meshgrid(np.arange(100) * 0.1, np.arange(n // 100) * 0.1))
    prob = rng.beta(0.5, 1.0, n)
    real = rng.random(n) < prob
    objects = pd.DataFrame(
        {
            "ra_deg": ra, "dec_deg": dec, "prob": prob, "prob_err": 0.01, "prob_raw": prob**0.5,
            "prob_listed": prob / 2, "by_mean": prob**2,
            "known_row": np.where(real & (rng.random(n) < 0.5), 1, -1),
        }
    )  # fmt: skip
    return objects, pd.DataFrame({"ra_deg": ra[real], "dec_deg": dec[real]}), real


def report(objects, truth):
    return probability_report(
        objects, truth, settings=SETTINGS, in_region=lambda ra, dec: dec > 1.0,
        purities=(0.8, 0.99999), record={"combination": "mean", "method": "platt"},
    )  # fmt: skip


def test_a_true_probability_is_reliable_and_keeps_its_promise():
    objects, truth, real = sky()
    found = report(objects, truth)
    assert found["ece"] < 2 * found["ece_floor"] < 0.05
    assert found["listed"]["ece"] < 0.05
    assert found["uncalibrated"]["ece"] > 0.1
    assert found["n_real"] == real[objects["dec_deg"] > 1.0].sum()
    for row in found["purity"]:
        assert row["true"]["value"] == pytest.approx(row["expected"], abs=0.05)


def test_the_samples_promise_is_that_of_the_catalogue_and_an_unreached_one_is_empty():
    objects, truth, _ = sky()
    pure, never = report(objects, truth)["samples"]
    chosen = objects["prob"] >= pure["threshold"]
    assert pure["n_catalogue"] == chosen.sum()
    assert objects["prob"][chosen].mean() >= 0.8
    assert pure["true"]["n"] == (chosen & (objects["dec_deg"] > 1.0)).sum()
    assert never["n_catalogue"] in (0, 1)


def test_the_section_says_that_simulated_truth_is_simulated():
    objects, truth, _ = sky(3000)
    measured = rounded(report(objects, truth))
    section = probability_section(measured, simulated=True)
    assert "(simulated)" in section.lead
    assert len(section.pictures) == 2
    assert probability_section({}, simulated=True).is_empty
