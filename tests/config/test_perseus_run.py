"""The shipped run on real images: its settings hold together, and its split leaks nothing."""

import numpy as np
import pytest

from clusterscan.config.load import load_config
from clusterscan.core import sky
from clusterscan.core.data_paths import PROJECT_ROOT
from clusterscan.flow.footprint import run_tiles
from clusterscan.flow.paths import Paths
from clusterscan.flow.sky_split import SkySplit
from clusterscan.flow.stage_settings import StageSettings
from clusterscan.sample.stamps import read_labels

MEMBERS = 496  # Wittmann et al. 2019, ApJS 245, 10: classes 3 and 5 of the listed galaxies
GALAXIES = 5437


@pytest.fixture(scope="module")
def config():
    return load_config([PROJECT_ROOT / "resources" / "runs" / "perseus.yaml"])


@pytest.fixture(scope="module")
def labels(real_data, config):
    if not (real_data / "images" / "perseus").is_dir():
        pytest.skip("the Perseus images are not among the real data")
    return read_labels(config.surveys["sdss"].sample)


def test_the_shipped_run_is_valid_and_writes_to_a_folder_of_its_own(config):
    assert config.output == "runs/perseus"
    assert not config.is_simulated
    assert config.surveys["sdss"].sample.kind == "stamps"


def test_every_product_and_every_job_has_a_place_and_settings(config):
    assert "runs/perseus/catalogue/clusters.fits" in Paths(config).products()
    settings = StageSettings(config)
    for survey, model in config.scanned():
        assert settings.scan(survey, model)
        assert settings.detect(survey, model)


def test_regions_are_whole_tiles_of_the_footprint_and_share_none(config):
    regions, tiles = config.sky.regions, set(run_tiles(config.sky))
    assert regions.order == config.sky.tile_order
    test, validation = set(regions.test), set(regions.validation)
    assert not test & validation
    assert test < tiles
    assert validation < tiles
    assert tiles - test - validation


def test_the_noise_ring_of_a_peak_and_of_the_map_fit_into_a_tile(config):
    side_arcmin = 60 * np.sqrt(sky.cell_area_deg2(config.sky.tile_order))
    assert config.detect.noise_outer_arcmin < side_arcmin / 2
    assert config.surveys["sdss"].filter.noise_radius_arcmin < side_arcmin / 2


def test_the_scan_steps_as_finely_as_its_map(config):
    pixel_arcsec = 3600 * np.sqrt(sky.cell_area_deg2(config.sky.map_order))
    step_arcsec = config.surveys["sdss"].scan.step_px * 0.4
    assert step_arcsec <= 1.05 * pixel_arcsec


def test_the_truth_holds_all_classes_and_the_cuts_choose_the_members(config):
    truth = config.catalogue(config.catalogue_names("truth")[0])
    assert not truth.select
    assert config.validate_.completeness_cut["member"] == (1, None)
    assert config.validate_.purity_cut["member"] == (1, None)
    assert [b.column for b in config.validate_.bins] == ["rmag"]


def test_seven_classes_become_two_with_the_published_number_of_members(labels):
    assert len(labels) == GALAXIES
    assert labels["class"].nunique() == 7
    assert set(labels["label"]) == {0, 1}
    assert (labels["label"] == 1).sum() == MEMBERS
    assert set(labels.loc[labels["label"] == 1, "class"]) == {3, 5}


def test_no_member_is_in_two_parts_and_every_part_has_members(config, labels):
    split = SkySplit(config.sky.regions)
    members = labels[labels["label"] == 1]
    parts = split.part_of(members["ra_deg"].to_numpy(), members["dec_deg"].to_numpy())
    count = {part: int((parts == part).sum()) for part in ("train", "validation", "test")}
    assert sum(count.values()) == MEMBERS
    assert members["object_id"].is_unique
    assert count["test"] >= 100
    assert count["validation"] >= 50
    assert count["train"] >= 250


def test_all_members_lie_on_searched_tiles(config, labels):
    members = labels[labels["label"] == 1]
    tile = sky.owning_cell(
        members["ra_deg"].to_numpy(), members["dec_deg"].to_numpy(), config.sky.tile_order
    )
    assert set(tile.tolist()) <= set(run_tiles(config.sky))
