"""Truth and known catalogues of the simulated sky."""

import numpy as np
import pandas as pd
import pytest

from clusterscan.config.simulation import HaloSettings, KnownSettings, SimulationSettings
from clusterscan.core import sky
from clusterscan.core.errors import CatalogueError
from clusterscan.physics.mass_function import halo_table
from clusterscan.simulate.simulated_catalogues import known_of_cell, truth_of_cell

SEED = 11
CELLS = range(800, 816)
AREA = len(CELLS) * sky.cell_area_deg2(4)


@pytest.fixture(scope="module")
def truth(settings):
    return pd.concat(
        [truth_of_cell(c, 4, seed=SEED, settings=settings) for c in CELLS], ignore_index=True
    )


@pytest.fixture(scope="module")
def known(settings):
    def collect(selection):
        parts = [
            known_of_cell(c, 4, seed=SEED, settings=settings, selection=selection) for c in CELLS
        ]
        return pd.concat(parts, ignore_index=True)

    return {"sz": collect("sz"), "richness": collect("richness")}


def test_truth_is_the_same_whenever_it_is_asked_for(settings):
    first = truth_of_cell(812, 4, seed=SEED, settings=settings)
    pd.testing.assert_frame_equal(first, truth_of_cell(812, 4, seed=SEED, settings=settings))
    other = truth_of_cell(812, 4, seed=SEED + 1, settings=settings)
    assert set(first["name"]).isdisjoint(other["name"])


def test_truth_does_not_depend_on_the_order_it_is_asked_at(settings):
    whole = truth_of_cell(812, 4, seed=SEED, settings=settings)
    for order in (5, 7):
        parts = [
            truth_of_cell(int(c), order, seed=SEED, settings=settings)
            for c in sky.descendants(812, 4, order)
        ]
        joined = pd.concat(parts).sort_values("name", ignore_index=True)
        pd.testing.assert_frame_equal(joined, whole.sort_values("name", ignore_index=True))


def test_every_cluster_lies_in_its_cell_under_its_own_name(truth):
    owner = sky.owning_cell(truth["ra_deg"].to_numpy(), truth["dec_deg"].to_numpy(), 4)
    assert set(owner) <= set(CELLS)
    assert truth["name"].is_unique


def test_halo_numbers_follow_the_mass_function(truth):
    table = halo_table(5e12, 0.05, 2.0)
    edges = np.exp(table.ln_mass_edges)
    expected = table.per_deg2.sum(axis=1) * AREA
    for mass in (5e13, 1e14, 2e14):
        whole = edges[np.searchsorted(edges, mass)]
        mean = expected[edges[:-1] >= whole].sum()
        assert abs((truth["m500c_msun"] >= whole).sum() - mean) < 4 * np.sqrt(mean)


def test_scatter_moves_signals_but_no_halos(settings, truth):
    still = SimulationSettings(halos=HaloSettings(y_scatter_ln=0.0, richness_scatter_ln=0.0))
    plain = truth_of_cell(812, 4, seed=SEED, settings=still)
    noisy = truth_of_cell(812, 4, seed=SEED, settings=settings)
    np.testing.assert_array_equal(plain["m500c_msun"], noisy["m500c_msun"])
    scatter = np.log(noisy["y0"] / plain["y0"])
    assert np.std(scatter) == pytest.approx(settings.halos.y_scatter_ln, rel=0.1)


def test_sz_survey_finds_as_many_as_act(known):
    # Hilton et al. 2021: 4195 at S/N > 4 in 13,211 deg2; 0.247 per deg2 above 4.5 (its table)
    assert len(known["sz"]) / AREA == pytest.approx(0.247, rel=0.35)


def test_richness_catalogue_is_as_dense_as_camira(known):
    # CAMIRA S23B: 12,939 with richness > 15 in about 1,300 deg2
    assert len(known["richness"]) / AREA == pytest.approx(10.0, rel=0.35)


@pytest.mark.parametrize("selection", ["sz", "richness"])
def test_known_clusters_are_an_incomplete_noisy_part_of_the_truth(truth, known, selection):
    table = known[selection]
    real = table[table["truth_name"] != ""]
    joined = real.merge(truth, left_on="truth_name", right_on="name", suffixes=("", "_true"))
    assert len(joined) > 0.95 * len(real)  # a few come from across the border
    assert len(table) < len(truth)
    assert not np.array_equal(joined["m500c_msun"], joined["m500c_msun_true"])
    assert (joined["z"] != joined["z_true"]).all()
    moved = sky.separation_deg(
        joined["ra_deg"], joined["dec_deg"], joined["ra_deg_true"], joined["dec_deg_true"]
    )
    assert (moved > 0).all()
    assert np.median(moved) * 60 < 1.0
    assert (moved * 60 < 5 * joined["r500_arcmin"]).all()


def test_some_rich_entries_are_no_cluster(known, settings):
    false = (known["richness"]["truth_name"] == "").sum()
    mean = settings.known.richness_false_per_deg2 * AREA
    assert abs(false - mean) < 4 * np.sqrt(mean)


@pytest.mark.parametrize("selection", ["sz", "richness"])
def test_known_clusters_do_not_depend_on_the_order_they_are_asked_at(settings, selection):
    arguments = {"seed": SEED, "settings": settings, "selection": selection}
    whole = known_of_cell(812, 4, **arguments)
    parts = [known_of_cell(int(c), 5, **arguments) for c in sky.descendants(812, 4, 5)]
    joined = pd.concat(parts).sort_values("name", ignore_index=True)
    pd.testing.assert_frame_equal(
        joined, whole.sort_values("name", ignore_index=True), check_dtype=False
    )


def test_names_of_known_clusters_are_unique(known):
    for table in known.values():
        assert table["name"].is_unique


def test_a_catalogue_may_be_empty(settings):
    strict = SimulationSettings(known=KnownSettings(sz_snr_min=20.0, sz_false_per_deg2=0.0))
    table = known_of_cell(3000, 6, seed=SEED, settings=strict, selection="sz")
    assert list(table.columns) == [
        "name", "ra_deg", "dec_deg", "z", "z_err", "m500c_msun", "snr", "truth_name",
    ]  # fmt: skip


def test_an_unknown_selection_is_refused_with_the_choices(settings):
    with pytest.raises(CatalogueError, match="'sz' or 'richness'"):
        known_of_cell(1, 4, seed=SEED, settings=settings, selection="xray")


def test_groups_may_not_be_heavier_than_clusters():
    with pytest.raises(ValueError, match="lower it"):
        HaloSettings(m500c_min_msun=2e13, group_m500c_min_msun=3e13)
