"""Every extra that a study can ask for is made, and stands on its page."""

import json

import pytest

from clusterscan.config.networks import NetworkSettings
from clusterscan.core.atomic import write_json
from clusterscan.networks.card import save_model
from clusterscan.networks.normalise import Normalisation
from clusterscan.networks.registry import build
from clusterscan_studies.config.extras import ExtraSettings
from clusterscan_studies.extras.pages import PAGES
from clusterscan_studies.page import extra_section


def test_there_is_a_page_for_every_extra():
    assert set(PAGES) == set(ExtraSettings.model_fields)
    assert ExtraSettings().names() == []


@pytest.fixture
def xray_model(tmp_path):
    """Return a study's folder with an untrained network of ROSAT-like images in it."""
    settings = NetworkSettings(name="baseline", form="whole", size_px=32)
    view = {
        "survey": "rosat", "bands": ["xray"], "pixel_scale_arcsec": 14.9473,
        "unit": "ct/arcmin2",
        "normalisation": Normalisation("standard", 3.0, (0.0,), (1.0,)).to_json(),
    }  # fmt: skip
    folder = tmp_path / "models/rosat"
    save_model(
        folder / "seed1", build(settings, 1, seed=1), {"views": [view], "classes": ["a", "b"]}
    )
    repeats = [{"name": "seed1", "seed": 1, "fold": None}]
    (folder / "experiment.json").write_text(json.dumps({"repeats": repeats}))
    return tmp_path


def test_the_real_rosat_field_has_its_picture_and_its_clusters(real_data, xray_model, monkeypatch):
    monkeypatch.setenv("CLUSTERSCAN_DATA", str(real_data))
    catalogue = {
        "name": "act_dr5", "kind": "act_dr5", "role": "reference",
        "path": "${CLUSTERSCAN_DATA}/clusters/aactpol.csv.gz",
    }  # fmt: skip
    settings = {"experiment": "rosat", "step_px": 32, "catalogues": [catalogue]}
    stage = {"settings": settings, "datasets": {}, "titles": {"rosat": "Net"}}
    page = PAGES["rosat_field"](xray_model, stage, lambda *_: None)
    write_json(xray_model / "extras/rosat_field.json", page)
    section = extra_section(xray_model, "rosat_field")
    assert len(section.pictures) == 1
    assert len(section.tables[0].rows) == 5  # clusters of ACT DR5 in this field (the data's README)
    assert section.tables[0].header[:2] == ["catalogue", "cluster"]
