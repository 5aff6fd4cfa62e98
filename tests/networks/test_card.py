import json

import pytest
import torch

from clusterscan.config.networks import FusionSettings, NetworkSettings
from clusterscan.core.errors import ModelError
from clusterscan.networks.card import CARD, WEIGHTS, check_fits, load_model, read_card, save_model
from clusterscan.networks.registry import build

SETTINGS = NetworkSettings(size_px=32, window_px=16, output_stride=8)
VIEW = {
    "survey": "unwise",
    "bands": ["w1", "w2"],
    "pixel_scale_arcsec": 2.75,
    "unit": "nanomaggy",
    "normalisation": {"kind": "standard"},
}
FACTS = {"views": [VIEW], "classes": ["other", "cluster"]}


@pytest.fixture
def saved(tmp_path):
    network = build(SETTINGS, 2, 1).eval()
    save_model(tmp_path / "model", network, FACTS)
    return tmp_path / "model", network


def rewrite(folder, **changes):
    card = json.loads((folder / CARD).read_text()) | changes
    card = {key: value for key, value in card.items() if value is not ...}
    (folder / CARD).write_text(json.dumps(card))


def test_a_model_comes_back_as_it_was(saved):
    folder, network = saved
    again, card = load_model(folder)
    crops = torch.randn(2, 2, 32, 32)
    with torch.inference_mode():
        assert torch.equal(network(crops), again(crops))
    assert again.settings == SETTINGS
    assert not again.training
    assert card["views"] == [VIEW]
    assert card["calibration"] is None
    assert card["file"] == str(folder / CARD)


@pytest.mark.parametrize(
    "settings",
    [
        NetworkSettings(name="custom_net", size_px=40, classes=2),
        NetworkSettings(name="resnet18", size_px=32, classes=2),
        NetworkSettings(name="spinalnet_densenet", size_px=32, classes=2),
        NetworkSettings(name="vit_tiny", size_px=32, classes=2),
        NetworkSettings(name="efficientnet_b0", size_px=32, window_px=16, output_stride=8),
    ],
    ids=lambda s: s.name,
)
def test_every_kind_of_network_comes_back_as_it_was(tmp_path, settings):
    network = build(settings, 2, 1).eval()
    save_model(tmp_path, network, FACTS)
    again, _ = load_model(tmp_path)
    crops = torch.randn(2, 2, settings.size_px, settings.size_px)
    with torch.inference_mode():
        assert torch.equal(network(crops), again(crops))


def test_a_fusion_comes_back_with_all_its_views(tmp_path):
    settings = FusionSettings(
        branches={"unwise": SETTINGS, "act": NetworkSettings(name="cnn_mlp", size_px=24)},
        hidden=8,
    )
    network = build(settings, (2, 3), 1).eval()
    act = VIEW | {"survey": "act", "bands": ["f090", "f150", "f220"], "pixel_scale_arcsec": 30.0}
    save_model(tmp_path, network, FACTS | {"views": [VIEW, act]})
    again, card = load_model(tmp_path)
    views = [torch.randn(4, 2, 32, 32), torch.randn(4, 3, 24, 24)]
    present = torch.tensor([[True, True], [True, False], [False, True], [True, True]])
    with torch.inference_mode():
        assert torch.equal(network.of_views(views, present), again.of_views(views, present))
    assert "network" not in card
    check_fits(card, 1, ["f090", "f150", "f220"], 30.0)
    with pytest.raises(ModelError, match=r"surveys \['act', 'unwise'\] do not fit the fusion"):
        save_model(tmp_path, build(settings, (3, 2), 1), FACTS | {"views": [act, VIEW]})


def test_the_same_model_has_the_same_bytes(saved, tmp_path):
    folder, network = saved
    # The memory format is the machine's business, not the model's; where a card was read from
    # is not the card's.
    last = network.to(memory_format=torch.channels_last)
    save_model(tmp_path / "again", last, read_card(folder))
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
    (folder / CARD).write_text("[]", encoding="utf-8")
    with pytest.raises(ModelError, match="holds no model card"):
        load_model(folder)
    with pytest.raises(ModelError, match="cannot be read"):
        load_model(tmp_path / "nowhere")


def test_cards_of_the_first_format_are_refused_clearly(saved):
    folder, _ = saved
    rewrite(folder, format=1, views=..., classes=..., bands=["w1"], normalisation={})
    with pytest.raises(ModelError, match=r"model.json has format 1, .* train the model again"):
        load_model(folder)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("views", [VIEW | {"bands": ["w1"]}], "does not fit the architecture"),
        ("views", [VIEW, VIEW], r"describe 1 view\(s\), but bands are given for 2"),
        ("classes", ["a", "b", "c"], "name 2 classes"),
        ("format", 99, "has format 99"),
        ("views", ..., "lacks views"),
        ("network", ..., r"lacks network \(or fusion\)"),
    ],
)
def test_cards_that_do_not_fit_their_weights_are_refused(saved, key, value, message):
    folder, _ = saved
    rewrite(folder, **{key: value})
    with pytest.raises(ModelError, match=message):
        load_model(folder)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("weights", "x"),
        ("network", None),
        ("network", {"name": "evil"}),
        ("views", 3),
        ("views", []),
        ("views", [{"survey": "unwise"}]),
        ("views", [VIEW | {"bands": "w1"}]),
        ("views", [VIEW | {"pixel_scale_arcsec": 0}]),
        ("views", [VIEW | {"pixel_scale_arcsec": None}]),
        ("classes", "two"),
        ("classes", ["one"]),
    ],
)
def test_a_card_of_wrong_types_is_refused(saved, key, value):
    folder, _ = saved
    rewrite(folder, **{key: value})
    with pytest.raises(ModelError, match="no model card of this version"):
        load_model(folder)


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"views": [VIEW | {"bands": ["w1"]}]}, r"views of \(1,\) bands do not fit"),
        ({"classes": ["a", "b", "c"]}, "name 2 classes, label 0 first"),
        ({"classes": ["a"]}, "not two or more names"),
    ],
)
def test_a_card_that_does_not_fit_its_network_is_not_written(tmp_path, facts, message):
    with pytest.raises(ModelError, match=message):
        save_model(tmp_path / "model", build(SETTINGS, 2, 1), FACTS | facts)
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize(
    ("view", "bands", "scale", "message"),
    [
        (0, ["w1"], 2.75, r"in bands \['w1', 'w2'\], not \['w1'\]; take images in those bands"),
        (0, ["w2", "w1"], 2.75, "give the bands in that order"),
        (0, ["w1", "w2"], 5.5, r"2.75 arcsec a pixel, not 5.5; resample"),
        (0, ["w1", "w2"], 2.80, r"not 2.8; resample"),
        (1, ["w1", "w2"], 2.75, r"1 view\(s\), unwise; there is no view 1"),
        (-1, ["w1", "w2"], 2.75, "there is no view -1"),
    ],
)
def test_images_that_a_model_was_not_trained_on_are_refused(saved, view, bands, scale, message):
    folder, _ = saved
    card = read_card(folder)
    check_fits(card, 0, ("w1", "w2"), 2.7501)
    with pytest.raises(ModelError, match=message) as error:
        check_fits(card, view, bands, scale)
    assert str(folder / CARD) in str(error.value)
