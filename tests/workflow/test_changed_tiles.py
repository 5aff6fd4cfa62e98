"""Exactly the tiles that a change asks for are computed again, once per stage.

The stages' scripts run in this process, on a sky of a few images on disk.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS

from clusterscan.commands.sync.offline import sync_offline
from clusterscan.commands.sync.sources import sync_sources
from clusterscan.config.load import load_config
from clusterscan.core import sky
from clusterscan.core.errors import SourceError
from clusterscan.detect.stage import detect_block
from clusterscan.fetch.stage import fetch_block
from clusterscan.flow.job import Job
from clusterscan.flow.paths import Paths
from clusterscan.flow.stage_settings import StageSettings
from clusterscan.preprocess.stage import preprocess_block
from clusterscan.scan.stage import scan_block

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
        # A filter that looks around would widen the halo.
        preprocess = {"masks": changes.pop("masks", [])}
        text = self._text(
            output=str(self.folder / "run"),
            sky__footprint=cells,
            surveys__act__preprocess=preprocess,
            surveys__act__source={"kind": "local", "path": str(self.images), "files": files},
            **changes,
        )
        (self.folder / "config.yaml").write_text(text, encoding="utf-8")
        return load_config([self.folder / "config.yaml"])

    def run(self, **changes):
        """Bring the run up to date; return which tiles each stage computed."""
        config = self.config(**changes)
        before = {stage: self.times(stage) for stage in STAGES}
        sync_sources(config)
        paths, settings = Paths(config), StageSettings(config)
        for stage in STAGES:
            for block in paths.blocks:
                self.do_block(stage, config, paths, settings, block)
        after = {stage: self.times(stage) for stage in STAGES}
        return {
            stage: {tile for tile, at in now.items() if before[stage].get(tile) != at}
            for stage, now in after.items()
        }

    def do_block(self, stage, config, paths, settings, block):
        """Run one stage on a block."""
        key = KEYS[stage]
        told = {
            "fetch": lambda: settings.fetch("act"),
            "preprocess": lambda: settings.preprocess("act"),
            "scan": lambda: settings.scan("act", "filter"),
            "detect": lambda: settings.detect("act", "filter"),
        }[stage]()
        job = Job(
            folder=paths.folder,
            settings=told.stage,
            version=told.version,
            sky=told.sky,
            output=Path(paths.manifest(stage, key, block)),
            key=key,
            block=int(block.partition("-")[2]),
        )
        raw, tiles, maps = (
            Path(paths.manifest(*earlier, block))
            for earlier in (("fetch", "act"), ("preprocess", "act"), ("scan", "act/filter"))
        )
        if stage == "fetch":
            fetch_block(job, Path(paths.sources("act", block)), config.execution.download)
        elif stage == "preprocess":
            preprocess_block(job, raw, next(map(Path, paths.mask_lists("act", block)), None))
        elif stage == "scan":
            scan_block(job, [tiles], None, 0)
        else:
            around = paths.touching("scan", "act/filter", block)
            detect_block(job, maps, [Path(path) for path in around])

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


def only(tiles):
    """Return the stages that other masks of tiles have run."""
    return {"preprocess": tiles, "scan": tiles, "detect": seen_from(tiles)}


class Stars:
    """A table of stars on disk, and the mask that names it."""

    def __init__(self, mini):
        self.mini, self.path = mini, mini.folder / "stars.csv"
        self.rows = {}
        for tile in (17681, 17687):
            self.rows[tile] = [*mini.position(tile), 11.0]  # 0.7 arcmin by the rule

    def write(self):
        """Write the table."""
        lines = ["ra,dec,G", *(",".join(str(float(v)) for v in row) for row in self.rows.values())]
        self.path.write_text("\n".join(lines) + "\n", encoding="utf-8")

    def mask(self, **changes):
        """Return the settings of the mask."""
        columns = {"ra_deg": "ra", "dec_deg": "dec", "mag": "G"}
        table = {"kind": "file", "path": str(self.path), "format": "csv", "columns": columns}
        radius = {"kind": "legacy_surveys"}
        return {"kind": "stars", "use": "exclude", "table": table, "radius": radius, **changes}


@pytest.fixture
def stars(mini):
    """Return stars in two tiles whose masks are up to date; the run ends without masks."""
    made = Stars(mini)
    made.write()
    found = mini.run(masks=[made.mask()])
    assert found["preprocess"] == found["scan"] == {17681, 17687}
    assert not found["fetch"]
    yield made
    mini.run()


def test_masks_that_sync_has_seen_and_a_touched_table_recompute_nothing(mini, stars):
    assert mini.run(masks=[stars.mask()]) == computed()
    stars.path.write_bytes(stars.path.read_bytes())
    assert mini.run(masks=[stars.mask()]) == computed()


def test_one_changed_star_recomputes_the_tiles_that_it_masks_now_or_masked_before(mini, stars):
    stars.rows[17687][2] = 9.0
    stars.write()
    assert mini.run(masks=[stars.mask()]) == computed((), **only({17687}))
    stars.rows[17687][:2] = mini.position(17680)
    stars.write()
    changed = {17680, 17687}
    assert mini.run(masks=[stars.mask()]) == computed((), **only(changed))


def test_a_star_on_a_border_recomputes_each_tile_whose_image_its_mask_reaches(mini, stars):
    a, b = mini.position(17683), mini.position(17686)
    stars.rows["border"] = [*np.mean([a, b], axis=0), 8.0]
    stars.write()
    found = mini.run(masks=[stars.mask()])
    assert {17683, 17686} <= found["preprocess"] < set(TILES)
    assert found["scan"] == found["preprocess"]


def test_a_table_in_another_order_and_stars_too_faint_for_a_mask_recompute_nothing(mini, stars):
    stars.rows = dict(reversed(stars.rows.items()))
    stars.rows["faint"] = [*mini.position(17683), 15.0]
    stars.write()
    assert mini.run(masks=[stars.mask(faintest_mag=12.0)]) == computed()


def test_a_table_in_galactic_coordinates_masks_the_same_sky(mini, stars):
    shard = mini.folder / f"run/tiles/act/{sky.shard_path(17687, 6, '.fits')}"
    with fits.open(shard) as hdus:
        before = hdus["MASK"].data.copy()
    for row in stars.rows.values():
        there = SkyCoord(*row[:2], unit="deg").galactic
        row[:2] = there.l.deg, there.b.deg
    stars.write()
    table = stars.mask()["table"] | {"frame": "galactic"}
    mini.run(masks=[stars.mask(table=table)])
    with fits.open(shard) as hdus:
        np.testing.assert_array_equal(hdus["MASK"].data, before)
    assert (before == 4 | 128).any()


def test_another_meaning_of_a_mask_recomputes_the_tiles_that_it_covers_alone(mini, stars):
    found = mini.run(masks=[stars.mask(use="flag")])
    assert found["preprocess"] == {17681, 17687}


def test_a_changed_mask_file_recomputes_the_tiles_under_which_it_changed(mini):
    path = mini.folder / "mask.fits"
    mask = {"kind": "map", "path": str(path), "format": "image", "bad": "below", "use": "exclude"}
    write_image(path, *mini.position(17683), 8.0, 5.0)
    assert mini.run(masks=[mask]) == computed()  # it masks nothing
    with fits.open(path, mode="update") as hdus:
        ra, dec = mini.position(17686)
        x, y = WCS(hdus[0].header).world_to_pixel_values(ra, dec)
        hdus[0].data[round(float(y)), round(float(x))] = 0.0
    changed = {17686}
    assert mini.run(masks=[mask]) == computed((), **only(changed))
    assert mini.run() == computed((), **only(changed))


def test_masks_that_were_not_listed_stop_the_workflow_with_what_to_do(mini):
    stars = Stars(mini)
    stars.write()
    with pytest.raises(SourceError, match="survey act: its masks are not yet listed"):
        sync_offline(mini.config(masks=[stars.mask(factor=1.1)]))


def test_excluded_sky_has_no_value_and_says_why_and_flagged_sky_flags_candidates(mini):
    stars = Stars(mini)
    stars.rows[17687][2] = stars.rows[17681][2] = 6.0  # 3.7 arcmin
    stars.write()
    path = mini.folder / "run/maps/act/filter/Norder6/Dir10000/Npix17687.fits"
    mini.run(masks=[stars.mask()])
    with fits.open(path) as hdus:
        assert (hdus["REASON"].data == 4).sum() > 1
        assert np.isnan(hdus[0].data[hdus["REASON"].data == 4]).all()
        assert "FLAGS" not in hdus
    points = stars.mask(kind="points", use="flag", radius_arcmin=6.0)
    del points["radius"]
    mini.run(masks=[points], detect__min_snr=0.5)
    with fits.open(path) as hdus:
        assert np.isfinite(hdus[0].data[hdus["FLAGS"].data == 16]).any()
        flagged = sky.from_hips_array(hdus["FLAGS"].data) == 16
    place = sky.shard_path(17687, 6, ".parquet")
    table = pd.read_parquet(mini.folder / "run/candidates/act/filter" / place)
    at = table["ipix"].to_numpy() - sky.descendants(17687, 6, 11)[0]
    assert ((table["flags"].to_numpy() & 2048 != 0) == flagged[at]).all()
    assert flagged[at].any()
    mini.run()
