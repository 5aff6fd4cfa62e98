"""A block job computes what changed, records what failed, and loses nothing."""

from functools import partial
from pathlib import Path

import pytest

from clusterscan.commands.verify import forget, verify
from clusterscan.core.atomic import atomic_path
from clusterscan.core.errors import ClusterscanError, ImageError
from clusterscan.core.records import read_manifest
from clusterscan.flow.blocks import BlockJob, TileOutcome, run_block

MANIFEST = "manifests/preprocess/unwise/o4-16.json"
TILES = [64, 65, 66, 67]


def write_square(calls: list, inputs: dict, tile: int, shard: Path) -> TileOutcome:
    calls.append(tile)
    if inputs[tile] == "broken":
        raise ImageError("raw image cut short; fetch it anew")
    if inputs[tile] == "bug":
        raise TypeError("a bug")
    if inputs[tile] == "empty":
        return TileOutcome("no_coverage", "nothing here")
    with atomic_path(shard) as temporary:
        temporary.write_text(f"{tile} {inputs[tile]}")
    return TileOutcome(counts={"squares": tile**2})


@pytest.fixture
def block(tmp_path):
    """Return a function that runs the block and says which tiles were computed."""

    def run(inputs, **changes):
        settings = {"stage": "preprocess", "version": 1, "key": "unwise", "root": tmp_path}
        settings |= {"folder": "tiles/unwise", "suffix": ".txt", "settings": {"binning": 2}}
        settings |= {"tile_order": 5, "block_order": 4, "block": 16}
        settings |= {"manifest": tmp_path / MANIFEST}
        calls: list[int] = []
        job = BlockJob(**{**settings, **changes})
        run_block(job, inputs, partial(write_square, calls, inputs))
        return calls

    return run


def inputs(**changed):
    return {tile: changed.get(f"t{tile}", "raw") for tile in TILES}


def test_only_the_tile_whose_input_changed_is_computed_again(block):
    assert block(inputs()) == TILES
    assert block(inputs()) == []
    assert block(inputs(t65="new")) == [65]


def test_another_setting_or_version_computes_all_again_but_another_block_order_none(block):
    block(inputs())
    assert block(inputs(), block_order=3, block=4) == []
    assert block(inputs(), settings={"binning": 3}) == TILES
    assert block(inputs(), settings={"binning": 3}, version=2) == TILES


def test_a_removed_shard_is_computed_again(block, tmp_path):
    block(inputs())
    (tmp_path / "tiles/unwise/Norder5/Dir0/Npix66.txt").unlink()
    assert block(inputs()) == [66]


def test_a_failed_tile_is_named_with_its_reason_and_the_others_are_kept(block, tmp_path):
    with pytest.raises(ClusterscanError, match=r"tile 66: raw image cut short") as caught:
        block(inputs(t66="broken"))
    assert "max_failed_fraction" in str(caught.value)
    assert not (tmp_path / MANIFEST).exists()
    assert block(inputs()) == [66]


def test_a_bug_in_one_tile_is_recorded_too(block, tmp_path):
    block(inputs(t64="bug"), max_failed_fraction=0.25)
    failed = read_manifest(tmp_path / MANIFEST).records[0]
    assert (failed.status, failed.reason, failed.path) == ("failed", "TypeError: a bug", "")


def test_sky_without_coverage_is_a_success_without_a_shard(block, tmp_path):
    block(inputs())
    assert block(inputs(t67="empty")) == [67]
    assert not (tmp_path / "tiles/unwise/Norder5/Dir0/Npix67.txt").exists()
    assert block(inputs(t67="empty")) == []


def test_two_dask_workers_give_what_one_gives(block, tmp_path):
    block(inputs(t65="empty"))
    alone = (tmp_path / MANIFEST).read_bytes()
    block(inputs(t65="empty"), settings={"binning": 3})
    block(inputs(t65="empty"), workers=2)
    assert (tmp_path / MANIFEST).read_bytes() == alone


def test_verify_finds_missing_and_damaged_shards_and_forget_has_them_made_anew(block, tmp_path):
    block(inputs())
    assert verify(tmp_path) == (8, [])  # four shards and their records
    folder = tmp_path / "tiles/unwise/Norder5/Dir0"
    (folder / "Npix64.txt").unlink()
    (folder / "Npix65.txt").write_text("65 rax")
    _, bad = verify(tmp_path)
    found = [(fault.problem, fault.path.rpartition("/")[2]) for fault in bad]
    assert found == [("missing", "Npix64.txt"), ("damaged", "Npix65.txt")]
    forget(tmp_path, bad)
    assert block(inputs()) == [64, 65]


def test_a_job_killed_between_shard_and_record_leaves_no_older_record_beside_it(block, tmp_path):
    block(inputs())
    before = (tmp_path / MANIFEST).read_bytes()

    def killed(tile, shard):
        with atomic_path(shard) as temporary:
            temporary.write_text(f"{tile} odd")  # as long as what it replaces
        raise KeyboardInterrupt

    job = BlockJob(
        stage="preprocess", version=1, key="unwise", root=tmp_path, folder="tiles/unwise",
        suffix=".txt", settings={"binning": 3}, tile_order=5, block_order=4, block=16,
        manifest=tmp_path / MANIFEST,
    )  # fmt: skip
    with pytest.raises(KeyboardInterrupt):
        run_block(job, inputs(), killed)
    assert block(inputs()) == [64]  # with the earlier settings again
    assert (tmp_path / MANIFEST).read_bytes() == before
    assert verify(tmp_path)[1] == []
