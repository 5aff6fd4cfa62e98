"""Known catalogues: matching one to one, uniting several, and forced values."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clusterscan.catalogs.matching import match_known
from clusterscan.catalogs.pairs import one_to_one, pairs_within
from clusterscan.core import sky
from clusterscan.core.errors import CatalogueError
from clusterscan.known.unite import entries_of, unite_known
from clusterscan.merge import forced


def table(ra, dec, **columns):
    names = [f"C{n}" for n in range(len(ra))]
    return pd.DataFrame({"name": names, "ra_deg": ra, "dec_deg": dec, **columns})


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5), st.integers(0, 4)), max_size=30))
def test_one_to_one_is_the_greedy_choice_of_the_closest(pairs):
    i, j, rank = (np.array([p[k] for p in pairs], dtype=float) for k in range(3))
    used_i, used_j, expected = set(), set(), np.zeros(len(pairs), bool)
    for number in np.lexsort((j, i, rank)):
        if i[number] not in used_i and j[number] not in used_j:
            expected[number] = True
            used_i.add(i[number])
            used_j.add(j[number])
    np.testing.assert_array_equal(one_to_one(i, j, rank), expected)


def test_pairs_agree_with_astropy():
    from astropy import units as u
    from astropy.coordinates import SkyCoord, search_around_sky

    rng = np.random.default_rng(1)
    ra, dec = rng.uniform(-1, 1, (2, 300)) * 0.5
    ra = ra % 360
    first, second = (
        SkyCoord(ra[:150], dec[:150], unit="deg"),
        SkyCoord(ra[150:], dec[150:], unit="deg"),
    )
    i, j, separation, _ = search_around_sky(first, second, 5 * u.arcmin)
    ours = pairs_within(
        sky.unit_vectors(ra[:150], dec[:150]), sky.unit_vectors(ra[150:], dec[150:]), 5
    )
    assert set(zip(*ours[:2], strict=True)) == set(zip(i, j, strict=True))
    np.testing.assert_allclose(np.sort(ours[2]), np.sort(separation.arcmin), rtol=1e-6)


def test_a_known_cluster_goes_to_its_closest_object_only():
    objects = table([0.0, 359.99, 50.0], [0.0, 0.0, 0.0])
    known = table([0.003, 120.0], [0.0, 10.0], z=[0.5, 0.1], m500c_msun=[3e14, np.nan])
    found = match_known(objects, known, 2.0)
    assert found["known_row"].tolist() == [0, -1, -1]
    assert found["known_name"].tolist() == ["C0", "", ""]
    assert found["known_sep_arcsec"][0] == pytest.approx(10.8, rel=1e-6)
    assert found["known_z"][0] == 0.5
    assert found["n_known"].tolist() == [1, 1, 0]


def test_matching_against_nothing_and_of_nothing_keeps_the_columns():
    some, none = table([1.0], [2.0]), table([], [])
    assert match_known(some, none, 2.0)["known_row"].tolist() == [-1]
    assert list(match_known(none, some, 2.0)) == list(match_known(some, some, 2.0))


def test_catalogues_unite_into_one_row_per_cluster():
    sz = table([10.0, 20.0], [0.0, 0.0], z=[0.3, np.nan], m500c_msun=[4e14, 2e14])
    optical = table([20.005, 30.0, 10.01], [0.0, 0.0, 0.0], z=[0.6, 0.2, 0.31])
    united = unite_known({"opt": optical, "sz": sz}, 2.0, trust=["sz"])
    united = united.sort_values("ra_deg", ignore_index=True)
    assert united["ra_deg"].tolist() == [10.0, 20.0, 30.0]
    assert united["catalogues"].tolist() == ["sz;opt", "sz;opt", "opt"]
    assert united["z"].tolist() == [0.3, 0.6, 0.2]
    assert united["z_source"].tolist() == ["sz", "opt", "opt"]
    assert united["m500c_source"].tolist() == ["sz", "sz", ""]
    assert united["opt_row"].tolist() == [2, 0, 1]
    assert united["opt_sep_arcsec"][:2].tolist() == pytest.approx([36.0, 18.0])
    assert united["sz_name"].tolist() == ["C0", "C1", ""]
    assert united["n_catalogues"].tolist() == [2, 2, 1]


def test_duplicates_of_one_catalogue_are_joined_and_neighbours_are_not():
    doubled = table([10.0, 10.0005, 10.03], [0.0, 0.0, 0.0], z=[np.nan, 0.4, 0.2])
    united = unite_known({"a": doubled}, 2.5, duplicate_radius_arcmin=0.1)
    assert sorted(united["z"]) == [0.2, 0.4]  # of the twins, the one with a redshift stays


def test_uniting_does_not_depend_on_the_order_of_rows():
    rng = np.random.default_rng(2)
    catalogues = {
        name: table(rng.uniform(0, 1, 60) % 360, rng.uniform(88, 90, 60), z=rng.random(60))
        for name in "abc"
    }
    expected = unite_known(catalogues, 3.0)
    mixed = {
        k: t.sample(frac=1, random_state=5).reset_index(drop=True) for k, t in catalogues.items()
    }
    again = unite_known(mixed, 3.0)
    columns = [c for c in expected if not c.endswith("_row")]
    pd.testing.assert_frame_equal(again[columns], expected[columns], check_exact=True)


def test_no_catalogues_and_empty_ones_unite_to_nothing():
    assert len(unite_known({}, 2.0)) == 0
    assert len(unite_known({"a": table([], [])}, 2.0)) == 0


def test_positions_that_are_none_are_refused_with_their_row():
    with pytest.raises(CatalogueError, match=r"row 1.*nan"):
        unite_known({"a": table([1.0, np.nan], [0.0, 0.0])}, 2.0)
    with pytest.raises(CatalogueError, match="known clusters"):
        match_known(table([1.0], [0.0]), table([1.0], [95.0]), 2.0)
    with pytest.raises(CatalogueError, match="lacks"):
        unite_known({"a": pd.DataFrame({"ra_deg": [1.0]})}, 2.0)


TILE_ORDER, MAP_ORDER = 3, 7


def map_of(tile):
    if tile % 3 == 0:
        return None
    values = np.arange(4.0 ** (MAP_ORDER - TILE_ORDER)) + 1000 * tile
    values[5] = np.nan
    return values


def test_forced_values_are_those_of_the_owning_pixel():
    rng = np.random.default_rng(3)
    ra, dec = rng.uniform(0, 360, 200), np.degrees(np.arcsin(rng.uniform(-1, 1, 200)))
    found = forced(map_of, ra, dec, TILE_ORDER, MAP_ORDER)
    pixel = sky.owning_cell(ra, dec, MAP_ORDER)
    tile, offset = pixel // 256, pixel % 256
    expected = np.where((tile % 3 == 0) | (offset == 5), np.nan, 1000.0 * tile + offset)
    np.testing.assert_array_equal(found, expected)


def test_forced_values_within_a_radius_are_the_highest_across_tiles():
    ra, dec = np.array([0.0, 45.0]), np.array([0.0, 89.9])
    found = forced(map_of, ra, dec, TILE_ORDER, MAP_ORDER, radius_arcmin=60)
    every = np.arange(12 * 4**MAP_ORDER)
    values = np.concatenate([
        np.full(256, np.nan) if (m := map_of(t)) is None else m for t in range(768)
    ])  # fmt: skip
    for row in range(2):
        near = sky.separation_deg(*sky.cell_centres(every, MAP_ORDER), ra[row], dec[row]) <= 1
        assert found[row] == np.nanmax(values[near])


def test_forced_values_of_no_positions_are_none():
    assert forced(map_of, np.empty(0), np.empty(0), TILE_ORDER, MAP_ORDER).shape == (0,)


def test_the_united_table_gives_back_the_entries_of_each_catalogue():
    first = table([10.0, 50.0, 30.0], [0.0, 1.0, 2.0])
    second = table([50.001, 10.0], [1.0, 0.0])
    united = unite_known({"a": first, "b": second}, 2.5)
    for name, listed in (("a", first), ("b", second)):
        pd.testing.assert_frame_equal(entries_of(united, name), listed[["ra_deg", "dec_deg"]])
