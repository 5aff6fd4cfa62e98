"""Exactly the tiles that a change asks for are computed again, once per stage.

The stages' scripts run in this process, on a sky of a few images on disk.
"""

import importlib.util
import json
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from clusterscan import sky
from clusterscan.config.load import load_config
from clusterscan.config.stages import StageSettings
from clusterscan.progress import Progress
from clusterscan.sync.sources import sync_sources
from clusterscan.workflow import Paths

PROJECT = Path(__file__).resolve().parents[2]
TILES = (17680, 17681, 17683, 17684, 17686, 17687)  # the first and the last do not touch
STAGES = ("fetch", "preprocess", "scan", "detect")
KEYS = dict(zip(STAGES, ("act", "act", "act/filter", "act/filter"), strict=True))


def write_image(path, ra, dec, side_deg, value):
    """Write an image of smooth sky around a position."""
    side = round(side_deg * 60)
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [ra, dec]
    wcs.wcs.cdelt = [-1 / 60, 1 / 60]
    wcs.wcs.crpix = [side / 2 + 0.5] * 2
    y, x = np.indices((side, side))
    data = (value + np.sin(x / 5.0) * np.cos(y / 7.0)).astype(np.float32)
    fits.PrimaryHDU(data, wcs.to_header()).writeto(path, overwrite=True)


class Mini:
    """A run of one survey with its plain filter, from sync to detect."""

    def __init__(self, folder, mini_text):
        self.folder = folder
        self.images = folder / "images"
        self.images.mkdir()
        self._text = mini_text
        centre = [float(np.mean(v)) for v in zip(*map(self.position, TILES), strict=True)]
        write_image(self.images / "all.fits", *centre, 6.0, 0.0)
        write_image(self.images / "last.fits", *self.position(17687), 0.1, 1.0)

    @staticmethod
    def position(tile):
        """Return the centre of a tile."""
        wcs, (ny, nx) = sky.tile_frame(tile, 6, 40.0, 0.0)
        return [float(v) for v in wcs.pixel_to_world_values((nx - 1) / 2, (ny - 1) / 2)]

    def config(self, **changes):
        """Write and read the configuration."""
        files = dict.fromkeys(("f090", "f150", "f220"), "*.fits")
        cells = {"kind": "cells", "order": 6, "ipix": list(changes.pop("tiles", TILES))}
        text = self._text(
            output=str(self.folder / "run"),
            sky__footprint=cells,
            surveys__act__preprocess={},  # a filter that looks around would widen the halo
            surveys__act__source={"kind": "local", "path": str(self.images), "files": files},
            **changes,
        )
        (self.folder / "config.yaml").write_text(text, encoding="utf-8")
        return load_config([self.folder / "config.yaml"])

    def run(self, **changes):
        """Bring the run up to date; return which tiles each stage computed."""
        config = self.config(**changes)
        root = Path(config.output)
        before = {stage: self.times(stage) for stage in STAGES}
        sync_sources(config)
        paths, settings = Paths(config), StageSettings(config)
        for stage in STAGES:
            for block in paths.blocks:
                self.do_block(stage, config, paths, settings, block, root)
        after = {stage: self.times(stage) for stage in STAGES}
        return {
            stage: {tile for tile, at in now.items() if before[stage].get(tile) != at}
            for stage, now in after.items()
        }

    def do_block(self, stage, config, paths, settings, block, root):
        """Run one stage's script on a block."""
        key = KEYS[stage]
        texts = {
            "fetch": lambda: settings.fetch("act"),
            "preprocess": lambda: settings.preprocess("act"),
            "scan": lambda: settings.scan("act", "filter"),
            "detect": lambda: settings.detect("act", "filter"),
        }
        spec = importlib.util.spec_from_file_location(
            f"script_{stage}", PROJECT / "workflow/scripts" / f"{stage}.py"
        )
        script = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(script)
        args = Namespace(
            root=root,
            settings=json.loads(texts[stage]()),
            key=key,
            block=int(block.partition("-")[2]),
            output=Path(paths.manifest(stage, key, block)),
            workers=1,
            max_failed_fraction=0.0,
            download=config.execution.download,
            sources=Path(paths.sources("act", block)),
            raw=paths.manifest("fetch", "act", block),
            tiles=paths.manifest("preprocess", "act", block),
            model=[],
            maps=paths.manifest("scan", "act/filter", block),
            around=[Path(p) for p in paths.touching("scan", "act/filter", block)],
        )
        script.main(args, Progress(None, stage))

    def times(self, stage):
        """Return when each tile's record was written."""
        folder = self.folder / "run/records" / stage / KEYS[stage]
        return {
            int(path.stem.removeprefix("Npix")): path.stat().st_mtime_ns
            for path in folder.rglob("*.json")
        }


@pytest.fixture(scope="module")
def mini(tmp_path_factory, mini_text):
    """Return a run that is up to date; each test leaves it so."""
    made = Mini(tmp_path_factory.mktemp("changed"), mini_text)
    assert made.run() == computed(TILES)
    return made


def computed(tiles=(), **others):
    """Return the tiles that each stage is to compute: the same ones but where said."""
    return {stage: set(others.get(stage, tiles)) for stage in STAGES}


def seen_from(changed, tiles=TILES):
    """Return the tiles that detection sees changed maps from."""
    around = {int(t) for tile in changed for t in sky.neighbours(tile, 6)}
    return set(changed) | (around & set(tiles))


def test_nothing_changed_computes_nothing(mini):
    assert mini.run() == computed()


def test_one_changed_image_recomputes_its_tile_once_per_stage_and_the_border_of_its_neighbours(
    mini,
):
    write_image(mini.images / "last.fits", *mini.position(17687), 0.1, 5.0)
    assert mini.run() == computed([17687], detect=seen_from({17687}))
    assert seen_from({17687}) == {17684, 17686, 17687}


def test_an_image_on_a_border_recomputes_each_tile_whose_halo_it_reaches(mini):
    a, b = mini.position(17680), mini.position(17681)
    write_image(mini.images / "border.fits", *np.mean([a, b], axis=0), 0.1, 5.0)
    found = mini.run()
    assert {17680, 17681} <= found["fetch"] < set(TILES)
    assert found["preprocess"] == found["scan"] == found["fetch"]
    assert found["detect"] == seen_from(found["fetch"])


def test_a_file_that_is_gone_recomputes_the_tiles_that_it_reached(mini):
    write_image(mini.images / "more.fits", *mini.position(17680), 0.1, 5.0)
    assert mini.run()["fetch"] == {17680}
    (mini.images / "more.fits").unlink()
    assert mini.run()["scan"] == {17680}


def test_a_rewritten_file_of_the_same_bytes_recomputes_nothing(mini):
    path = mini.images / "last.fits"
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(data)
    assert mini.run() == computed()


def test_a_changed_threshold_computes_only_its_stage(mini):
    found = mini.run(detect__min_snr=3.0)
    assert found == computed(detect=TILES)
    mini.run()


def test_new_sky_computes_the_new_tile_and_the_borders_that_see_it(mini):
    tiles = (*TILES, 17685)
    found = mini.run(tiles=tiles)
    assert found == computed([17685], detect=seen_from({17685}, tiles))
    mini.run()


def test_another_block_order_moves_no_tile(mini):
    assert mini.run(sky__block_order=5) == computed()


def test_a_deleted_and_a_cut_shard_alone_are_made_anew_with_the_same_bytes(mini):
    shards = [mini.folder / f"run/tiles/act/Norder6/Dir10000/Npix{t}.fits" for t in (17681, 17683)]
    whole = [shard.read_bytes() for shard in shards]
    shards[0].unlink()
    shards[1].write_bytes(whole[1][:-100])
    assert mini.run() == computed(preprocess=[17681, 17683])
    assert [shard.read_bytes() for shard in shards] == whole
