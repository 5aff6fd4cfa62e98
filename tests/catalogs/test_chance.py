"""Chance matches: local density, shifted positions and reliability agree with theory."""

import numpy as np
import pandas as pd
import pytest
from scipy.spatial import cKDTree

from clusterscan.catalogs.matching import (
    chance_matches,
    chance_probability,
    cross_matches,
    local_density,
    match_known,
    match_reliability,
    part_with_counterpart,
    shifted,
)
from clusterscan.core import sky


def whole_sky(n, seed):
    rng = np.random.default_rng(seed)
    return sky.unit_vectors(rng.uniform(0, 360, n), np.degrees(np.arcsin(rng.uniform(-1, 1, n))))


SKY_DEG2 = 360**2 / np.pi


def test_the_local_density_of_a_uniform_sky_is_its_mean_everywhere():
    catalogue, places = whole_sky(20_000, 1), whole_sky(5_000, 2)
    poles = sky.unit_vectors(np.array([0.0, 0.0, 0.0]), np.array([90.0, -90.0, 0.0]))
    density = local_density(np.vstack([places, poles]), cKDTree(catalogue))
    # (k - 1) / area scatters by 1 / sqrt(k - 2) at one place: 0.35, 0.005 in the mean of 5000.
    assert density.mean() == pytest.approx(20_000 / SKY_DEG2, rel=0.03)
    assert (density[-3:] > 0.05).all()


def test_a_partner_does_not_count_towards_its_own_density():
    catalogue = whole_sky(20_000, 3)
    density = local_density(catalogue, cKDTree(catalogue), partners=True)
    assert density.mean() == pytest.approx(20_000 / SKY_DEG2, rel=0.03)


def test_a_handful_of_entries_have_the_mean_density_of_the_sky():
    np.testing.assert_allclose(
        local_density(whole_sky(4, 1), cKDTree(whole_sky(5, 2))), 5 / SKY_DEG2
    )


def test_chance_probability_is_that_of_a_poisson_process():
    assert chance_probability(np.array([60.0]), np.array([1 / np.pi]))[0] == pytest.approx(
        1 - np.exp(-1)
    )
    assert np.isnan(chance_probability(np.array([np.nan]), np.array([1.0])))[0]


def test_shifts_have_one_length_everywhere_and_go_all_around():
    start = np.vstack([whole_sky(200, 4), [[0, 0, 1.0], [0, 0, -1.0], [1.0, 0, 0]]])
    moved = [shifted(start, 30.0, k / 6) for k in range(6)]
    for each in moved:
        apart = np.degrees(np.arccos(np.clip((start * each).sum(axis=1), -1, 1)))
        np.testing.assert_allclose(apart, 0.5, atol=1e-6)
    np.testing.assert_allclose(np.mean(moved, axis=0), start * np.cos(np.radians(0.5)), atol=1e-12)


def test_shifted_positions_find_the_chance_matches_that_poisson_predicts():
    first, second = whole_sky(20_000, 5), whole_sky(40_000, 6)
    expected = 20_000 * -np.expm1(-np.pi * (5 / 60) ** 2 * 40_000 / SKY_DEG2)
    assert chance_matches(first, second, 5.0) == pytest.approx(expected, rel=0.1)
    # True partners do not raise it.
    assert chance_matches(np.vstack([first, second]), second, 5.0) == pytest.approx(
        3 * expected, rel=0.1
    )
    assert chance_matches(first[:0], second, 5.0) == 0.0


def test_the_part_with_a_counterpart_is_recovered_beneath_chance_matches():
    known = whole_sky(60_000, 7)
    objects = np.vstack([shifted(known[:6_000], 0.5, 0.2), whole_sky(14_000, 8)])
    assert part_with_counterpart(objects, known, 5.0) == pytest.approx(0.3, abs=0.02)


def test_reliability_follows_sutherland_and_saunders_by_hand():
    # One object, two candidates; sigma 1', density 1 per arcmin2, Q = 0.5.
    one = match_reliability(
        np.zeros(2, int), np.array([0.0, 2.0]), np.ones(2), np.full(2, 3600.0), 0.5
    )
    likelihood = 0.5 * np.array([1.0, np.exp(-2)]) / (2 * np.pi)
    np.testing.assert_allclose(one, likelihood / (likelihood.sum() + 0.5))
    assert len(match_reliability(np.empty(0, int), *(np.empty(0),) * 3, 0.5)) == 0


def frame(vectors, **more):
    ra = np.degrees(np.arctan2(vectors[:, 1], vectors[:, 0])) % 360
    return pd.DataFrame({"ra_deg": ra, "dec_deg": np.degrees(np.arcsin(vectors[:, 2])), **more})


def test_match_probabilities_are_calibrated_on_a_sky_whose_truth_is_known():
    rng = np.random.default_rng(9)
    known = whole_sky(40_000, 9)
    true = rng.permutation(40_000)[:5_000]
    offset = np.abs(rng.normal(0, 0.5, 5_000) + 1j * rng.normal(0, 0.5, 5_000))
    turns = rng.random(5_000)
    moved = np.vstack([shifted(known[k : k + 1], offset[n], turns[n]) for n, k in enumerate(true)])
    objects = frame(np.vstack([moved, whole_sky(15_000, 10)]))
    found = match_known(objects, frame(known, name="K"), 5.0, centring_arcmin=0.5)
    is_true = found["known_row"].to_numpy()[:5_000] == true
    right = np.concatenate([is_true, np.zeros(15_000, bool)])
    matched = found["known_row"].to_numpy() >= 0
    predicted = found["known_p_match"].to_numpy()[matched]
    assert predicted.sum() == pytest.approx(right[matched].sum(), rel=0.03)
    sure = predicted > 0.9
    assert right[matched][sure].mean() == pytest.approx(predicted[sure].mean(), abs=0.02)
    # Unrelated matches have chance probabilities spread evenly below that at the radius.
    chance = found["known_p_chance"].to_numpy()[5_000:]
    chance = chance[np.isfinite(chance)]
    assert chance.max() < 0.5
    assert (found["known_p_chance"].isna() == ~matched).all()


def test_cross_matches_tell_real_ones_from_chance():
    known = whole_sky(30_000, 11)
    tables = {"a": frame(known[:10_000]), "b": frame(known[5_000:]), "c": frame(known[:0])}
    counts = cross_matches(tables, 3.0).set_index(["first", "second"])
    assert counts.loc[("a", "b"), "n_matched"] >= 5_000
    extra = counts.loc[("a", "b"), "n_matched"] - 5_000
    assert extra == pytest.approx(counts.loc[("a", "b"), "n_chance"] / 2, abs=40)
    assert counts.loc[("a", "c"), "n_matched"] == 0
    assert len(counts) == 6
