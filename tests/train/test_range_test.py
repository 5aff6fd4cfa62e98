import numpy as np
import pytest
import torch

from clusterscan.config.networks import NetworkSettings
from clusterscan.config.train import RangeTestSettings, TrainSettings
from clusterscan.errors import ModelError
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
        lambda: (torch.ones(1, 1), torch.full((1, 1), target)),
        torch.nn.functional.mse_loss,
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


def test_the_optimiser_uses_the_rate_that_the_range_test_chose(examples, monkeypatch):
    used = []
    original = torch.optim.AdamW.step

    def spy(self, *args, **kwargs):
        used.append(self.param_groups[0]["lr"])
        return original(self, *args, **kwargs)

    monkeypatch.setattr(torch.optim.AdamW, "step", spy)
    settings = TrainSettings(
        epochs=1, batch_size=16, schedule="constant", range_test={"steps": 12}, device="cpu"
    )
    result = loop.train(examples, NETWORK, settings)
    curve = result.range_curve
    np.testing.assert_allclose(used[: len(curve.loss)], curve.learning_rate)
    assert set(used[12:]) == {curve.chosen}
    assert result.card["training"]["learning_rate"] == curve.chosen


def test_one_cycle_peaks_at_the_rate_it_is_given():
    rates = [loop.scheduled("one_cycle", 0.01, done) for done in np.linspace(0, 1, 101)]
    assert max(rates) == pytest.approx(0.01)
    assert np.argmax(rates) == 30
    assert rates[0] == pytest.approx(0.01 / 25)
    assert rates[-1] == pytest.approx(1e-6)
    assert [loop.scheduled("cosine", 1.0, d) for d in (0, 0.5, 1)] == pytest.approx([1, 0.5, 0])
