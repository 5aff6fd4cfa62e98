"""config.yaml, its schema and its reference come from the typed model and are current."""

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from clusterscan.config.generate import generated_files
from clusterscan.config.load import load_config

PROJECT = Path(__file__).resolve().parents[2]
FILES = generated_files(PROJECT)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_generated_file_is_what_the_model_gives_now(path):
    assert path.read_text(encoding="utf-8") == FILES[path], (
        "run python -m clusterscan.config.generate"
    )


@pytest.fixture(scope="module")
def validator():
    schema = json.loads((PROJECT / "workflow/schemas/config.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.mark.parametrize("name", ["config.yaml", "resources/runs/perseus.yaml"])
def test_the_schema_accepts_the_shipped_configurations(validator, name):
    values = yaml.safe_load((PROJECT / name).read_text(encoding="utf-8"))
    assert [error.message for error in validator.iter_errors(values)] == []
    load_config([PROJECT / name])


def test_the_schema_refuses_an_unknown_key_and_a_wrong_type(validator):
    values = yaml.safe_load((PROJECT / "config.yaml").read_text(encoding="utf-8"))
    assert not validator.is_valid({**values, "detekt": {}})
    assert not validator.is_valid({**values, "sky": {**values["sky"], "tile_order": "five"}})


def test_every_setting_has_a_row_in_the_reference():
    text = FILES[PROJECT / "docs/configuration.md"]
    for key in ("block_order", "radius_arcmin", "max_failed_fraction", "validate"):
        assert f"| `{key}` |" in text
