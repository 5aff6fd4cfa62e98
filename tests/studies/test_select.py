"""Choosing examples: other classes, another test part, folds of the sky."""

from dataclasses import replace

import numpy as np
import pytest

from clusterscan.core.errors import ProductError
from clusterscan.train.examples import Examples, View
from clusterscan_studies.examples import concatenate, fold_parts, reclassed, take, with_test_of


def examples(number: int = 60, classes=("elliptical", "spiral", "merger"), seed: int = 3):
    rng = np.random.default_rng(seed)
    images = rng.standard_normal((number, 2, 6, 6)).astype(np.float16)
    names = np.array([f"o{n // 2}" for n in range(number)])
    parts = np.array(["train", "validation", "test"])[(np.arange(number) // 2) % 3]
    return Examples(
        views=(View("s", images, ("g", "r"), 1.0, "", np.ones(number, bool)),),
        label=(np.arange(number) // 2 % len(classes)).astype(np.int64),
        classes=tuple(classes),
        split=parts,
        kind=np.full(number, "stamp"),
        example_id=np.array([f"e{n}" for n in range(number)]),
        object_id=names,
        ra_deg=np.repeat(rng.uniform(0, 20, number // 2), 2),
        dec_deg=np.repeat(rng.uniform(-10, 10, number // 2), 2),
        redshift=np.full(number, np.nan),
        weight=np.ones(number, np.float32),
        columns={"mag": np.arange(number, dtype=float)},
    )


def test_taking_rows_takes_them_everywhere():
    every = examples()
    some = take(every, np.array([5, 2]))
    assert some.example_id.tolist() == ["e5", "e2"]
    assert some.columns["mag"].tolist() == [5.0, 2.0]
    np.testing.assert_array_equal(some.views[0].images, every.views[0].images[[5, 2]])


def test_new_classes_join_old_ones_and_leave_the_rest_out():
    every = examples()
    new = reclassed(every, {"other": ["spiral"], "merger": ["merger"]})
    assert new.classes == ("other", "merger")
    kept = every.label >= 1
    np.testing.assert_array_equal(new.label, every.label[kept] - 1)
    np.testing.assert_array_equal(new.split, every.split[kept])
    with pytest.raises(ProductError, match=r"no class 'disk'; it has elliptical, spiral, merger"):
        reclassed(every, {"a": ["disk"], "b": ["merger"]})


def test_another_data_set_tests_without_what_was_learnt():
    own, other = examples(seed=3), examples(seed=4)
    joined = with_test_of(own, other)
    tested = joined.split == "test"
    assert set(joined.object_id[tested]) & set(joined.object_id[~tested]) == set()
    assert joined.example_id[tested][0].startswith("test:")
    np.testing.assert_array_equal(
        joined.views[0].images[tested], other.views[0].images[other.split == "test"]
    )
    renamed = replace(other, object_id=np.char.add("x", other.object_id))
    assert (with_test_of(own, renamed).split == "train").sum() == (own.split == "train").sum()
    shared = replace(other, split=np.full(len(other), "test"))
    assert (with_test_of(own, shared).split == "test").all()


def test_unlike_data_sets_are_refused():
    with pytest.raises(ProductError, match="these data sets differ in classes"):
        concatenate(examples(), examples(classes=("a", "b", "c")))


def test_each_fold_tests_once_validates_once_and_separates_no_object():
    every = examples(90)
    options = {"radius_arcmin": 0.1, "order": None, "seed": 7}
    parts = [fold_parts(every, 3, fold, **options) for fold in range(3)]
    tested = np.sum([part == "test" for part in parts], axis=0)
    validated = np.sum([part == "validation" for part in parts], axis=0)
    assert (tested == 1).all()
    assert (validated == 1).all()
    for part in parts:
        for name in np.unique(every.object_id):
            assert len(set(part[every.object_id == name])) == 1
