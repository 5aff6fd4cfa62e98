"""No split separates what belongs together, and none depends on the order of rows."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clusterscan.core import sky
from clusterscan.core.errors import CatalogueError, ProductError
from clusterscan.sample.leakage import assert_no_leakage, find_leakage, join_objects, sdss_field
from clusterscan_studies.folds import (
    fold_numbers,
    keeps_clear,
    sky_folds,
    split_by_folds,
    split_objects,
)

ARCMIN = 1 / 60


def crowd(n=300, seed=1, side_deg=2.0):
    """Return objects on a patch of sky across RA 0, with a rarer class 1."""
    rng = np.random.default_rng(seed)
    ra = rng.uniform(-side_deg / 2, side_deg / 2, n) % 360
    dec = rng.uniform(-side_deg / 2, side_deg / 2, n)
    label = (rng.random(n) < 0.25).astype(int)
    return np.array([f"o{i:04d}" for i in range(n)]), ra, dec, label


def test_entries_within_the_radius_are_one_object_and_chains_hold_together():
    ra = np.array([10.0, 10.0, 10.0, 10.0, 359.9999, 0.0001])
    dec = np.array([0.0, 0.9, 1.8, 5.0, 30.0, 30.0]) * ARCMIN
    dec[4:] = 30.0
    group = join_objects(list("fedcba"), ra, dec, 1.0)
    assert group.tolist() == ["d", "d", "d", "c", "a", "a"]
    assert join_objects(list("fedcba"), ra, dec, 0.0).tolist() == list("fedcba")


def test_names_images_and_columns_join_too_but_unknowns_do_not():
    group = join_objects(
        ["a", "b", "c", "d", "a", "e"],
        np.full(6, np.nan),
        np.full(6, np.nan),
        10.0,
        equal=[np.array(["", "x", "x", "", "y", "y"]), np.array([np.nan, 1, np.nan, 1, 2, 3])],
    )
    # a = a by name, a = e by image y; b = c by image x, b = d by column 1.
    assert group.tolist() == ["a", "b", "b", "b", "a", "a"]
    nameless = join_objects(["", "", ""], np.array([1.0, 1.0, np.nan]), np.zeros(3), 0.1)
    assert nameless[0] == nameless[1] != nameless[2]


@given(seed=st.integers(0, 1000), radius=st.floats(0, 20))
def test_groups_and_splits_do_not_depend_on_the_order_of_rows(seed, radius):
    name, ra, dec, _ = crowd(60, seed)
    shuffle = np.random.default_rng(seed).permutation(60)
    group = join_objects(name, ra, dec, radius)
    again = join_objects(name[shuffle], ra[shuffle], dec[shuffle], radius)
    np.testing.assert_array_equal(group[shuffle], again)
    options = {"validation": 0.25, "test": 0.25, "seed": seed}
    single = np.zeros(60, int)
    try:
        part = split_objects(group, single, **options)
    except CatalogueError:
        return  # all in one group
    np.testing.assert_array_equal(part[shuffle], split_objects(again, single, **options))


def test_a_split_by_objects_gives_each_class_its_fractions_and_keeps_groups_whole():
    name, ra, dec, label = crowd(400)
    group = join_objects(name, ra, dec, 1.5)
    assert 0 < 400 - len(np.unique(group)) < 200
    part = split_objects(group, label, validation=0.2, test=0.3, seed=4)
    assert (pd.Series(part).groupby(group).nunique() == 1).all()
    for value in (0, 1):
        share = pd.Series(part[label == value]).value_counts(normalize=True)
        # Groups that mix the classes shift the fractions a little.
        assert share["test"] == pytest.approx(0.3, abs=0.05)
        assert share["validation"] == pytest.approx(0.2, abs=0.05)
    single = split_objects(name, label, validation=0.2, test=0.3, seed=4)
    for value in (0, 1):
        many = (label == value).sum()
        assert (single[label == value] == "test").sum() == pytest.approx(0.3 * many, abs=0.51)
    assert (split_objects(name, label, validation=0.2, test=0.3, seed=5) != single).any()


def test_a_class_too_small_to_split_is_named():
    label = np.array([0] * 20 + [1, 1])
    with pytest.raises(CatalogueError, match=r"label 1 has 2 separate .* in validation"):
        split_objects(np.arange(22).astype(str), label, validation=0.3, test=0.3, seed=0)


def test_folds_are_whole_regions_with_their_share_of_every_class():
    name, ra, dec, label = crowd(600)
    fold = fold_numbers(name, label, 5, ra_deg=ra, dec_deg=dec, order=8, seed=3)
    cell = sky.owning_cell(ra, dec, 8)
    assert (pd.Series(fold).groupby(cell).nunique() == 1).all()
    size = np.bincount(fold, minlength=5) / 600
    assert size == pytest.approx(0.2, abs=0.04)
    assert np.bincount(fold[label == 1], minlength=5) / label.sum() == pytest.approx(0.2, abs=0.06)
    shuffle = np.random.default_rng(0).permutation(600)
    again = fold_numbers(
        name[shuffle], label[shuffle], 5, ra_deg=ra[shuffle], dec_deg=dec[shuffle], order=8, seed=3
    )
    np.testing.assert_array_equal(fold[shuffle], again)


def test_entries_of_one_cluster_in_two_catalogues_share_a_fold_across_a_border():
    name, ra, dec, _ = crowd(300)
    # A second catalogue lists the same objects under other names, up to 0.4' away.
    rng = np.random.default_rng(5)
    moved = dec + rng.uniform(-0.4, 0.4, 300) * ARCMIN
    names = np.concatenate([name, np.char.add("second-", name)])
    both = (np.concatenate([ra, ra]), np.concatenate([dec, moved]))
    fold = sky_folds(*both, 4, radius_arcmin=0.5, object_id=names)
    np.testing.assert_array_equal(fold[:300], fold[300:])
    loose = sky_folds(*both, 4, radius_arcmin=0.0, object_id=names)
    assert (loose[:300] != loose[300:]).any()
    part = split_by_folds(fold, test=1, validation=2)
    table = pd.DataFrame(
        {"example_id": names, "object_id": names, "ra_deg": both[0], "dec_deg": both[1]}
    )
    leaky = find_leakage(table.assign(split=split_by_folds(loose, 1, 2)), 0.45)
    assert leaky.close_pairs
    assert set(part) == {"train", "validation", "test"}
    assert not find_leakage(table.assign(split=part), 0.5).objects


def test_folds_without_positions_spread_the_objects():
    nowhere = np.full(40, np.nan)
    name = np.repeat([f"o{i}" for i in range(20)], 2)
    fold = sky_folds(nowhere, nowhere, 4, radius_arcmin=1.0, object_id=name)
    assert (pd.Series(fold).groupby(name).nunique() == 1).all()
    assert np.bincount(fold).tolist() == [10, 10, 10, 10]


def test_too_few_regions_for_the_folds_are_refused():
    name, ra, dec, label = crowd(50, side_deg=0.01)
    with pytest.raises(CatalogueError, match=r"separate regions of the sky for 10 folds"):
        fold_numbers(name, label, 10, ra_deg=ra, dec_deg=dec, order=5)


def test_a_class_with_fewer_examples_than_folds_is_named():
    name, ra, dec, _ = crowd(50)
    label = np.array([1] * 3 + [0] * 47)
    with pytest.raises(CatalogueError, match="label 1 has 3 examples for 5 folds"):
        fold_numbers(name, label, 5, ra_deg=ra, dec_deg=dec, order=8)


def test_a_guard_clears_the_sky_around_later_parts_and_spares_the_test():
    ra = np.array([0.0, 0.5 * ARCMIN, 1.2 * ARCMIN, 360 - 0.8 * ARCMIN, np.nan])
    dec = np.zeros(5)
    part = np.array(["test", "train", "train", "validation", "train"])
    # 0.5' and 0.8' from the test object go; then nobody of validation is left to give way to.
    assert keeps_clear(ra, dec, part, 1.0).tolist() == [True, False, True, False, True]
    assert keeps_clear(ra, dec, part, 0.6).tolist() == [True, False, True, True, True]
    assert keeps_clear(ra, dec, part, 0.0).all()


def test_the_audit_fails_with_the_pairs_that_share_sky_or_an_image():
    table = pd.DataFrame(
        {
            "example_id": ["e0", "e1", "e2", "e3", "e4"],
            "object_id": ["A", "B", "C", "D", "E"],
            "ra_deg": [10.0, 10.0, 50.0, 70.0, np.nan],
            "dec_deg": [0.0, 0.5 * ARCMIN, 0.0, 0.0, np.nan],
            "split": ["train", "test", "train", "validation", "test"],
        }
    )
    image = ["x", "y", "z", "u", "z"]
    leak = find_leakage(table, 1.0, image)
    assert leak.close_pairs == (("e0", "e1"),) or leak.close_pairs == (("e1", "e0"),)
    assert leak.same_images == (("e2", "e4"),)
    with pytest.raises(ProductError, match=r"e0 = e1.*e2 = e4|e1 = e0.*e2 = e4"):
        assert_no_leakage(table, 1.0, "examples.parquet", image)
    assert not find_leakage(table, 0.4, list("abcde"))


def test_sdss_fields_are_read_off_the_objid():
    # SkyServer's example 1237661382772195474: run 3704, camera column 3, field 91, object 146.
    assert sdss_field(["1237661382772195474"], "t").tolist() == ["3704-3-91"]
    same = ["587736813669253252", "587736813669253293"]
    assert len(set(sdss_field(same, "t"))) == 1
    with pytest.raises(CatalogueError, match="'PCC-0001' is no SDSS objID"):
        sdss_field(["PCC-0001"], "labels.csv")
