import numpy as np
import pytest

from clusterscan.errors import ProductError
from clusterscan.train.dataset import read_examples

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
    first = read_examples([far, near, empty])
    second = read_examples([near, empty, far])
    assert first.example_id.tolist() == ["a", "b", "c", "d"]
    assert first.images[:, 0, 0, 0].tolist() == [1, 2, 3, 4]
    assert first.object_id.tolist() == ["cl1", "", "cl2", ""]
    assert first.sha256() == second.sha256()
    assert first.bands == ("w1",)
    assert first.pixel_scale_arcsec == 5.5
    assert np.isnan(first.redshift).all()


def test_the_checksum_notices_a_changed_pixel(shard, tmp_path):
    one = read_examples([shard(tmp_path / "a/Npix1.parquet", GOOD)])
    other = [*GOOD[:3], ("d", "", "validation", 0, 4.5)]
    assert one.sha256() != read_examples([shard(tmp_path / "b/Npix1.parquet", other)]).sha256()


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([*GOOD, ("e", "cl1", "test", 1, 0.0)], r"'cl1' in train \(a\) and test \(e\)"),
        ([*GOOD, ("a", "cl9", "train", 1, 0.0)], "more than once, first 'a'"),
        (GOOD[1:], "train split has no positive"),
        (GOOD[:3], "validation split has no negative"),
        ([*GOOD, ("e", "", "exam", 0, 0.0)], "unknown split 'exam'"),
        ([], "no example"),
    ],
)
def test_unsound_training_sets_are_refused(shard, tmp_path, rows, message):
    with pytest.raises(ProductError, match=message):
        read_examples([shard(tmp_path / "Npix1.parquet", rows)])


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
