import numpy as np
import pytest
import torch
from torch.optim import lr_scheduler

from clusterscan.train.recipe import plateaus, rate_at

STEPS, EPOCHS = 10, 10


def rates(schedule, **options):
    settings = {"factor": 0.4, "every_epochs": 3} | options
    return [
        rate_at(schedule, 0.01, step, STEPS, EPOCHS, **settings) for step in range(STEPS * EPOCHS)
    ]


def torchs(make, each):
    """Learning rates of torch's own scheduler, stepped ``each`` so many steps."""
    optimiser = torch.optim.SGD([torch.zeros(1)], 0.01)
    scheduler = make(optimiser)
    found = []
    for step in range(STEPS * EPOCHS):
        found.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        if (step + 1) % each == 0:
            scheduler.step()
    return found


def test_cosine_step_and_exponential_are_torchs():
    cosine = torchs(lambda o: lr_scheduler.CosineAnnealingLR(o, STEPS * EPOCHS), 1)
    np.testing.assert_allclose(rates("cosine"), cosine)
    step = torchs(lambda o: lr_scheduler.StepLR(o, 3, 0.4), STEPS)
    np.testing.assert_allclose(rates("step"), step)
    exponential = torchs(lambda o: lr_scheduler.ExponentialLR(o, 0.4), STEPS)
    np.testing.assert_allclose(rates("exponential", every_epochs=1), exponential)
    assert set(rates("constant")) == {0.01}


def test_an_exponential_is_pruitts():
    """A learning rate of 0.8 exp(-0.9 t) after t epochs."""
    t = np.arange(EPOCHS)
    found = [
        rate_at("exponential", 0.8, n * STEPS, STEPS, EPOCHS, factor=np.exp(-0.9), every_epochs=1)
        for n in t
    ]
    np.testing.assert_allclose(found, 0.8 * np.exp(-0.9 * t))


def test_one_cycle_is_torchs_and_peaks_at_the_rate_it_is_given():
    n = STEPS * EPOCHS
    torch_cycle = torchs(
        lambda o: lr_scheduler.OneCycleLR(o, 0.01, total_steps=n + 1, final_div_factor=1e4 / 25), 1
    )
    # Theirs peaks at a step, ours at 30 % of all steps: the same to within a step.
    np.testing.assert_allclose(rates("one_cycle"), torch_cycle, atol=0.01 * np.pi / 2 / 30)
    assert max(rates("one_cycle")) == pytest.approx(0.01)
    assert np.argmax(rates("one_cycle")) == 30
    assert rates("one_cycle")[0] == pytest.approx(0.01 / 25)
    assert rate_at("one_cycle", 0.01, n, STEPS, EPOCHS, factor=1, every_epochs=1) == (
        pytest.approx(1e-6)
    )


def test_plateaus_are_torchs():
    losses = np.random.default_rng(1).normal(size=60).cumsum()
    for patience in (1, 2, 5):
        optimiser = torch.optim.SGD([torch.zeros(1)], 1.0)
        theirs = lr_scheduler.ReduceLROnPlateau(
            optimiser, factor=0.5, patience=patience - 1, threshold=0
        )
        for n, loss in enumerate(losses, start=1):
            theirs.step(loss)
            ours = 0.5 ** plateaus(losses[:n], patience)
            assert max(ours, 1e-8) == pytest.approx(
                optimiser.param_groups[0]["lr"], rel=1e-6, abs=2e-8
            )
