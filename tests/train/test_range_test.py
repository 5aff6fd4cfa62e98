import numpy as np
import pytest
import torch

from clusterscan.config.networks import NetworkSettings
from clusterscan.config.train import RangeTestSettings, TrainSettings
from clusterscan.core.errors import ModelError
from clusterscan.train import loop
from clusterscan.train.range_test import choose, range_test

NETWORK = NetworkSettings(size_px=16, window_px=8, output_stride=4)


def test_rules_find_the_steepest_fall_and_the_minimum_of_a_known_curve():
    rates = np.geomspace(1e-6, 1, 121)
    decade = np.log10(rates)
    # Falls as a logistic function, steepest at 1e-3, and rises again above 1e-1.
    loss = 1 / (1 + np.exp(4 * (decade + 3))) + 100 * np.maximum(decade + 1, 0) ** 2
    assert choose(rates, loss, "steepest") == pytest.approx(1e-3, rel=0.12)
    # The descent runs from the first rate to the minimum near 1e-1.
    middle = np.sqrt(rates[0] * rates[np.argmin(loss)])
    assert choose(rates, loss, "valley") == pytest.approx(middle, rel=0.15)
    tenth = choose(rates, loss, "tenth_of_minimum")
    assert tenth == pytest.approx(rates[np.argmin(loss)] / 10)


def quadratic():
    layer = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.constant_(layer.weight, 1.0)
    return layer


def sweep(network, settings, target=0.0):
    return range_test(
        network,
        lambda rate: torch.optim.SGD(network.parameters(), rate),
        lambda: torch.nn.functional.mse_loss(network(torch.ones(1, 1)), torch.full((1, 1), target)),
        settings,
    )


def test_the_sweep_stops_when_it_diverges_and_restores_the_network():
    """Gradient descent on w**2 diverges for rates above 1."""
    network = quadratic()
    curve = sweep(network, RangeTestSettings(lowest=1e-3, highest=1e4, steps=70))
    assert network.weight.item() == 1.0
    assert len(curve.loss) < 70
    assert 1 < curve.learning_rate[-1] < 100
    assert 1e-3 < curve.chosen < 1


def test_a_loss_that_is_never_finite_is_an_error_with_a_way_out():
    with pytest.raises(ModelError, match=r"lower range_test.lowest"):
        sweep(quadratic(), RangeTestSettings(), target=float("nan"))


def spied(monkeypatch, kind):
    """Return the list that the learning rate of each step of an optimiser goes into."""
    used = []
    original = kind.step

    def spy(self, *args, **kwargs):
        used.append(self.param_groups[0]["lr"])
        return original(self, *args, **kwargs)

    monkeypatch.setattr(kind, "step", spy)
    return used


def test_the_optimiser_uses_the_rate_that_the_range_test_chose(examples, monkeypatch):
    used = spied(monkeypatch, torch.optim.AdamW)
    settings = TrainSettings(
        epochs=1, batch_size=16, schedule="constant", range_test={"steps": 12}, device="cpu"
    )
    result = loop.train(examples, NETWORK, settings)
    (curve,) = result.range_curves
    np.testing.assert_allclose(used[: len(curve.loss)], curve.learning_rate)
    assert set(used[12:]) == {curve.chosen}
    assert result.card["training"]["learning_rate"] == curve.chosen


def test_each_stage_of_a_transfer_has_its_own_range_test_and_uses_it(examples, monkeypatch):
    head = spied(monkeypatch, torch.optim.Adam)
    rest = spied(monkeypatch, torch.optim.SGD)
    settings = TrainSettings(
        batch_size=16,
        schedule="constant",
        range_test={"steps": 12},
        device="cpu",
        transfer=[
            {"trainable": "head", "epochs": 1, "optimiser": "adam"},
            {"trainable": 2, "epochs": 1, "optimiser": "sgd"},
            {"trainable": "all", "epochs": 1, "optimiser": "rmsprop", "learning_rate": 1e-4},
        ],
    )
    result = loop.train(examples, NETWORK, settings)
    first, second, third = result.range_curves
    for curve, used in ((first, head), (second, rest)):
        np.testing.assert_allclose(used[: len(curve.loss)], curve.learning_rate)
        assert set(used[12:]) == {curve.chosen}
    assert first.chosen != second.chosen
    assert third is None
    told = [stage["learning_rate"] for stage in result.card["training"]["stages"]]
    assert told == [first.chosen, second.chosen, 1e-4]
    assert [row["learning_rate"] for row in result.history] == told
