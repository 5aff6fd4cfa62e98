import json

import pytest
import torch

from clusterscan.config.networks import NetworkSettings
from clusterscan.errors import ModelError
from clusterscan.networks.card import CARD, WEIGHTS, load_model, save_model
from clusterscan.networks.registry import build

SETTINGS = NetworkSettings(size_px=32, window_px=16, output_stride=8)
FACTS = {"bands": ["w1", "w2"], "pixel_scale_arcsec": 2.75, "normalisation": {}}


@pytest.fixture
def saved(tmp_path):
    network = build(SETTINGS, 2, 1).eval()
    save_model(tmp_path / "model", network, FACTS)
    return tmp_path / "model", network


def test_a_model_comes_back_as_it_was(saved):
    folder, network = saved
    again, card = load_model(folder)
    crops = torch.randn(2, 2, 32, 32)
    with torch.inference_mode():
        assert torch.equal(network(crops), again(crops))
    assert again.settings == SETTINGS
    assert not again.training
    assert card["bands"] == ["w1", "w2"]


def test_the_same_model_has_the_same_bytes(saved, tmp_path):
    folder, network = saved
    # The memory format is the machine's business, not the model's.
    save_model(tmp_path / "again", network.to(memory_format=torch.channels_last), FACTS)
    for name in (WEIGHTS, CARD):
        assert (folder / name).read_bytes() == (tmp_path / "again" / name).read_bytes()
    assert {path.name for path in folder.iterdir()} == {WEIGHTS, CARD}


def test_damaged_models_are_refused(saved, tmp_path):
    folder, _ = saved
    weights = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(weights[:-4] + b"\0\0\0\1")
    with pytest.raises(ModelError, match="is not the file its card describes"):
        load_model(folder)
    (folder / WEIGHTS).unlink()
    with pytest.raises(ModelError, match="train the model again"):
        load_model(folder)
    (folder / CARD).write_text("{", encoding="utf-8")
    with pytest.raises(ModelError, match="train the model first"):
        load_model(folder)
    with pytest.raises(ModelError, match="cannot be read"):
        load_model(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("bands", ["w1"], "does not fit the architecture"),
        ("format", 99, "has format 99"),
        ("normalisation", None, "lacks normalisation"),
    ],
)
def test_cards_that_do_not_fit_their_weights_are_refused(saved, key, value, message):
    folder, _ = saved
    card = json.loads((folder / CARD).read_text())
    card[key] = value
    if value is None:
        del card[key]
    (folder / CARD).write_text(json.dumps(card))
    with pytest.raises(ModelError, match=message):
        load_model(folder)


@pytest.mark.parametrize(
    ("key", "value"),
    [("weights", "x"), ("bands", 3), ("network", None), ("network", {"name": "evil"})],
)
def test_a_card_of_wrong_types_is_refused(saved, key, value):
    folder, _ = saved
    card = json.loads((folder / CARD).read_text())
    (folder / CARD).write_text(json.dumps({**card, key: value}))
    with pytest.raises(ModelError, match="no model card of this version"):
        load_model(folder)
