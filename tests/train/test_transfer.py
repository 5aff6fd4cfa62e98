import numpy as np
import pytest
import torch

from clusterscan.config.networks import NetworkSettings
from clusterscan.config.train import TrainSettings
from clusterscan.networks.card import save_model
from clusterscan.train.loop import train

NETWORK = NetworkSettings(size_px=16, form="whole", output_stride=4, classes=3)
SETTINGS = TrainSettings(
    epochs=3,
    batch_size=16,
    learning_rate=3e-3,
    normalisation={"kind": "standard"},
    negatives_per_positive=None,
    average_over_steps=0,
    device="cpu",
)


@pytest.fixture(scope="module")
def other_task(made_examples, tmp_path_factory):
    """A model that tells three classes apart."""
    folder = tmp_path_factory.mktemp("other")
    result = train(made_examples(240, classes=("a", "b", "c")), NETWORK, SETTINGS)
    save_model(folder, result.network, result.card)
    return folder, result.network


def test_a_new_head_is_trained_on_the_body_of_another_task(examples, other_task):
    folder, other = other_task
    stages = [{"trainable": "head", "epochs": 3, "learning_rate": 0.03}]
    settings = TrainSettings(**{**SETTINGS.model_dump(), "transfer": stages})
    network = NETWORK.model_copy(update={"classes": 1})
    result = train(examples, network, settings, start_from=folder)
    theirs, ours = other.state_dict(), result.network.state_dict()
    body = [name for name in ours if not name.startswith("head")]
    assert len(body) > 8
    for name in body:  # the frozen batch norms' statistics too
        assert torch.equal(ours[name], theirs[name]), name
    start = result.card["training"]["start_from"]
    assert start["copied"] == len(body)
    assert all(name.startswith("head") for name in start["new"])
    assert result.card["metrics"]["test"]["roc_auc"] > 0.9


def test_stages_train_the_head_first_and_then_the_last_layers(examples, other_task):
    folder, other = other_task
    stages = [
        {"trainable": "head", "epochs": 1, "optimiser": "adam"},
        {"trainable": 2, "epochs": 2, "optimiser": "sgd", "learning_rate": 1e-3},
    ]
    settings = TrainSettings(**{**SETTINGS.model_dump(), "transfer": stages})
    network = NETWORK.model_copy(update={"classes": 1})
    result = train(examples, network, settings, start_from=folder)
    assert [row["stage"] for row in result.history] == [0, 1, 1]
    assert [row["epoch"] for row in result.history] == [1, 2, 3]
    trained = result.network
    last = {id(p) for group in trained.layer_groups()[-2:] for p in group}
    theirs = dict(other.named_parameters())
    for name, parameter in trained.named_parameters():
        if name.startswith("head"):
            continue
        assert torch.equal(parameter, theirs[name]) == (id(parameter) not in last), name
    told = result.card["training"]["stages"]
    assert [(s["optimiser"], s["trainable"], s["epochs"]) for s in told] == [
        ("adam", "head", 1),
        ("sgd", 2, 2),
    ]
    losses = [row["validation_loss"] for row in result.history[1:]]
    assert result.card["training"]["best_epoch"] == 2 + int(np.argmin(losses))
