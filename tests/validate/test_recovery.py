"""Completeness and purity against counts made by hand."""

import json

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from clusterscan.catalogs.matching import match_by_score
from clusterscan.config.validation import Binning, ValidateSettings
from clusterscan.core.errors import CatalogueError
from clusterscan.measure.intervals import wilson
from clusterscan.validate import completeness_at_purity, recovery, validate
from clusterscan.validate.performance import chance_rate, offsets, purity_in_bins, shifted

SETTINGS = ValidateSettings(radius_arcmin=2.0, n_bootstrap=200)


def everywhere(ra, dec):
    return np.ones(np.shape(ra), dtype=bool)


def hand_made():
    """Six clusters (one light, one without a redshift) and seven objects, on a line, 1 deg apart.

    Objects: 0.9 true, 0.8 on nothing, 0.7 true, 0.6 a second one on the first cluster,
    0.5 on the light cluster (real, but not wanted), 0.4 true, 0.3 on nothing.
    """
    truth = pd.DataFrame(
        {
            "ra_deg": [1.0, 2, 3, 4, 5, 6],
            "dec_deg": 0.0,
            "z": [0.2, 0.4, 0.6, 0.8, 0.5, np.nan],
            "m500c_msun": [2e14, 3e14, 4e14, 5e14, 6e13, 2e14],
        }
    )
    objects = pd.DataFrame(
        {
            "ra_deg": [1.01, 10.0, 2.0, 0.99, 5.0, 3.02, 11.0],
            "dec_deg": 0.0,
            "score": [0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3],
        }
    )
    return objects, truth


def test_curves_of_a_hand_made_catalogue():
    objects, truth = hand_made()
    curve = recovery(objects, truth, settings=SETTINGS, in_region=everywhere).curve
    assert curve.threshold.tolist() == [0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3]
    assert curve.n_true.tolist() == [1, 1, 2, 2, 3, 4, 4]
    assert curve.n_truth == 4  # the light one and the one without z are not asked for
    assert curve.n_found.tolist() == [1, 1, 2, 2, 2, 3, 3]
    np.testing.assert_allclose(curve.purity, [1, 1 / 2, 2 / 3, 2 / 4, 3 / 5, 4 / 6, 4 / 7])
    assert curve.average_precision == pytest.approx((1 + 2 / 3 + 4 / 6) / 4)


def test_completeness_at_a_purity_looks_past_dips():
    objects, truth = hand_made()
    curve = recovery(objects, truth, settings=SETTINGS, in_region=everywhere).curve
    at = completeness_at_purity(curve, 0.65)
    assert (at["threshold"], at["n"], at["n_found"], at["completeness"]) == (0.4, 6, 3, 0.75)
    assert completeness_at_purity(curve, 0.9)["completeness"] == 0.25
    poor = recovery(objects.iloc[[1]], truth, settings=SETTINGS, in_region=everywhere).curve
    assert completeness_at_purity(poor, 0.5)["threshold"] is None


def test_equal_scores_enter_together():
    objects, truth = hand_made()
    curve = recovery(
        objects.assign(score=0.5), truth, settings=SETTINGS, in_region=everywhere
    ).curve
    assert curve.n.tolist() == [7]
    assert curve.n_found.tolist() == [3]


def test_the_region_counts_only_its_own_but_matches_across_its_border():
    objects, truth = hand_made()
    # The border runs between the object at 1.01 and its cluster at 1.0.
    found = recovery(objects, truth, settings=SETTINGS, in_region=lambda ra, dec: ra > 1.005)
    assert found.is_true[0]
    assert found.curve.n_truth == 3
    assert found.curve.n[-1] == 6


def test_the_best_object_takes_the_cluster_though_another_is_closer():
    objects = pd.DataFrame({"ra_deg": [1.02, 1.0], "dec_deg": 0.0, "score": [0.9, 0.5]})
    match, separation = match_by_score(
        objects, pd.DataFrame({"ra_deg": [1.0], "dec_deg": 0.0}), 2.0
    )
    assert match.tolist() == [0, -1]
    assert separation[0] == pytest.approx(1.2, rel=1e-6)


def test_wilson_intervals_agree_with_astropy():
    from astropy.stats import binom_conf_interval

    k, n = np.array([0, 3, 10, 10]), np.array([10, 10, 10, 400])
    ours = wilson(k, n, 0.6827)
    np.testing.assert_allclose(
        ours, binom_conf_interval(k, n, 0.6827, interval="wilson"), atol=1e-12
    )
    assert np.isnan(wilson(np.array(0), np.array(0), 0.9)).all()


def test_purity_in_bins_uses_the_catalogues_value_and_counts_the_unmatched():
    # Members are wanted; other galaxies of the catalogue make an object false in their bin.
    catalogue = pd.DataFrame(
        {
            "ra_deg": [1.0, 2, 3, 4],
            "dec_deg": 0.0,
            "rmag": [15.0, 17, 15, 17],
            "member": [1, 1, 0, 0],
        }
    )
    settings = ValidateSettings(
        radius_arcmin=0.05, chance_shift_arcmin=1, purity_cut={"member": (1, None)},
        completeness_cut={"member": (1, None)}, bins=(Binning(column="rmag", edges=(14, 16, 18)),),
    )  # fmt: skip
    objects = pd.DataFrame(
        {"ra_deg": [1.0, 3.0, 4.0, 9.0], "dec_deg": 0.0, "score": [0.9, 0.8, 0.7, 0.6]}
    )
    found = recovery(objects, catalogue, settings=settings, in_region=everywhere)
    bins = purity_in_bins(found, objects, catalogue, settings.bins[0], 0.0, settings)
    assert (bins["n"], bins["k"], bins["n_unmatched"]) == ([2, 1], [1, 0], 1)
    assert bins["value"] == [0.5, 0.0]


def random_sky(seed, n=4000, found=0.7, size_deg=20.0, n_false=2000):
    rng = np.random.default_rng(seed)
    truth = pd.DataFrame(
        {
            "ra_deg": rng.uniform(0, size_deg, n),
            "dec_deg": rng.uniform(-size_deg / 2, size_deg / 2, n),
            "z": rng.uniform(0.1, 1.2, n),
            "m500c_msun": 1.5e14,
        }
    )
    seen = truth.sample(frac=found, random_state=seed)
    real = pd.DataFrame(
        {
            "ra_deg": seen["ra_deg"] + rng.normal(0, 20 / 3600, len(seen)),
            "dec_deg": seen["dec_deg"] + rng.normal(0, 20 / 3600, len(seen)),
            "score": rng.normal(2, 1, len(seen)),
        }
    )
    false = pd.DataFrame(
        {
            "ra_deg": rng.uniform(0, size_deg, n_false),
            "dec_deg": rng.uniform(-size_deg / 2, size_deg / 2, n_false),
            "score": rng.normal(0, 1, n_false),
        }
    )
    return pd.concat([real, false], ignore_index=True), truth


def test_chance_matches_follow_the_density_of_clusters():
    objects, truth = random_sky(1)
    objects = objects[objects["ra_deg"].between(2, 18) & (objects["dec_deg"].abs() < 8)]
    rate = chance_rate(objects, truth, -np.inf, SETTINGS)
    density = len(truth) / np.trapezoid(
        20 * np.cos(np.radians(np.linspace(-10, 10))), np.linspace(-10, 10)
    )
    expected = 1 - np.exp(-density * np.pi * (2.0 / 60) ** 2)
    assert rate == pytest.approx(expected, rel=0.2)


def test_shifts_have_the_length_and_direction_asked_for():
    from astropy import units as u
    from astropy.coordinates import SkyCoord

    ra, dec = np.array([0.0, 10.0, 359.9]), np.array([0.0, 80.0, -60.0])
    for angle in (0.0, 1.0, 4.0):
        expected = SkyCoord(ra, dec, unit="deg").directional_offset_by(angle * u.rad, 20 * u.arcmin)
        moved = shifted(ra, dec, 20.0, angle)
        np.testing.assert_allclose(moved, [expected.ra.deg, expected.dec.deg], atol=1e-9)


def test_offsets_recover_the_position_error_that_was_put_in():
    objects, truth = random_sky(2, n_false=0)
    found = recovery(objects, truth, settings=SETTINGS, in_region=everywhere)
    measured = offsets(found, -np.inf, SETTINGS)
    assert measured["rayleigh_sigma_arcsec"] == pytest.approx(20, rel=0.05)
    assert measured["tail"] == pytest.approx(np.exp(-4.5), abs=0.006)
    assert sum(measured["counts"]) == measured["n"]


def test_a_better_method_is_recognised_and_an_equal_one_is_not():
    good, truth = random_sky(3, n=600, found=0.9, n_false=300)
    poor = good.assign(score=np.random.default_rng(4).normal(0, 2.5, len(good)) + good["score"])
    methods = {"good": good, "poor": poor, "same": good.sample(frac=1, random_state=1)}
    report = validate(
        methods, truth, settings=SETTINGS, in_region=everywhere, seed=1,
        comparisons=[("good", "poor"), ("same", "good")], known={"all": truth},
    )  # fmt: skip
    better, same = report["comparisons"][1]["differences"]
    assert better["difference"] > 0.05
    assert better["low"] > 0
    assert better["p_better"] > 0.99
    assert (same["difference"], same["p_better"]) == (0, 0.5)
    for name in ("good", "poor"):
        interval = report["comparisons"][1]["methods"][name]
        assert interval["low"] <= interval["completeness"] <= interval["high"]
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    reference = report["methods"]["good"]["reference"]
    assert reference["reached"]
    assert reference["purity"]["value"] >= SETTINGS.reference_purity
    assert report["methods"]["good"]["known"]["all"]["value"] == pytest.approx(
        reference["completeness"]["value"], abs=0.02
    )


def test_the_ratio_of_completenesses_has_the_interval_of_redrawn_skies():
    _, truth = random_sky(6, n=400)
    everything = truth.assign(score=1.0)
    half = everything[np.arange(len(truth)) % 2 == 0]
    nothing = everything.iloc[:0]
    report = validate(
        {"all": everything, "half": half, "none": nothing}, truth, settings=SETTINGS,
        in_region=everywhere, comparisons=[("all", "half"), ("all", "none"), ("none", "none")],
    )  # fmt: skip
    half, none, empty = report["comparisons"][0]["differences"]
    assert half["ratio_low"] < half["ratio"] < half["ratio_high"]
    assert half["ratio"] == pytest.approx(2, rel=0.1)
    # Of 400 redrawn clusters a half +- 1/40 is found: the ratio varies by 2 / sqrt(400).
    assert half["ratio_high"] - half["ratio_low"] == pytest.approx(4 / np.sqrt(400), rel=0.5)
    assert none["ratio"] is none["ratio_low"] is none["ratio_high"] is None  # infinite
    assert (empty["ratio_low"], empty["ratio_high"]) == (1, 1)


def test_the_report_does_not_depend_on_the_order_of_objects():
    objects, truth = random_sky(5, n=200, n_false=100)

    def report(table):
        return validate({"m": table}, truth, settings=SETTINGS, in_region=everywhere, seed=3)

    assert report(objects.sample(frac=1, random_state=2)) == report(objects)


def test_a_method_without_objects_has_an_empty_curve_and_no_completeness():
    _, truth = hand_made()
    nothing = pd.DataFrame({"ra_deg": [], "dec_deg": [], "score": []}, dtype=float)
    report = validate(
        {"none": nothing}, truth, settings=SETTINGS, in_region=everywhere, known={"truth": truth}
    )["methods"]["none"]
    assert report["curve"]["threshold"] == []
    assert report["reference"]["completeness"]["value"] == 0
    assert report["reference"]["purity"]["value"] is None
    assert [at["completeness"] for at in report["at_purity"]] == [0, 0, 0]


def test_impossible_input_is_refused():
    objects, truth = hand_made()
    with pytest.raises(CatalogueError, match="no score"):
        recovery(objects.assign(score=np.nan), truth, settings=SETTINGS, in_region=everywhere)
    with pytest.raises(CatalogueError, match="no position"):
        recovery(objects.assign(ra_deg=np.nan), truth, settings=SETTINGS, in_region=everywhere)
    with pytest.raises(CatalogueError, match="completeness_cut"):
        recovery(objects, truth.drop(columns="z"), settings=SETTINGS, in_region=everywhere)
    with pytest.raises(CatalogueError, match="cannot compare"):
        validate(
            {"a": objects}, truth, settings=SETTINGS, in_region=everywhere, comparisons=[("a", "b")]
        )
    with pytest.raises(ValidationError, match="twice"):
        ValidateSettings(radius_arcmin=15)
    with pytest.raises(ValidationError, match="rise"):
        Binning(column="z", edges=(1, 0))
