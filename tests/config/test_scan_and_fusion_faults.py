"""Steps and shifts that no scan and no training can mean are refused before anything runs."""

from copy import deepcopy
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from clusterscan.config.model import Config

MINI = yaml.safe_load((Path(__file__).parents[1] / "mini.yaml").read_text(encoding="utf-8"))
BRANCH = {"name": "baseline", "output_stride": 4, "size_px": 16, "window_px": 8}


def with_scan(**scan):
    """Return the mini configuration with a scan's settings; detection keeps from 0.05 on."""
    config = deepcopy(MINI)
    config["surveys"]["act"]["scan"] = scan
    return config


def with_fusion(shift_px=1, branches=("act", "fine"), **scan):
    """Return one with a survey of pixels half as large, and a network of both."""
    config = deepcopy(MINI)
    fine = deepcopy(config["surveys"]["act"]) | {"pixel_scale_arcsec": 20.0}
    fine["models"]["baseline"]["network"] |= {"form": "whole", "window_px": 16} if scan else {}
    config["surveys"]["fine"] = fine | {"scan": scan}
    train = {"augmentation": {"shift_px": shift_px}}
    network = {"branches": dict.fromkeys(branches, BRANCH)}
    config["fusions"] = {"both": {"network": network, "train": train}}
    return config


@pytest.mark.parametrize(
    ("scan", "words"),
    [
        ({"coarse_step_px": 3}, "coarse_step_px = 3 does not divide .*output_stride = 4; give 2"),
        ({"coarse_step_px": 2, "step_px": 2}, "not coarser than scan.step_px = 2"),
        ({"coarse_step_px": 9, "engine": "windowed"}, "wider than .*window_px = 8"),
        ({"coarse_step_px": 4, "coarse_probability": 0.06}, "candidates would be lost; lower it"),
    ],
)
def test_a_coarse_look_that_finds_nothing_or_ends_in_the_scan_is_refused(scan, words):
    with pytest.raises(ValidationError, match=words):
        Config.model_validate(with_scan(**scan))


@pytest.mark.parametrize(
    "scan",
    [
        {"coarse_step_px": 4, "step_px": 2},
        {"coarse_step_px": 8, "step_px": 3, "engine": "windowed"},
        {"coarse_probability": 0.06},
    ],
)
def test_a_coarse_look_that_makes_sense_is_taken(scan):
    taken = Config.model_validate(with_scan(**scan)).surveys["act"].scan
    assert taken.model_dump(include=set(scan)) == scan


def test_a_step_binds_a_branch_of_a_fusion_only_where_its_survey_is_scanned_densely():
    Config.model_validate(with_fusion(step_px=3, engine="windowed"))
    with pytest.raises(ValidationError, match=r"surveys\.fine\.scan\.step_px = 3 .*; give 2"):
        Config.model_validate(with_fusion(step_px=3))


def test_shifts_of_a_fusion_leave_the_centre_in_each_surveys_image():
    """One pixel of the first survey (40 arcsec) is two of the other, whose half is 8."""
    Config.model_validate(with_fusion(shift_px=3))
    with pytest.raises(ValidationError, match=r"branch fine: .*shift_px is 4: .*give less than 4"):
        Config.model_validate(with_fusion(shift_px=4))


def test_a_branch_of_no_survey_is_named_wherever_its_name_sorts():
    with pytest.raises(ValidationError, match="'aaa' is not a survey"):
        Config.model_validate(with_fusion(branches=("act", "aaa")))
