"""Every shipped survey file is a valid survey, and says what of it was not confirmed."""

from pathlib import Path

import pytest
import yaml

from clusterscan.config.survey import SurveySettings
from clusterscan.fetch.archive_images import conversion_factor

PROJECT = Path(__file__).resolve().parents[2]
FILES = sorted((PROJECT / "resources/surveys").glob("*.yaml"))


@pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])
def test_a_shipped_survey_is_valid_and_honest(path, mini_text):
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert set(content) == {"about", "survey", "confirmed", "unconfirmed"}
    assert {"reference", "depth", "licence"} <= set(content["about"])
    mini = yaml.safe_load(mini_text())["surveys"]["act"]
    rest = {key: mini[key] for key in ("sample", "models", "scan")}
    survey = SurveySettings(**{**rest, **content["survey"]})
    by_band = {"hips": "trees", "archive": "files", "hips2fits": "hips", "cutouts": "bands"}
    assert set(getattr(survey.source, by_band[survey.source.kind])) == set(survey.bands)
    assert content["confirmed"]
    assert content["unconfirmed"]


def test_every_survey_that_users_ask_for_has_a_file():
    names = " ".join(path.stem for path in FILES)
    for survey in (
        "unwise", "allwise", "act_dr5", "act_dr6", "planck", "dss2", "sdss", "legacy",
        "panstarrs", "rosat", "xmm", "erosita", "euclid", "hsc",
    ):  # fmt: skip
        assert survey in names


@pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])
def test_what_is_on_a_server_and_was_not_tried_says_so(path):
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    if content["survey"]["source"]["kind"] != "hips":
        assert {"address", "server"} & set(content["unconfirmed"])


@pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])
def test_units_that_a_file_names_can_be_converted_to_its_survey(path):
    survey = yaml.safe_load(path.read_text(encoding="utf-8"))["survey"]
    if survey["source"]["kind"] != "archive":
        return
    for band in survey["source"]["files"].values():
        if "unit" in band:
            assert conversion_factor(band["unit"], survey["unit"]) == 1.0
        if "channel" in band:
            assert conversion_factor("K_CMB", survey["unit"], band["channel"]) == pytest.approx(1e6)
            assert conversion_factor("MJy/sr", survey["unit"], band["channel"]) > 1e3
