"""Files appear whole or not at all."""

import os

import pytest

from clusterscan.core.atomic import (
    atomic_folder,
    atomic_path,
    to_json,
    write_json,
    write_json_if_changed,
)


def test_a_file_is_replaced_only_when_its_writing_succeeds(tmp_path):
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(RuntimeError, match="full"), atomic_path(target) as temporary:
        temporary.write_text("half of the ne")
        raise RuntimeError("disk full")
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_temporary_file_keeps_the_suffix_that_writers_choose_the_format_by(tmp_path):
    with atomic_path(tmp_path / "deep" / "a.fits") as temporary:
        assert temporary.suffix == ".fits"
        assert temporary.parent == tmp_path / "deep"
        temporary.write_text("x")


def test_json_does_not_depend_on_the_order_of_keys_and_refuses_nan():
    assert to_json({"b": 1, "a": [2]}) == to_json({"a": [2], "b": 1})
    with pytest.raises(ValueError, match="JSON"):
        to_json({"a": float("nan")})


def test_an_unchanged_file_keeps_its_time(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"a": 1})
    os.utime(path, (1, 1))
    assert not write_json_if_changed(path, {"a": 1})
    assert path.stat().st_mtime == 1
    assert write_json_if_changed(path, {"a": 2})
    assert path.stat().st_mtime > 1


def test_a_folder_takes_its_place_whole_or_not_at_all(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/old.txt").write_text("old")
    with pytest.raises(RuntimeError), atomic_folder(tmp_path / "out") as folder:
        (folder / "new.txt").write_text("new")
        raise RuntimeError
    assert [p.name for p in tmp_path.rglob("*.txt")] == ["old.txt"]
    with atomic_folder(tmp_path / "out") as folder:
        (folder / "new.txt").write_text("new")
    assert [p.name for p in tmp_path.rglob("*.txt")] == ["new.txt"]
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
