import dataclasses
from typing import get_args

import pytest
import torch

from clusterscan.config.networks import NetworkSettings
from clusterscan.config.train import Optimiser, TrainSettings
from clusterscan.core.errors import ConfigError
from clusterscan.networks.registry import build
from clusterscan.train.recipe import freeze, frozen_norms, make_optimiser, stages

NETWORK = NetworkSettings(size_px=16, window_px=8, output_stride=4)


@pytest.fixture
def network():
    return build(NETWORK, 2, seed=1)


def stage(**settings):
    return stages(TrainSettings(**settings))[0]


@pytest.mark.parametrize("name", get_args(Optimiser))
def test_every_optimiser_lowers_a_quadratic(name):
    weight = torch.nn.Parameter(torch.ones(1, 1))
    module = torch.nn.Linear(1, 1, bias=False)
    module.weight = weight
    optimiser = make_optimiser(module, stage(optimiser=name), 1.0 if name == "adadelta" else 0.05)
    assert type(optimiser).__name__.lower() == name
    for _ in range(20):
        optimiser.zero_grad()
        (weight**2).sum().backward()
        optimiser.step()
    assert 0 <= abs(weight.item()) < 1


def test_descent_has_nesterovs_momentum_if_any(network):
    group = make_optimiser(network, stage(optimiser="sgd", momentum=0.8), 0.1).param_groups[0]
    assert (group["momentum"], group["nesterov"]) == (0.8, True)
    group = make_optimiser(network, stage(optimiser="sgd", momentum=0), 0.1).param_groups[0]
    assert (group["momentum"], group["nesterov"]) == (0, False)


@pytest.mark.parametrize("name", get_args(Optimiser))
def test_biases_and_norms_do_not_decay(network, name):
    optimiser = make_optimiser(network, stage(optimiser=name, weight_decay=0.3), 0.1)
    decay = {
        id(p): group["weight_decay"] for group in optimiser.param_groups for p in group["params"]
    }
    assert len(decay) == len(list(network.parameters()))
    for parameter in network.parameters():
        assert decay[id(parameter)] == (0.3 if parameter.ndim > 1 else 0.0)


def learning(network):
    return {name for name, p in network.named_parameters() if p.requires_grad}


def test_freezing_leaves_the_head_or_the_last_groups_to_learn(network):
    everything = learning(network)
    freeze(network, "head")
    assert learning(network) == {"head.weight", "head.bias"}
    last = {id(p) for group in network.layer_groups()[-2:] for p in group}
    freeze(network, 2)
    assert {id(p) for p in network.parameters() if p.requires_grad} == last
    assert learning(network) > {"head.weight", "head.bias"}
    freeze(network, "all")
    assert learning(network) == everything
    with pytest.raises(ConfigError, match="trainable = 99, but the network has"):
        freeze(network, 99)


def test_batch_norms_of_frozen_layers_stand_frozen_norms(network):
    freeze(network, "all")
    assert frozen_norms(network) == []
    freeze(network, "head")
    norms = [m for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert frozen_norms(network) == norms
    freeze(network, 2)
    assert 0 < len(frozen_norms(network)) < len(norms)


def test_a_stage_is_as_the_training_but_for_what_it_says():
    settings = TrainSettings(
        optimiser="adam",
        learning_rate=0.01,
        transfer=[{"trainable": "head", "epochs": 2},
                  {"trainable": 3, "epochs": 4, "optimiser": "sgd", "momentum": 0.5,
                   "learning_rate": "range_test", "weight_decay": 0.0, "schedule": "cosine"}],
    )  # fmt: skip
    first, second = stages(settings)
    assert (first.optimiser, first.learning_rate, first.schedule) == ("adam", 0.01, "one_cycle")
    assert dataclasses.asdict(second) == {
        "number": 1, "trainable": 3, "epochs": 4, "optimiser": "sgd", "momentum": 0.5,
        "learning_rate": "range_test", "weight_decay": 0.0, "schedule": "cosine",
    }  # fmt: skip
