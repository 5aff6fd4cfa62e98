"""Every shipped survey file is a valid survey, and says what of it was not confirmed."""

from pathlib import Path

import pytest
import yaml

from clusterscan.config.model import SurveySettings

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
    assert set(survey.source.trees) == set(survey.bands)
    assert content["confirmed"]
    assert content["unconfirmed"]
