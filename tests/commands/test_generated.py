"""The shipped configuration, its schema and its reference page agree with the typed model."""

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from clusterscan.commands.generate import generated_files
from clusterscan.config.load import load_config
from clusterscan.core import sky
from clusterscan.flow.footprint import run_blocks, run_tiles

PROJECT = Path(__file__).resolve().parents[2]
FILES = generated_files(PROJECT)
REFERENCE = PROJECT / "docs/configuration.md"
SHIPPED = [PROJECT / "config.yaml", *sorted(PROJECT.glob("resources/runs/*.yaml"))]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_generated_file_is_what_the_model_gives_now(path):
    assert path.read_text(encoding="utf-8") == FILES[path], (
        "run python -m clusterscan.commands.generate"
    )


@pytest.fixture(scope="module")
def validator():
    schema = json.loads((PROJECT / "workflow/schemas/config.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.mark.parametrize("file", SHIPPED, ids=lambda path: path.name)
def test_a_shipped_configuration_loads_and_the_schema_accepts_it(validator, file):
    values = yaml.safe_load(file.read_text(encoding="utf-8"))
    assert [error.message for error in validator.iter_errors(values)] == []
    assert load_config([file]).surveys


def test_the_default_run_is_the_one_that_its_comments_describe():
    config = load_config([PROJECT / "config.yaml"])
    area_deg2 = len(run_tiles(config.sky)) * sky.cell_area_deg2(config.sky.tile_order)
    assert round(area_deg2) == 54
    assert len(run_blocks(config.sky)) == 2
    assert config.scanned() == [
        (survey, model)
        for survey in ("unwise", "act")
        for model in ("baseline", "resnet18", "filter")
    ]
    assert config.is_simulated
    # The comments give sizes on the sky: tiles, map pixels and crops.
    assert 3600 * sky.cell_area_deg2(config.sky.map_order) ** 0.5 == pytest.approx(51.5, abs=0.05)
    crops = {
        n: s.sample.size_px * s.tile_pixel_scale_arcsec / 60 for n, s in config.surveys.items()
    }
    assert crops == pytest.approx({"unwise": 5.9, "act": 16.0}, abs=0.05)


def test_comments_of_the_default_run_are_whole_sentences_within_the_line():
    lines = (PROJECT / "config.yaml").read_text(encoding="utf-8").splitlines()
    assert max(map(len, lines)) <= 100
    assert sum("#" in line for line in lines) > 50


@pytest.mark.parametrize("key", ["detekt", "output_folder"])
def test_the_schema_refuses_an_unknown_key(validator, key):
    values = yaml.safe_load((PROJECT / "config.yaml").read_text(encoding="utf-8"))
    assert not validator.is_valid({**values, key: {}})


def test_the_schema_refuses_a_wrong_type(validator):
    values = yaml.safe_load((PROJECT / "config.yaml").read_text(encoding="utf-8"))
    assert not validator.is_valid({**values, "sky": {**values["sky"], "tile_order": "five"}})


def test_every_setting_has_a_row_and_a_meaning_in_the_reference():
    rows = [line for line in FILES[REFERENCE].splitlines() if line.startswith("| `")]
    for key in ("block_order", "radius_arcmin", "max_failed_fraction", "validate"):
        assert any(row.startswith(f"| `{key}` |") for row in rows)
    assert [row for row in rows if row.endswith("|  |")] == []
