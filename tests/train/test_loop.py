import dataclasses

import numpy as np
import pytest
import torch

from clusterscan.config.networks import NetworkSettings
from clusterscan.config.train import TrainSettings
from clusterscan.networks.card import WEIGHTS, load_model, save_model
from clusterscan.train.loop import train
from clusterscan.train.plots import plot_history, plot_range_test, plot_roc_and_precision

NETWORK = NetworkSettings(size_px=16, window_px=8, output_stride=4)
SETTINGS = TrainSettings(
    epochs=3,
    batch_size=16,
    range_test={"steps": 12},
    normalisation={"kind": "standard"},
    average_over_steps=5,
    augmentation={"shift_px": 1},
    device="cpu",
)


@pytest.fixture(scope="module")
def result(examples):
    return train(examples, NETWORK, SETTINGS)


def test_training_learns_what_a_matched_filter_sees(result):
    """The blobs' matched-filter S/N is above 15: nothing should be missed."""
    assert result.metrics["validation"]["roc_auc"] > 0.95
    assert result.metrics["test"]["roc_auc"] > 0.95
    assert result.history[-1]["loss"] < result.history[0]["loss"]


def test_the_same_seed_gives_the_same_bytes_whatever_happened_before(examples, result, tmp_path):
    torch.rand(7)
    np.random.default_rng().random(3)
    before = torch.random.get_rng_state()
    again = train(examples, NETWORK, SETTINGS)
    assert torch.equal(before, torch.random.get_rng_state())
    for name, model in (("a", result), ("b", again)):
        save_model(tmp_path / name, model.network, model.card)
    for file in (WEIGHTS, "model.json"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    other = train(examples, NETWORK, SETTINGS.model_copy(update={"seed": 2, "epochs": 1}))
    assert not torch.equal(other.network.head.weight, again.network.head.weight)


def test_test_examples_have_no_influence_on_the_weights(examples, result):
    images = examples.images.copy()
    images[examples.split == "test"] = 7
    blind = train(dataclasses.replace(examples, images=images), NETWORK, SETTINGS)
    expected = result.network.state_dict()
    for key, value in blind.network.state_dict().items():
        assert torch.equal(value, expected[key])


def test_the_best_epoch_is_kept_and_the_card_tells_which(result, examples):
    losses = [row["validation_loss"] for row in result.history]
    assert result.card["training"]["best_epoch"] == 1 + int(np.argmin(losses))
    assert result.card["training"]["data_sha256"] == examples.sha256()
    assert result.card["training"]["examples"]["train"] == {"positive": 40, "negative": 40}


def test_patience_stops_training_that_no_longer_improves(examples):
    settings = SETTINGS.model_copy(
        update={
            "epochs": 30,
            "patience": 2,
            "learning_rate": 1e-12,
            "average_over_steps": 0,
            "keep_best_by": "average_precision",
        }
    )
    history = train(examples, NETWORK, settings).history
    best = int(np.argmax([row["validation_average_precision"] for row in history]))
    assert len(history) == best + 3 < 30


def test_a_saved_model_predicts_what_the_trained_one_does(result, tmp_path):
    save_model(tmp_path, result.network, result.card)
    network, card = load_model(tmp_path)
    crops = torch.randn(4, 2, 16, 16)
    with torch.inference_mode():
        # Convolutions sum in another order where weights lie differently in memory.
        torch.testing.assert_close(network(crops), result.network(crops))
    assert card["metrics"]["test"]["roc_auc"] == result.metrics["test"]["roc_auc"]


def test_progress_rises_to_the_end(examples):
    told = []
    settings = SETTINGS.model_copy(update={"epochs": 1, "learning_rate": 1e-3})
    train(examples, NETWORK, settings, progress=lambda *args: told.append(args))
    share = [done / total for done, total, _ in told]
    assert share == sorted(share)
    assert share[-1] == 1
    assert any("epoch 1 of 1" in text for _, _, text in told)


def test_recall_is_given_by_redshift(result):
    bins = result.metrics["validation"]["recall_by_redshift"]
    assert sum(row["positives"] for row in bins) == result.metrics["validation"]["positives"]


def test_figures_have_the_same_bytes_each_time(result, tmp_path):
    for name in ("first", "second"):
        folder = tmp_path / name
        plot_history(result.history, folder / "history.png")
        plot_range_test(result.range_curve, folder / "range_test.png")
        plot_roc_and_precision(result.metrics, folder / "curves.png")
    for path in sorted((tmp_path / "first").iterdir()):
        assert path.read_bytes() == (tmp_path / "second" / path.name).read_bytes()
        assert path.stat().st_size > 5000
