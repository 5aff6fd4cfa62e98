"""Random positions follow the mask and the selection function, and nothing else."""

import numpy as np
import pytest
from pydantic import ValidationError
from scipy.stats import chisquare, kstest

from clusterscan.config.validation import InjectionGrid, SelectionSettings
from clusterscan.core import sky
from clusterscan.physics.mass_function import HaloTable, halo_table
from clusterscan.selection.completeness import Completeness, Expected, expected_of, mass_function
from clusterscan.selection.randoms import follows_coverage, random_positions

GRID = InjectionGrid()
EVERY = Completeness(level=-30.0, slope=0.0, bend=0.0, width=0.3, ceiling=1.0)


def coverage(tile_order=5, map_order=9):
    """Four tiles, one of them half masked."""
    full = np.ones(4 ** (map_order - tile_order), dtype=bool)
    half = full.copy()
    half[: half.size // 2] = False
    return {4440: full, 4441: full, 4442: half, 4443: full}


def test_random_positions_are_uniform_on_the_searched_sky_and_only_there():
    searched = coverage()
    drawn = random_positions(searched, 20_000, 5, 9, 1)
    test = follows_coverage(drawn["ra_deg"], drawn["dec_deg"], searched, 5, 9, 7)
    assert test["outside"] == 0
    assert 0.001 < test["p_value"] < 0.999
    one = drawn[drawn["tile"] == 4440]
    assert len(one) == pytest.approx(20_000 / 3.5, rel=0.05)
    # Uniform on a sphere is uniform in sin(dec): within one pixel, to the last.
    pixel = sky.owning_cell(one["ra_deg"].to_numpy(), one["dec_deg"].to_numpy(), 9)
    within = (one["healpix29"].to_numpy() - (pixel << 40)) / 2.0**40
    assert kstest(within, "uniform").pvalue > 0.001
    assert drawn.equals(random_positions(searched, 20_000, 5, 9, 1))


def test_positions_that_ignore_the_mask_are_caught():
    full = {tile: np.ones_like(v) for tile, v in coverage().items()}
    wrong = random_positions(full, 20_000, 5, 9, 1)
    test = follows_coverage(wrong["ra_deg"], wrong["dec_deg"], coverage(), 5, 9, 7)
    assert test["outside"] > 1000
    ramp = wrong[np.random.default_rng(0).random(len(wrong)) < wrong["dec_deg"] % 1]
    assert follows_coverage(ramp["ra_deg"], ramp["dec_deg"], full, 5, 9, 7)["p_value"] < 1e-6
    assert len(random_positions({}, 100, 5, 9, 1)) == 0


class Halved(Expected):
    """As expected, but on tile 4440 only half of all clusters are found, of whatever mass."""

    def found(self, tile):
        return super().found(tile) * (0.5 if tile == 4440 else 1.0)


def whole_tiles():
    return {tile: np.ones_like(values) for tile, values in coverage().items()}


def counts_by_tile(drawn):
    return np.array([(drawn["tile"] == tile).sum() for tile in (4440, 4441, 4442, 4443)])


def test_uniform_completeness_gives_uniform_randoms():
    expected = Expected(mass_function(GRID), EVERY, {})
    drawn = random_positions(whole_tiles(), 40_000, 5, 9, 1, expected)
    assert chisquare(counts_by_tile(drawn)).pvalue > 0.001
    # The test without the selection function must agree: there is nothing to follow but the mask.
    test = follows_coverage(drawn["ra_deg"], drawn["dec_deg"], whole_tiles(), 5, 9, 7)
    assert 0.001 < test["p_value"] < 0.999


def test_half_the_completeness_in_a_tile_halves_its_density():
    expected = Halved(mass_function(GRID), EVERY, {})
    drawn = random_positions(whole_tiles(), 70_000, 5, 9, 1, expected)
    assert chisquare(counts_by_tile(drawn), [10_000, 20_000, 20_000, 20_000]).pvalue > 0.001
    place = drawn["ra_deg"].to_numpy(), drawn["dec_deg"].to_numpy()
    assert follows_coverage(*place, whole_tiles(), 5, 9, 7, expected)["p_value"] > 0.001
    assert follows_coverage(*place, whole_tiles(), 5, 9, 7)["p_value"] < 1e-6


def test_no_random_position_lies_off_the_mask_whatever_the_selection():
    expected = Halved(mass_function(GRID), EVERY, {4441: 0.3})
    drawn = random_positions(coverage(), 20_000, 5, 9, 1, expected)
    test = follows_coverage(drawn["ra_deg"], drawn["dec_deg"], coverage(), 5, 9, 7, expected)
    assert test["outside"] == 0
    assert test["p_value"] > 0.001
    nothing = {4440: np.zeros(4**4, dtype=bool)}
    assert len(random_positions(nothing, 100, 5, 9, 1, expected)) == 0


def test_a_tile_with_a_higher_mass_limit_has_fewer_and_heavier_randoms():
    fit = Completeness(level=-0.3, slope=0.0, bend=0.0, width=0.3, ceiling=1.0)
    expected = Expected(mass_function(GRID), fit, {4440: 0.4})
    drawn = random_positions(whole_tiles(), 40_000, 5, 9, 1, expected)
    counts = counts_by_tile(drawn)
    ratio = expected.per_deg2(4440) / expected.per_deg2(4441)
    assert ratio < 0.8
    assert counts[0] / counts[1:].mean() == pytest.approx(ratio, rel=0.05)
    mass = drawn.groupby(drawn["tile"] == 4440)["m500c_msun"].median()
    assert mass[True] > 1.1 * mass[False]


def test_redshifts_and_masses_are_drawn_from_the_mass_function_times_the_completeness():
    table = HaloTable(np.log([1e14, 2e14, 4e14]), np.array([0.1, 0.5, 0.9]), np.ones((2, 2)))
    # At z = 0.3 and 0.7 alike, half of the clusters at the lower bin's middle are found.
    level = np.log(np.sqrt(2) * 1e14 / 3e14)
    expected = Expected(table, Completeness(level, 0.0, 0.0, 1e-3, 1.0), {})
    assert expected.per_deg2(1) == pytest.approx(2 * 0.5 + 2 * 1.0)
    ln_mass, z = expected.draw(1, 30_000, np.random.default_rng(0))
    assert np.mean(np.exp(ln_mass) > 2e14) == pytest.approx(2 / 3, abs=0.01)
    assert kstest(z, "uniform", (0.1, 0.8)).pvalue > 0.001
    assert np.exp(ln_mass).min() > 1e14
    assert np.exp(ln_mass).max() < 4e14


def test_the_mass_function_ends_where_the_injected_masses_do():
    table = mass_function(GRID)
    assert np.exp(table.ln_mass_edges[[0, -1]]) == pytest.approx([7e13, 1e15])
    assert table.z_edges[[0, -1]] == pytest.approx([0.1, 1.2])
    beyond = halo_table(1e15, 0.1, 1.2).per_deg2.sum()
    whole = halo_table(7e13, 0.1, 1.2).per_deg2.sum()
    assert table.per_deg2.sum() == pytest.approx(whole - beyond, rel=1e-3)


def test_without_injections_positions_have_no_mass_and_follow_the_mask():
    assert expected_of({"threshold": None, "tiles": []}, GRID) is None
    drawn = random_positions(coverage(), 100, 5, 9, 1, None)
    assert drawn[["z", "m500c_msun"]].isna().all(axis=None)
    report = {"fit": EVERY.to_dict(), "tiles": [{"tile": 4440, "ln_shift": 0.2}]}
    assert expected_of(report, GRID).shifts == {4440: 0.2}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"min_randoms": 1e14}, "less than or equal to 100000000"),
        ({"min_randoms": 20_000_000}, "exceeds max_randoms = 10000000; lower the one"),
        ({"nulls": ["empty", "inverted", "empty"]}, "\\['empty'\\] are listed more than once"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(settings, message):
    with pytest.raises(ValidationError, match=message):
        SelectionSettings(**settings)
