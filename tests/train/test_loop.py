import dataclasses
import json

import numpy as np
import pytest
import torch

from clusterscan.config.networks import FusionSettings, NetworkSettings
from clusterscan.config.train import TrainSettings
from clusterscan.core.errors import ConfigError, ModelError, ProductError
from clusterscan.networks.card import WEIGHTS, load_model, save_model
from clusterscan.train.loop import train
from clusterscan.train.products import write_model

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
SHORT = SETTINGS.model_copy(update={"epochs": 1, "learning_rate": 1e-3})


@pytest.fixture(scope="module")
def result(examples):
    return train(examples, NETWORK, SETTINGS)


def test_training_learns_what_a_matched_filter_sees(result):
    """The blobs' matched-filter S/N is above 15: nothing should be missed."""
    assert result.card["metrics"]["validation"]["roc_auc"] > 0.95
    assert result.card["metrics"]["test"]["roc_auc"] > 0.95
    assert result.history[-1]["loss"] < result.history[0]["loss"]


def test_the_same_seed_gives_the_same_bytes_whatever_happened_before(examples, result, tmp_path):
    torch.rand(7)
    np.random.default_rng().random(3)
    before = torch.random.get_rng_state()
    again = train(examples, NETWORK, SETTINGS)
    assert torch.equal(before, torch.random.get_rng_state())
    assert not torch.are_deterministic_algorithms_enabled()
    for name, model in (("a", result), ("b", again)):
        save_model(tmp_path / name, model.network, model.card)
    for file in (WEIGHTS, "model.json"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_test_examples_have_no_influence_on_the_weights(examples, result):
    images = examples.views[0].images.copy()
    images[examples.split == "test"] = 7
    view = dataclasses.replace(examples.views[0], images=images)
    blind = train(dataclasses.replace(examples, views=(view,)), NETWORK, SETTINGS)
    expected = result.network.state_dict()
    for key, value in blind.network.state_dict().items():
        assert torch.equal(value, expected[key])
    assert blind.card["calibration"] == result.card["calibration"]


def test_the_best_epoch_is_kept_and_the_card_tells_which(result, examples):
    losses = [row["validation_loss"] for row in result.history]
    training = result.card["training"]
    assert training["best_epoch"] == 1 + int(np.argmin(losses))
    assert training["data_sha256"] == examples.sha256()
    assert training["examples"]["train"] == {"other": 40, "cluster": 40}
    assert result.card["views"][0]["survey"] == "unwise"
    assert result.card["views"][0]["unit"] == "nanomaggy"
    assert len(result.card["views"][0]["normalisation"]["median"]) == 2


def test_the_weights_are_those_that_were_validated(result):
    """The history's validation loss of the best epoch is that of the predictions."""
    table = result.predictions[result.predictions["split"] == "validation"]
    true = np.where(table["label"] == 1, table["probability_cluster"], table["probability_other"])
    loss = np.mean([-np.log(true[table["label"] == k]).mean() for k in (0, 1)])
    best = result.card["training"]["best_epoch"]
    assert loss == pytest.approx(result.history[best - 1]["validation_loss"], rel=1e-5)


def test_predictions_tell_what_is_known_of_each_example(examples):
    columns = {"r_mag": np.arange(160.0), "field": np.repeat("north", 160)}
    table = train(dataclasses.replace(examples, columns=columns), NETWORK, SHORT).predictions
    rows = np.concatenate([examples.rows("validation"), examples.rows("test")])
    assert table["example_id"].tolist() == examples.example_id[rows].tolist()
    assert table["r_mag"].tolist() == columns["r_mag"][rows].tolist()
    assert set(table["field"]) == {"north"}
    total = table["probability_other"] + table["probability_cluster"]
    np.testing.assert_allclose(total, 1)


def test_patience_stops_training_that_no_longer_improves(made_examples):
    settings = SETTINGS.model_copy(
        update={
            "epochs": 30,
            "patience": 2,
            "learning_rate": 1e-12,
            "average_over_steps": 0,
            "keep_best_by": "average_precision",
        }
    )
    history = train(made_examples(48), NETWORK, settings).history
    best = int(np.argmax([row["validation_average_precision"] for row in history]))
    assert len(history) == best + 3 < 30


def test_the_running_mean_is_what_an_exponential_mean_of_the_steps_weights_is(
    examples, monkeypatch
):
    """Plain descent on one frozen-norm network, followed by hand."""
    seen = []
    original = torch.optim.SGD.step

    def spy(self, closure):
        original(self, closure)
        seen.append(self.param_groups[0]["params"][0].detach().clone())

    monkeypatch.setattr(torch.optim.SGD, "step", spy)
    settings = SHORT.model_copy(
        update={"optimiser": "sgd", "average_over_steps": 4, "keep_best_by": "last"}
    )
    network = train(examples, NETWORK, settings).network
    mean = seen[0]
    for weight in seen[1:]:
        mean = 0.75 * mean + 0.25 * weight
    torch.testing.assert_close(network.body[0].weight, mean)


def test_gradients_are_shortened_to_the_norm_that_is_set(examples, monkeypatch):
    norms = []
    original = torch.optim.SGD.step

    def spy(self, closure):
        original(self, closure)
        parts = [p.grad.norm() for group in self.param_groups for p in group["params"]]
        norms.append(float(torch.stack(parts).norm()))

    monkeypatch.setattr(torch.optim.SGD, "step", spy)
    update = {"optimiser": "sgd", "clip_norm": 0.01}
    train(examples, NETWORK, SHORT.model_copy(update=update))
    assert max(norms) == pytest.approx(0.01, rel=1e-3)


def test_a_saved_model_predicts_what_the_trained_one_does(result, tmp_path):
    save_model(tmp_path, result.network, result.card)
    network, card = load_model(tmp_path)
    crops = torch.randn(4, 2, 16, 16)
    with torch.inference_mode():
        # Convolutions sum in another order where weights lie differently in memory.
        torch.testing.assert_close(network(crops), result.network(crops))
    assert card["metrics"]["test"]["roc_auc"] == result.card["metrics"]["test"]["roc_auc"]


def test_progress_rises_to_the_end(examples):
    told = []
    train(examples, NETWORK, SHORT, progress=lambda *args: told.append(args))
    share = [done / total for done, total, _ in told]
    assert share == sorted(share)
    assert share[-1] == 1
    assert any("epoch 1 of 1" in text for _, _, text in told)


def test_training_leaves_nothing_behind_and_says_nothing(
    examples, tmp_path, monkeypatch, capfd, recwarn
):
    monkeypatch.chdir(tmp_path)
    settings = SHORT.model_copy(update={"checkpoint_every_steps": 2})
    train(examples, NETWORK, settings)
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")
    assert not list(recwarn)


def test_the_files_of_a_model_have_the_same_bytes_each_time(result, tmp_path):
    for name in ("first", "second"):
        write_model(tmp_path / name, result, bootstrap=50)
    names = sorted(path.name for path in (tmp_path / "first").iterdir())
    assert {"weights.safetensors", "model.json", "history.json", "metrics.json",
            "predictions.parquet", "history.png", "range_test.png"} <= set(names)  # fmt: skip
    for name in names:
        first, second = (tmp_path / folder / name for folder in ("first", "second"))
        assert first.read_bytes() == second.read_bytes()
    metrics = json.loads((tmp_path / "first" / "metrics.json").read_text())
    bins = metrics["validation"]["recall_by_redshift"]
    assert sum(row["positives"] for row in bins) == metrics["validation"]["positives"]
    history = json.loads((tmp_path / "first" / "history.json").read_text())
    assert history["range_test"] == history["range_tests"][0]


@pytest.mark.parametrize("classes", [2, 3])
def test_a_softmax_over_classes_learns_too(made_examples, classes):
    names = ("nothing", "small", "large")[:classes]
    examples = made_examples(80 * classes, classes=names)
    network = NetworkSettings(size_px=16, form="whole", output_stride=4, classes=classes)
    settings = SETTINGS.model_copy(
        update={"negatives_per_positive": None, "class_weights": "balanced", "learning_rate": 3e-3,
                "keep_best_by": "accuracy"}
    )  # fmt: skip
    result = train(examples, network, settings)
    assert result.card["classes"] == list(names)
    assert result.card["metrics"]["test"]["accuracy"] > 1.4 / classes
    table = result.predictions
    np.testing.assert_allclose(table[[f"probability_{n}" for n in names]].sum(axis=1), 1)


def two_surveys(examples, made_view):
    second = made_view(examples.label, seed=2, name="act", scale=11.0, bands=1)
    second = dataclasses.replace(second, present=np.arange(len(examples)) % 5 != 0)
    return dataclasses.replace(examples, views=(*examples.views, second))


def test_a_fusion_learns_from_surveys_some_of_which_are_missing(examples, made_view):
    both = two_surveys(examples, made_view)
    network = FusionSettings(branches={"act": NETWORK, "unwise": NETWORK}, hidden=8)
    settings = SETTINGS.model_copy(update={"learning_rate": 3e-3})
    result = train(both, network, settings)
    assert [view["survey"] for view in result.card["views"]] == ["act", "unwise"]
    assert result.card["metrics"]["test"]["roc_auc"] > 0.9


def test_settings_that_do_not_fit_the_examples_are_refused(examples, made_examples, made_view):
    both = two_surveys(examples, made_view)
    with pytest.raises(ConfigError, match="2 views unwise, act, but network baseline takes one"):
        train(both, NETWORK, SHORT)
    other = FusionSettings(branches={"unwise": NETWORK, "rosat": NETWORK})
    with pytest.raises(ConfigError, match="only the views unwise, act"):
        train(both, other, SHORT)
    fusion = FusionSettings(branches={"unwise": NETWORK, "act": NETWORK})
    nowhere = tuple(dataclasses.replace(view, present=np.arange(160) != 7) for view in both.views)
    with pytest.raises(ProductError, match=r"1 examples have an image in none .* 'e0007'"):
        train(dataclasses.replace(both, views=nowhere), fusion, SHORT)
    three = made_examples(240, classes=("a", "b", "c"))
    with pytest.raises(ConfigError, match=r"classes = 1, but .* a, b, c; set classes to 3"):
        train(three, NETWORK, SHORT)
    with pytest.raises(ModelError, match="'16-mixed' needs a GPU"):
        train(examples, NETWORK, SHORT.model_copy(update={"precision": "16-mixed"}))


def test_a_training_that_diverges_says_what_to_do(examples, monkeypatch):
    def diverged(logits, *_):
        return logits.sum() * float("nan")

    monkeypatch.setattr("clusterscan.train.fit.cross_entropy", diverged)

    with pytest.raises(ModelError, match=r"not finite in epoch 1 .* lower train.learning_rate"):
        train(examples, NETWORK, SHORT)
