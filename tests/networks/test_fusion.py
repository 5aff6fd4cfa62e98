import numpy as np
import pytest
import torch
from pydantic import ValidationError

from clusterscan.config.networks import FusionSettings, NetworkSettings
from clusterscan.core.errors import ModelError
from clusterscan.networks.fusion import FusionNetwork, hide_surveys
from clusterscan.networks.registry import build

SETTINGS = FusionSettings(
    branches={
        "act": NetworkSettings(size_px=32, window_px=16, output_stride=8),
        "unwise": NetworkSettings(name="cnn_mlp", size_px=48),
    },
    hidden=16,
)
BANDS = (3, 2)


def fusion(seed=1, **changes):
    return build(SETTINGS.model_copy(update=changes), BANDS, seed)


def views(n=6, seed=1):
    rng = torch.Generator().manual_seed(seed)
    return [
        torch.randn(n, bands, size, size, generator=rng)
        for bands, size in zip(BANDS, (32, 48), strict=True)
    ]


@pytest.mark.parametrize("classes", [1, 3])
def test_surveys_of_their_own_size_and_bands_give_common_logits(classes):
    network = fusion(classes=classes)
    assert isinstance(network, FusionNetwork)
    assert (network.bands_of_views, network.sizes_px) == (BANDS, (32, 48))
    assert network.surveys == ("act", "unwise")
    assert network.of_views(views()).shape == ((6,) if classes == 1 else (6, classes))
    assert torch.equal(network.eval()(views()), network.of_views(views()))


@pytest.mark.parametrize("missing", [0, 1])
@pytest.mark.parametrize("training", [False, True])
def test_pixels_of_a_missing_survey_change_nothing(missing, training):
    """Not even NaN, nor by way of batch statistics in training."""
    present = torch.ones(6, 2, dtype=torch.bool)
    present[2:5, missing] = False
    other = views()
    other[missing][2:5] = float("nan")
    logits, grads = [], []
    for images in (views(), other):
        network = fusion(dropout=0.0).train(training)
        for module in network.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        out = network.of_views(images, present)
        out.sum().backward()
        logits.append(out.detach())
        grads.append([p.grad for p in network.parameters()])
    assert torch.equal(*logits)
    for first, second in zip(*grads, strict=True):
        torch.testing.assert_close(first, second, rtol=0, atol=0)


def test_an_example_scores_the_same_whatever_others_miss():
    network = fusion().eval()
    present = torch.tensor([[True, True], [True, False], [False, True], [False, False]] * 2)[:6]
    together = network.of_views(views(), present)
    for i in range(6):
        alone = network.of_views([v[i : i + 1] for v in views()], present[i : i + 1])
        torch.testing.assert_close(alone, together[i : i + 1], atol=1e-5, rtol=1e-5)
    everything = network.of_views(views())
    torch.testing.assert_close(everything[0], together[0], atol=1e-5, rtol=1e-5)
    assert not torch.isclose(everything[1], together[1])


def test_all_present_is_the_same_as_nothing_said():
    network = fusion().eval()
    torch.testing.assert_close(
        network.of_views(views()), network.of_views(views(), torch.ones(6, 2, dtype=torch.bool))
    )


def test_a_gradient_reaches_every_parameter_where_surveys_are_there_and_missing():
    network = fusion()
    present = torch.tensor([[True, True]] * 4 + [[False, True], [True, False]])
    network.of_views(views(), present).sum().backward()
    assert [n for n, p in network.named_parameters() if not p.grad.abs().max() > 0] == []


def test_a_fusion_learns_from_whichever_survey_an_example_has(separable, learn):
    network = fusion(dropout=0.0)
    (act, label), (unwise, _) = (
        separable(bands, size, count=16) for bands, size in zip(BANDS, (32, 48), strict=True)
    )
    present = torch.tensor([[True, False], [True, False], [False, True], [False, True]] * 4)
    optimiser = torch.optim.Adam(network.parameters(), 2e-3)
    loss = learn(network, [act, unwise], label, optimiser=optimiser, steps=40, present=present)
    assert loss < 0.35


def test_a_single_present_example_can_be_trained_on():
    present = torch.tensor([[True, True]] + [[False, True]] * 5)
    network = fusion().train()
    network.of_views(views(), present).sum().backward()
    norms = [m for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert all(m.training for m in norms)


def test_groups_hold_every_parameter_once_and_branches_end_together():
    network = fusion()
    groups = network.layer_groups()
    ids = [id(p) for group in groups for p in group]
    assert sorted(ids) == sorted(id(p) for p in network.parameters())
    assert [id(p) for p in groups[-1]] == [id(p) for p in network.head.parameters()]
    names = {id(p): n for n, p in network.named_parameters()}
    last_of_bodies = {names[id(p)].split(".")[1] for p in groups[-4]}
    assert last_of_bodies == {"0", "1"}


@pytest.mark.parametrize("probability", [0.0, 0.3, 0.9])
def test_training_hides_surveys_at_random_but_never_the_last(probability):
    rng = np.random.default_rng(1)
    present = rng.random((20_000, 3)) < 0.7
    shown = hide_surveys(present, probability, np.random.default_rng(2))
    assert not (shown & ~present).any()
    assert (shown.any(axis=1) == present.any(axis=1)).all()
    whole = present.all(axis=1)
    # With three surveys a draw hides all with p^3, and then one is shown after all.
    expected = (1 - probability) + probability**3 / 3
    np.testing.assert_allclose(shown[whole].mean(axis=0), expected, atol=0.02)


def test_impossible_fusions_are_refused():
    with pytest.raises(ValidationError, match="at least 2 items"):
        FusionSettings(branches={"act": NetworkSettings()})
    with pytest.raises(ValidationError, match="classes beside branches"):
        FusionSettings(
            branches={"a": NetworkSettings(name="cnn_mlp", classes=2), "b": NetworkSettings()}
        )
    with pytest.raises(ModelError, match=r"describe 2 view\(s\), but bands are given for 1"):
        build(SETTINGS, 3, 1)
    with pytest.raises(ModelError, match="act, unwise, but got 1"):
        fusion().of_views(views()[:1])
    with pytest.raises(TypeError, match="no features of a single view"):
        fusion().embed(views()[0])
