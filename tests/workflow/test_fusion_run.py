"""A network of several surveys in the workflow: its jobs, and added to a finished run."""

import json

import numpy as np
import pytest
import yaml

from clusterscan.formats.map_tile import read_map_tile

BRANCH = {"name": "baseline", "output_stride": 4, "size_px": 16, "window_px": 8}
TRAINING = {
    "epochs": 1,
    "batch_size": 16,
    "learning_rate": 0.003,
    "normalisation": {"kind": "standard"},
    "augmentation": {"shift_px": 1},
}


@pytest.fixture
def with_fusion(mini_text):
    """Return what gives the mini configuration with a finer survey and a network of both."""

    def text(**changes):
        act = yaml.safe_load(mini_text())["surveys"]["act"]
        fine = {**act, "title": "Finer microwave sky", "pixel_scale_arcsec": 30.0}
        fine.pop("filter")
        both = {
            "network": {"branches": {"act": BRANCH, "fine": BRANCH}, "hidden": 8},
            "train": TRAINING,
        }
        return mini_text(surveys__fine=fine, fusions={"both": both}, **changes)

    return text


def test_a_fusion_has_one_training_and_a_scan_and_a_detection_a_block(fresh, with_fusion):
    fresh.configure(with_fusion(sky__block_order=6))
    said = fresh.snakemake("-n", "--quiet", "rules")
    jobs = dict(line.split()[:2] for line in said.splitlines() if len(line.split()) == 2)
    # act: a network and a filter; fine: a network; both together: one; four blocks
    assert (jobs["train"], jobs["scan"], jobs["detect"]) == ("3", "16", "16")
    assert (jobs["sample"], jobs["training_set"], jobs["merge"]) == ("8", "2", "1")


def times(folder):
    """Return when each file below a folder was written."""
    return {p: p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file()}


@pytest.mark.chain
def test_a_survey_and_a_fusion_are_added_to_a_finished_run_and_change_nothing_that_is_there(
    copy, with_fusion
):
    folders = ("models/act-baseline", "records/scan/act", "records/detect/act", "releases/act")
    before = {folder: times(copy.root / folder) for folder in folders}
    assert all(before.values())
    copy.configure(with_fusion())
    copy.snakemake("results/manifests/detect/fusion/both/o4-1105.json")
    assert {folder: times(copy.root / folder) for folder in folders} == before
    card = json.loads((copy.root / "models/fusion-both/model.json").read_text("utf-8"))
    assert [view["survey"] for view in card["views"]] == ["act", "fine"]
    assert [view["pixel_scale_arcsec"] for view in card["views"]] == [40.0, 30.0]
    maps = sorted(copy.root.glob("maps/fusion/both/Norder6/Dir10000/*.fits"))
    assert len(maps) == 4
    for path in maps:
        values = read_map_tile(path)
        alone = copy.root / "maps/act/baseline" / path.relative_to(copy.root / "maps/fusion/both")
        assert np.isfinite(values[np.isfinite(read_map_tile(alone))]).all()
        assert np.ptp(values[np.isfinite(values)]) > 0
