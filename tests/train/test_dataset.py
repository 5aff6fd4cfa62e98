import dataclasses

import numpy as np
import pytest

from clusterscan.core.errors import ProductError
from clusterscan.train.examples import check, read_examples

GOOD = [
    ("a", "cl1", "train", 1, 1.0),
    ("b", None, "train", 0, 2.0),
    ("c", "cl2", "validation", 1, 3.0),
    ("d", "", "validation", 0, 4.0),
]


def test_examples_are_the_same_whatever_blocks_and_order_wrote_the_shards(shard, tmp_path):
    near = shard(tmp_path / "Norder5/Dir0/Npix99.parquet", GOOD[:2])
    far = shard(tmp_path / "Norder5/Dir10000/Npix10002.parquet", GOOD[2:][::-1])
    empty = shard(tmp_path / "Norder5/Dir0/Npix100.parquet", [])
    first = read_examples([far, near, empty], name="unwise")
    second = read_examples([near, empty, far], name="unwise")
    (view,) = first.views
    assert first.example_id.tolist() == ["a", "b", "c", "d"]
    assert view.images[:, 0, 0, 0].tolist() == [1, 2, 3, 4]
    assert first.object_id.tolist() == ["cl1", "", "cl2", ""]
    assert first.sha256() == second.sha256()
    assert (view.name, view.bands, view.pixel_scale_arcsec) == ("unwise", ("w1",), 5.5)
    assert view.present.all()
    assert first.classes == ("other", "cluster")
    assert np.isnan(first.redshift).all()
    assert first.weight.tolist() == [1, 1, 1, 1]


def test_classes_weights_and_other_columns_come_along(shard, tmp_path):
    meta = {"classes": ["spiral", "merger"], "unit": "count"}
    path = shard(tmp_path / "stamps.parquet", GOOD, meta=meta, weight=[1.0, 0.5, 2.0, 1.0],
                 redshift=[0.1, None, 0.3, None], r_mag=[17.0, None, 18.5, 19.0],
                 votes=[3, 4, 5, 6], survey=["sdss", None, "sdss", "ps1"])  # fmt: skip
    found = read_examples([path])
    assert found.classes == ("spiral", "merger")
    assert found.views[0].unit == "count"
    assert found.weight.tolist() == [1.0, 0.5, 2.0, 1.0]
    np.testing.assert_array_equal(found.redshift, [0.1, np.nan, 0.3, np.nan])
    np.testing.assert_array_equal(found.columns["r_mag"], [17.0, np.nan, 18.5, 19.0])
    assert found.columns["votes"].tolist() == [3, 4, 5, 6]
    assert found.columns["survey"].tolist() == ["sdss", "", "sdss", "ps1"]
    assert set(found.columns) == {"r_mag", "votes", "survey"}


def test_the_checksum_notices_a_changed_pixel_a_changed_weight_and_a_missing_view(shard, tmp_path):
    one = read_examples([shard(tmp_path / "a/Npix1.parquet", GOOD)])
    other = [*GOOD[:3], ("d", "", "validation", 0, 4.5)]
    assert one.sha256() != read_examples([shard(tmp_path / "b/Npix1.parquet", other)]).sha256()
    heavier = dataclasses.replace(one, weight=one.weight * 2)
    assert one.sha256() != heavier.sha256()
    absent = dataclasses.replace(one.views[0], present=np.array([True, True, False, True]))
    assert one.sha256() != dataclasses.replace(one, views=(absent,)).sha256()


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([*GOOD, ("e", "cl1", "test", 1, 0.0)], r"'cl1' in train \(a\) and test \(e\)"),
        ([*GOOD, ("a", "cl9", "train", 1, 0.0)], "more than once, first 'a'"),
        (GOOD[1:], "train split has no example of class 'cluster'"),
        (GOOD[:3], "validation split has no example of class 'other'"),
        ([*GOOD, ("e", "", "exam", 0, 0.0)], "unknown split 'exam'"),
        ([*GOOD, ("e", "", "test", 2, 0.0)], "none of the 2 classes other, cluster, first 2"),
        ([], "no example"),
    ],
)
def test_unsound_training_sets_are_refused(shard, tmp_path, rows, message):
    with pytest.raises(ProductError, match=message):
        read_examples([shard(tmp_path / "Npix1.parquet", rows)])


@pytest.mark.parametrize("weight", [-1.0, np.nan])
def test_impossible_weights_are_refused(examples, weight):
    weights = examples.weight.copy()
    weights[3] = weight
    with pytest.raises(ProductError, match=r"first .* of 'e0003'"):
        check(dataclasses.replace(examples, weight=weights))


def test_damaged_and_unlike_shards_are_named(shard, tmp_path):
    good = shard(tmp_path / "Npix1.parquet", GOOD)
    other = shard(tmp_path / "Npix2.parquet", [("e", "", "test", 0, 0.0)], scale=2.75)
    with pytest.raises(ProductError, match=r"Npix2.parquet holds .*2.75"):
        read_examples([good, other])
    other.write_bytes(b"PAR1")
    with pytest.raises(ProductError, match=r"Npix2.parquet cannot be read"):
        read_examples([good, other])
    with pytest.raises(ProductError, match="cannot be read"):
        read_examples([tmp_path / "Npix3.parquet"])
