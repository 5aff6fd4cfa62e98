"""Reading ahead changes no map, reads no tile in vain, and names damaged tiles as before."""

import threading

import numpy as np
import pytest

from clusterscan.core import sky
from clusterscan.core.errors import ClusterscanError
from clusterscan.scan import stage
from clusterscan.scan.fast import read_ahead

BLOCK = 4


@pytest.fixture
def run(chain, seer, light_of, tmp_path):
    """Return a run of six tiles of one block, with images and a network, that is not scanned."""
    first = int(sky.owning_cell(np.array([52.3]), np.array([-27.4]), BLOCK)[0]) * 64
    made = chain(tmp_path, tuple(range(first, first + 6)), block_order=BLOCK)
    made.make_images(light_of(52.3, -27.4))
    made.make_model(seer())
    return made


def image_of(run, tile):
    return run.root / "tiles/act" / sky.shard_path(tile, run.tile_order, ".fits")


def damage(path):
    data = bytearray(path.read_bytes())
    data[-3000] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("ahead", [0, 3])
def test_a_damaged_tile_is_named_and_the_others_are_scanned(run, ahead):
    bad = run.tiles[2]
    damage(image_of(run, bad))
    with pytest.raises(ClusterscanError, match=rf"1 of 6 tiles .*\n  tile {bad}: .*\.fits"):
        run.scan(read_ahead=ahead)
    assert len(run.maps()) == 5


def test_only_tiles_that_are_computed_are_read_ahead(run, monkeypatch):
    run.scan(read_ahead=2)
    before = run.maps()
    lost = [run.tiles[i] for i in (0, 3, 5)]
    for tile in lost:
        (run.root / "maps/act/seer" / sky.shard_path(tile, run.tile_order, ".fits")).unlink()
    told = []

    class Listening(read_ahead.ReadAhead):
        def __init__(self, read, order, ahead):
            super().__init__(lambda tile: told.append(tile) or read(tile), order, ahead)

    monkeypatch.setattr(stage, "ReadAhead", Listening)
    run.scan(read_ahead=2)
    assert sorted(told) == lost
    assert run.maps() == before


@pytest.mark.parametrize("ahead", [0, 1, 3])
def test_reading_ahead_gives_each_tile_what_is_read_of_it_whatever_is_asked_for(ahead):
    read = []

    def of(tile):
        read.append((tile, threading.current_thread() is threading.main_thread()))
        if tile == 7:
            raise OSError("damaged")
        return tile * tile

    with read_ahead.ReadAhead(of, range(10), ahead) as ready:
        assert [ready(tile) for tile in (0, 1, 2, 6)] == [0, 1, 4, 36]
        with pytest.raises(OSError, match="damaged"):
            ready(7)
        assert [ready(tile) for tile in (9, 3)] == [81, 9]
    assert all(main for _, main in read) == (ahead == 0)
    # Only what lies ahead is guessed: at most that many readings are in vain at each jump.
    assert len(read) <= 7 + 3 * ahead + ahead
