"""Which entries are one cluster: limits by angle and length, windows, chains, and no order."""

import itertools

import numpy as np
import pandas as pd
import pytest
from astropy.cosmology import FlatLambdaCDM
from hypothesis import given, settings
from hypothesis import strategies as st

from clusterscan.core import sky
from clusterscan.core.errors import CatalogueError
from clusterscan.known.linking import MatchRule, kpc_per_arcmin, limits_arcmin
from clusterscan.known.unite import Conflict, unite_known

NAN = np.array([np.nan])


def table(ra, dec, **columns):
    names = [f"C{n}" for n in range(len(ra))]
    return pd.DataFrame({"name": names, "ra_deg": ra, "dec_deg": dec, **columns})


def arcmin(*values):
    return [v / 60 for v in values]


def test_a_length_is_an_angle_at_the_redshift():
    expected = FlatLambdaCDM(70, 0.3).kpc_proper_per_arcmin([0.05, 0.3, 1.0]).value
    np.testing.assert_allclose(kpc_per_arcmin(np.array([0.05, 0.3, 1.0])), expected, rtol=1e-4)


def test_limits_take_the_length_where_a_redshift_is_known_and_the_angle_elsewhere():
    rule = MatchRule(2.0, radius_kpc=1000.0, most_arcmin=10.0)
    z1 = np.array([0.3, np.nan, np.nan, 0.01])
    z2 = np.array([0.3, 0.3, np.nan, np.nan])
    unknown = np.full(4, np.nan)
    at = 1000 / kpc_per_arcmin(np.array([0.3]))[0]
    np.testing.assert_allclose(limits_arcmin(z1, z2, unknown, unknown, rule), [at, at, 2.0, 10.0])


def test_position_errors_of_both_sides_widen_the_limit_in_quadrature():
    rule = MatchRule(3.0, n_sigma=2.0)
    found = limits_arcmin(NAN, NAN, np.array([1.5]), np.array([2.0]), rule)
    np.testing.assert_allclose(found, np.hypot(3.0, 2 * 2.5))
    assert limits_arcmin(NAN, NAN, NAN, NAN, rule) == 3.0
    assert limits_arcmin(NAN, NAN, np.array([100.0]), NAN, rule) == 15.0


def test_errors_decide_whether_entries_are_one_cluster():
    planck = table([10.0], [0.0], pos_err_arcsec=[150.0])
    optical = table([10.0 + 4 / 60], [0.0])
    assert len(unite_known({"p": planck, "o": optical}, MatchRule(2.0))) == 2
    assert len(unite_known({"p": planck, "o": optical}, MatchRule(2.0, n_sigma=2.0))) == 1


def test_a_redshift_window_parts_what_lies_on_one_line_of_sight_and_says_so():
    near, far = table([10.0], [0.0], z=[0.2]), table([10.001], [0.0], z=[0.8])
    parted = unite_known({"a": near, "b": far}, MatchRule(2.0, z_window=0.1))
    assert parted["conflicts"].tolist() == [Conflict.PROJECTED] * 2
    joined = unite_known({"a": near, "b": far}, MatchRule(2.0))
    assert joined["conflicts"].tolist() == [Conflict.REDSHIFT]
    unknown = far.assign(z=np.nan)
    assert len(unite_known({"a": near, "b": unknown}, MatchRule(2.0, z_window=0.1))) == 1


def test_within_a_window_the_like_redshift_wins_over_the_closer_position():
    one = table([10.0], [0.0], z=[0.30])
    two = table([10.0, 10.0], arcmin(0.5, -1.0), z=[0.36, 0.30])
    united = unite_known({"a": one, "b": two}, MatchRule(2.0, z_window=0.06), trust=["a"])
    assert united.loc[united["n_catalogues"] == 2, "b_name"].tolist() == ["C1"]
    assert (united["conflicts"] == int(Conflict.AMBIGUOUS)).all()


def test_in_a_chain_the_middle_goes_to_the_closer_end_unless_all_three_fit():
    a, c = table([10.0], [0.0]), table([10.0], arcmin(3.0))
    b = table([10.0], arcmin(1.2))
    chain = unite_known({"a": a, "b": b, "c": c}, 2.0)
    assert sorted(chain["catalogues"]) == ["a;b", "c"]
    assert (chain["conflicts"] == int(Conflict.AMBIGUOUS)).all()
    whole = unite_known({"a": a, "b": b, "c": c}, 3.1)
    assert whole["catalogues"].tolist() == ["a;b;c"]
    assert whole["conflicts"].tolist() == [0]


def test_masses_and_duplicates_are_flagged():
    a = table([10.0, 10.0005], [0.0, 0.0], m500c_msun=[1e14, np.nan])
    b = table([10.0], [0.0], m500c_msun=[4e14])
    united = unite_known({"a": a, "b": b}, 2.0)
    assert united["conflicts"].tolist() == [Conflict.MASS | Conflict.DUPLICATE]
    assert united["n_entries"].tolist() == [3]


def test_trust_says_whose_name_and_position_and_spectra_go_first():
    a = table([10.0], [0.0], z=[0.31], z_type=["phot"], m500c_msun=[np.nan])
    b = table([10.01], [0.0], z=[0.30], z_type=["spec"], m500c_msun=[2e14])
    tables = {"a": a, "b": b}
    first = unite_known(tables, 2.0).iloc[0]
    assert (first["position_source"], first["z_source"], first["z_type"]) == ("a", "b", "spec")
    assert (first["m500c_source"], first["catalogues"]) == ("b", "a;b")
    assert np.isnan(first["a_p_chance"])
    assert first["b_p_chance"] > 0
    assert unite_known(tables, 2.0, trust=["b"]).iloc[0]["position_source"] == "b"
    for wrong in (["c"], ["a", "a"]):
        with pytest.raises(CatalogueError, match="trust names"):
            unite_known(tables, 2.0, trust=wrong)


PLACES = {
    "zero": lambda x, y: (np.mod(x / 60, 360), y / 60),
    "pole": lambda x, y: (
        np.degrees(np.arctan2(y, x)) % 360,
        90 - np.hypot(x, y) / 60,
    ),
    "south": lambda x, y: (np.degrees(np.arctan2(y, x)), -90 + np.hypot(x, y) / 60),
}
ENTRY = st.tuples(
    st.integers(-3, 3), st.integers(-3, 3), st.sampled_from([0.1, 0.12, 0.5, np.nan]),
    st.sampled_from("abc"),
)  # fmt: skip
RULES = [
    MatchRule(1.5),
    MatchRule(1.0, n_sigma=1.0, z_window=0.05),
    MatchRule(1.2, radius_kpc=300.0),
]


def catalogues_of(entries, place):
    tables = {}
    for name in "abc":
        mine = [e for e in entries if e[3] == name]
        x, y, z = (np.array([e[k] for e in mine], dtype=float) for k in range(3))
        ra, dec = PLACES[place](x, y)
        error = np.where(x > 0, 40.0, np.nan)
        tables[name] = table(ra, dec, z=z, pos_err_arcsec=error)
        tables[name]["name"] = [f"{name}{k}" for k in range(len(mine))]
    return tables


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("rule", RULES)
@settings(max_examples=12, deadline=None, derandomize=True)
@given(entries=st.lists(ENTRY, max_size=14, unique_by=lambda e: (e[0], e[1], e[3])))
def test_clusters_are_the_same_for_any_order_and_obey_the_rule(place, rule, entries):
    tables = catalogues_of(entries, place)
    united = unite_known(tables, rule)
    mixed = {k: tables[k].sample(frac=1, random_state=3) for k in "cab"}
    again = unite_known({k: t.reset_index(drop=True) for k, t in mixed.items()}, rule)
    columns = [c for c in united if not c.endswith("_row")]
    pd.testing.assert_frame_equal(united[columns], again[columns], check_exact=True)
    assert united["n_entries"].sum() == len(entries)
    for name, rows in tables.items():
        assert sorted(united.loc[united[f"{name}_row"] >= 0, f"{name}_row"]) == list(
            range(len(rows))
        )
    for _, cluster in united.iterrows():
        members = [tables[n].iloc[cluster[f"{n}_row"]] for n in "abc" if cluster[f"{n}_row"] >= 0]
        for one, two in itertools.combinations(members, 2):
            apart = 60 * sky.separation_deg(
                one["ra_deg"], one["dec_deg"], two["ra_deg"], two["dec_deg"]
            )
            pair = [np.array([m[c]]) for c in ("z", "pos_err_arcsec") for m in (one, two)]
            limit = limits_arcmin(pair[0], pair[1], pair[2] / 60, pair[3] / 60, rule)[0]
            assert apart <= limit * (1 + 1e-9)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    entries=st.lists(ENTRY, max_size=16, unique_by=lambda e: (e[0], e[1], e[3])),
    turn=st.floats(0, 360),
)
def test_turning_the_sky_turns_the_clusters(entries, turn):
    tables = catalogues_of(entries, "zero")
    # Offsets that are no lattice: equal separations would be decided by declination.
    rng = np.random.default_rng(len(entries))
    for each in tables.values():
        each["ra_deg"] += rng.uniform(0, 0.001, len(each))
        each["dec_deg"] += rng.uniform(0, 0.001, len(each))
    turned = {k: t.assign(ra_deg=(t["ra_deg"] + turn) % 360) for k, t in tables.items()}

    def members(united):
        return {tuple(row) for row in united[["a_row", "b_row", "c_row"]].to_numpy().tolist()}

    assert members(unite_known(tables, 1.5)) == members(unite_known(turned, 1.5))


@settings(max_examples=25, deadline=None, derandomize=True)
@given(entries=st.lists(ENTRY, max_size=16, unique_by=lambda e: (e[0], e[1], e[3])))
def test_matching_two_catalogues_is_symmetric(entries):
    tables = catalogues_of(entries, "zero")
    one = unite_known({"x": tables["a"], "y": tables["b"]}, 1.5)
    two = unite_known({"y": tables["a"], "x": tables["b"]}, 1.5)
    first = {tuple(r) for r in one[["x_row", "y_row"]].to_numpy().tolist()}
    second = {tuple(r) for r in two[["y_row", "x_row"]].to_numpy().tolist()}
    assert first == second


@pytest.mark.parametrize("dec", [90.0, -90.0])
def test_positions_at_a_pole_are_one_place_whatever_their_right_ascension(dec):
    united = unite_known({"a": table([0.0], [dec]), "b": table([213.0], [dec])}, 0.5)
    assert united["n_catalogues"].tolist() == [2]
    assert united["b_sep_arcsec"].iloc[0] == pytest.approx(0, abs=1e-6)


def test_right_ascension_360_and_minus_10_are_0_and_350():
    a, b = table([360.0, -10.0], [0.0, 0.0]), table([0.0, 350.0], [0.0, 0.0])
    assert unite_known({"a": a, "b": b}, 0.5)["n_catalogues"].tolist() == [2, 2]


def test_names_with_markup_and_quotes_stay_as_they_are():
    odd = ["<script>alert(1)</script>", "'; DROP TABLE x; --", 'a"b,c;d\ne']
    a = table([1.0, 2.0, 3.0], [0.0] * 3).assign(name=odd)
    united = unite_known({"a": a, "b": table([1.0], [0.0])}, 1.0)
    assert united.sort_values("ra_deg")["name"].tolist() == odd


@pytest.mark.parametrize("radius", [0.0, 0.1])
def test_many_duplicates_are_one_entry_and_quickly(radius):
    ra = np.full(200_000, 10.0)  # their pairs would not fit into memory
    ra[:10] = 20.0
    many = pd.DataFrame({"name": "same", "ra_deg": ra, "dec_deg": 5.0})
    united = unite_known(
        {"a": many, "b": table([10.0], [5.0])}, 2.5, duplicate_radius_arcmin=radius
    )
    assert sorted(united["n_entries"]) == [10, 200_001 - 10]
    assert (united["conflicts"] == int(Conflict.DUPLICATE)).all()


def test_a_radius_too_large_for_its_catalogues_is_refused_with_the_count():
    rng = np.random.default_rng(1)
    dense = {
        k: pd.DataFrame(
            {"name": "x", "ra_deg": rng.uniform(0, 1, 30_000), "dec_deg": rng.uniform(0, 1, 30_000)}
        )
        for k in "ab"
    }
    with pytest.raises(CatalogueError, match=r"pairs within 60 arcmin; the radius is too large"):
        unite_known(dense, 60.0, duplicate_radius_arcmin=0.0)
