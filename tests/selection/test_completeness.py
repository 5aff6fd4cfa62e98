"""Completeness, limits, null skies and random positions against what was put in."""

import numpy as np
import pandas as pd
import pytest

from clusterscan.config.validation import InjectionGrid, SelectionSettings
from clusterscan.measure.offsets import core_and_tail, fit_offsets
from clusterscan.publish.report_selection import selection_section
from clusterscan.selection.completeness import (
    Completeness,
    binned,
    fit_completeness,
    limits,
    tile_shift,
)
from clusterscan.selection.probe import injected_in
from clusterscan.selection.probe_report import injection_report, null_report, recovered
from clusterscan.validate.performance import rounded

GRID = InjectionGrid()
TRUE = Completeness(level=-0.3, slope=0.5, bend=0.0, width=0.3, ceiling=0.95)


def injected(n=6000, seed=0, shift=0.0):
    rng = np.random.default_rng(seed)
    mass = np.exp(rng.uniform(np.log(7e13), np.log(1e15), n))
    z = rng.uniform(0.1, 1.2, n)
    return mass, z, rng.random(n) < TRUE.at(mass * np.exp(-shift), z)


def test_the_fit_finds_the_completeness_that_was_put_in():
    fit = fit_completeness(*injected())
    mass, z = np.geomspace(1e14, 8e14, 8)[:, None], np.linspace(0.2, 1.1, 5)
    np.testing.assert_allclose(fit.at(mass, z), TRUE.at(mass, z), atol=0.04)
    assert fit.ceiling == pytest.approx(0.95, abs=0.02)


def test_a_limit_is_where_the_completeness_has_that_value():
    for fraction in (0.5, 0.9):
        assert TRUE.at(TRUE.limit(fraction, 0.7), 0.7) == pytest.approx(fraction)
    assert np.isnan(TRUE.limit(0.96, 0.7))  # above the ceiling


def test_limits_outside_the_injected_masses_are_not_claimed():
    heavy = Completeness(level=3.0, slope=0.0, bend=0.0, width=0.3, ceiling=0.95)
    assert all(row["m500c_msun"] is None for row in limits(heavy, [heavy], GRID))
    row = limits(TRUE, [TRUE] * 3, GRID)[2]
    assert row["low"] == row["m500c_msun"] == row["high"]


def test_a_tiles_own_limit_is_found_and_few_clusters_say_little():
    shift, error = tile_shift(TRUE, *injected(2000, 3, shift=0.2))
    assert shift == pytest.approx(0.2, abs=3 * error)
    assert error < 0.05
    shift, error = tile_shift(TRUE, *injected(4, 3, shift=0.2))
    assert error > 0.2


def test_bins_count_every_cluster_once():
    clusters = injected_in([4440, 4441], 5, GRID, 1)
    found = clusters["m500c_msun"].to_numpy() > 2.2e14
    table = binned(
        clusters["mass_bin"].to_numpy(), clusters["z_bin"].to_numpy(), found, GRID, 0.6827
    )
    assert np.sum(table["n"]) == len(clusters)
    assert np.array(table["value"])[3:].min() == 1.0
    assert np.array(table["value"])[:3].max() == 0.0


def test_what_was_there_before_teaches_nothing_and_is_told():
    clusters = injected_in([4440], 5, GRID, 1)
    place = clusters[["ra_deg", "dec_deg"]]
    objects = place.assign(prob=np.where(clusters["m500c_msun"] > 2e14, 0.9, 0.3))
    real = place.iloc[:5].assign(prob=[0.9, 0.9, 0.1, 0.1, 0.1])
    found = recovered(clusters, objects, real, threshold=0.7, radius_arcmin=2.5)
    assert found["there_before"].sum() == 2
    assert (found["found"] == (found["m500c_msun"] > 2e14)).all()
    report, tiles = injection_report(
        found, threshold=0.7, settings=SelectionSettings(n_bootstrap=2), radius_arcmin=2.5,
        confidence=0.6827, tile_order=5, seed=1,
    )  # fmt: skip
    assert report["n"] == len(clusters) - 2
    assert tiles["n"].sum() == report["n"]
    middle = [r["m500c_msun"] for r in report["limits"] if r["fraction"] == 0.5]
    np.testing.assert_allclose(middle, 2e14, rtol=0.25)
    section = selection_section(rounded({"injection": report, "purity": 0.8, "nulls": {}}))
    assert "SIMULATED" in section.lead
    assert all("SIMULATED" in t.caption for t in section.tables[:2])


def test_where_no_sample_is_pure_enough_the_report_says_so():
    section = selection_section({"injection": {"threshold": None, "reason": "no sample"}})
    assert section.notes == ["Injected clusters are not shown: no sample."]


@pytest.mark.parametrize("injected", [0, 3])
def test_where_every_place_was_taken_before_no_limit_is_claimed(injected):
    clusters = injected_in([4440], 5, GRID, 1).iloc[:injected]
    objects = clusters[["ra_deg", "dec_deg"]].assign(prob=0.9)
    found = recovered(clusters, objects, objects, threshold=0.7, radius_arcmin=2.5)
    report, tiles = injection_report(
        found, threshold=0.7, settings=SelectionSettings(n_bootstrap=5), radius_arcmin=2.5,
        confidence=0.6827, tile_order=5, seed=1,
    )  # fmt: skip
    assert "limits" not in report
    assert tiles.empty
    section = selection_section({"injection": report})
    assert section.notes[0].startswith("Injected clusters are not shown: none of")


def test_a_network_that_finds_as_much_without_clusters_is_told_on():
    rng = np.random.default_rng(0)
    real = {"blind": rng.random(400), "good": rng.random(400)}
    null = {"blind": rng.random(400), "good": 0.4 * rng.random(400)}
    found = null_report(null, real, 10.0)["finders"]
    assert found["blind"]["told_on"]
    assert not found["good"]["told_on"]
    assert found["good"]["real_per_deg2"][4] == (real["good"] >= 0.5).sum() / 10


def test_the_core_and_the_tail_of_offsets_are_told_apart():
    rng = np.random.default_rng(0)
    core = np.hypot(*rng.normal(0, 20, (2, 3000)))
    tail = 150 * np.sqrt(rng.random(750))
    fit = fit_offsets(np.concatenate([core, tail]), 150.0)
    assert fit["sigma_arcsec"] == pytest.approx(20, abs=4 * fit["sigma_error_arcsec"])
    assert fit["sigma_error_arcsec"] < 1
    assert fit["tail"] == pytest.approx(0.2, abs=4 * fit["tail_error"])
    shares = np.sum(core_and_tail(np.linspace(0, 150, 16), 20.0, 0.2), axis=0)
    assert shares.sum() == pytest.approx(1.0)
    assert np.isnan(fit_offsets(np.ones(3), 150.0)["sigma_arcsec"])
    assert pd.Series(fit_offsets(core[:50], 150.0)).notna().all()
