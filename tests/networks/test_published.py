"""Whole networks: shapes, published sizes, gradients and learning of every name in the registry."""

import pytest
import torch
from torch import nn

from clusterscan.config.networks import SMALLEST_PX, NetworkSettings
from clusterscan.core.errors import ModelError
from clusterscan.networks.heads import SpinalHead
from clusterscan.networks.network import ScanNetwork
from clusterscan.networks.registry import build

# Published numbers of parameters for 3 bands and 1000 classes. The SpinalNets have the body's
# published figure less its classifier's, plus what Kabir et al.'s four layers of width w need on
# F features, 2 (F/2 w + w) + 2 ... ; see spinal().
PUBLISHED = {
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "efficientnet_b0": 5_288_548,
    "densenet121": 7_978_856,
    "mobilenet": 4_231_976,
    "mobilenetv3": 5_483_032,
    "vgg16": 138_357_544,
    "inception_v3": 23_834_568,
    "vit_tiny": 5_717_416,
    "vit_base": 86_567_656,
    "vit_large_patch16_224": 304_326_632,
}
BODY = {  # published figure of the body's network, its classifier's weights
    "spinalnet_resnet": (126_886_696, 2048 * 1000 + 1000),
    "spinalnet_efficientnet": (5_288_548, 1280 * 1000 + 1000),
    "spinalnet_densenet": (7_978_856, 1024 * 1000 + 1000),
    "spinalnet_vgg": (143_678_248, 25088 * 4096 + 4096 + 4096 * 4096 + 4096 + 4096 * 1000 + 1000),
}
# Their graphs are followed without numbers: their blocks and heads are those of smaller networks.
LARGE = ("vgg16", "alexnet_vgg", "spinalnet_resnet", "spinalnet_vgg", "vit_base",
         "vit_large_patch16_224", "resnet34", "resnet50")  # fmt: skip
NAMES = sorted(SMALLEST_PX)


def on_meta(name, bands=3, classes=1000, size_px=224):
    settings = NetworkSettings(name=name, form="whole", size_px=size_px, classes=classes)
    with torch.device("meta"):
        return build(settings, bands, seed=1)


def count(network):
    return sum(p.numel() for p in network.parameters())


def spinal(features, width, classes, norms):
    """Weights of a SpinalNet head, Kabir et al. 2020, Figure 4: halves in, four layers, all out."""
    half = features // 2
    layers = (half * width + width) + 3 * ((half + width) * width + width)
    return layers + norms * 4 * 2 * width + 4 * width * classes + classes


@pytest.mark.parametrize("name", PUBLISHED)
def test_networks_have_as_many_parameters_as_published(name):
    assert count(on_meta(name)) == PUBLISHED[name]


@pytest.mark.parametrize("name", BODY)
def test_spinal_networks_are_the_published_body_with_the_papers_head(name):
    network = on_meta(name)
    total, classifier = BODY[name]
    width = 512 if name == "spinalnet_vgg" else 200
    head = spinal(network.width, width, 1000, norms=name == "spinalnet_vgg")
    assert network.width == {"spinalnet_resnet": 2048, "spinalnet_vgg": 25088}.get(
        name, network.width
    )
    assert count(network) == total - classifier + head


def test_an_alexnet_with_vggs_head_has_as_many_parameters_as_alexnet():
    """Both heads have layers of 4096, 4096 and 1000; they differ in order and dropout only."""
    assert count(on_meta("alexnet_vgg")) == 61_100_840


def test_the_custom_net_is_table_3_of_kosiba_et_al():
    network = on_meta("custom_net", bands=3, classes=2, size_px=356)
    assert network.width == 1152  # 6 x 6 x 32
    kernels = [m.weight.shape for m in network.modules() if isinstance(m, nn.Conv2d)]
    assert [(k[0], k[2]) for k in kernels] == [(64, 3)] + [(32, 3)] * 5
    assert [m.out_features for m in network.modules() if isinstance(m, nn.Linear)] == [256, 2]
    assert [m.p for m in network.modules() if isinstance(m, nn.Dropout)] == [0.65]
    sizes = []
    for module in network.modules():
        if isinstance(module, nn.MaxPool2d):
            module.register_forward_hook(lambda m, i, out: sizes.append(out.shape[-1]))
    assert network(torch.zeros(1, 3, 356, 356, device="meta")).shape == (1, 2)
    assert sizes == [178, 89, 45, 23, 12, 6]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("bands", "classes", "larger"), [(1, 1, 0), (5, 3, 64)])
def test_every_network_takes_any_bands_classes_and_sizes(name, bands, classes, larger):
    size = SMALLEST_PX[name] + larger
    network = on_meta(name, bands, classes, size)
    crops = torch.zeros(2, bands, size, size, device="meta")
    assert network(crops).shape == ((2,) if classes == 1 else (2, classes))
    assert network.embed(crops).shape == (2, network.width)
    assert (network.bands_of_views, network.sizes_px) == ((bands,), (size,))


@pytest.mark.parametrize("name", NAMES)
def test_layer_groups_hold_every_parameter_once_and_end_with_the_head(name):
    network = on_meta(name)
    groups = network.layer_groups()
    ids = [id(p) for group in groups for p in group]
    assert sorted(ids) == sorted(id(p) for p in network.parameters())
    assert [id(p) for p in groups[-1]] == [id(p) for p in network.head.parameters()]
    assert len(groups) >= 4


@pytest.mark.parametrize("name", LARGE)
def test_the_graph_of_a_large_network_reaches_every_parameter(name):
    """Without numbers, on the meta device."""
    network = on_meta(name, 2, 2, SMALLEST_PX[name]).train()
    size = SMALLEST_PX[name]
    network(torch.zeros(4, 2, size, size, device="meta")).sum().backward()
    assert all(p.grad is not None for p in network.parameters())


@pytest.mark.parametrize("name", [n for n in NAMES if n not in LARGE])
def test_a_gradient_reaches_every_parameter_and_a_tiny_set_is_learnt(name, separable, learn):
    size = max(SMALLEST_PX[name], 32)
    network = build(NetworkSettings(name=name, form="whole", size_px=size, classes=2), 2, seed=0)
    without_dropout(network)
    images, label = separable(2, size)
    rate = 3e-3 if name == "custom_net" else 1e-3
    optimiser = torch.optim.Adam(network.parameters(), rate)
    if name.startswith("resnet"):
        # Residual branches begin as nothing (Goyal et al. 2017), so that what is inside them
        # has a gradient from the second step on.
        network(images).square().sum().backward()
        optimiser.step()
        optimiser.zero_grad()
    nn.functional.cross_entropy(network(images), label).backward()
    assert [n for n, p in network.named_parameters() if not p.grad.abs().max() > 0] == []
    assert learn(network, [images], label, optimiser=optimiser, steps=25) < 0.35


@pytest.mark.parametrize("name", ["alexnet_vgg", "spinalnet_vgg"])
def test_the_head_of_a_large_network_learns_a_tiny_set(name, separable, learn):
    size = max(SMALLEST_PX[name], 16)
    network = build(NetworkSettings(name=name, form="whole", size_px=size, classes=2), 1, seed=0)
    without_dropout(network)
    for group in network.layer_groups()[:-1]:
        for parameter in group:
            parameter.requires_grad_(False)
    images, label = separable(1, size, count=4, height=12.0)
    head = list(network.head.modules())
    learning = head[-1] if name == "alexnet_vgg" else network.head
    network.head.requires_grad_(False)
    learning.requires_grad_(True)
    if name == "alexnet_vgg":  # without norms, features are faint at first
        optimiser = torch.optim.SGD(learning.parameters(), 3.0, momentum=0.9)
    else:
        optimiser = torch.optim.Adam(learning.parameters(), 1e-2)
    assert learn(network, [images], label, optimiser=optimiser) < 0.35


def without_dropout(network):
    """A tiny set is learnt by heart in a few steps; dropout is there to prevent that."""
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        if hasattr(module, "drop_rate"):
            module.drop_rate = 0.0


def test_any_other_timm_network_stands_as_it_is():
    network = build(NetworkSettings(name="timm/regnetx_002", form="whole", size_px=32), 2, 1)
    assert network(torch.zeros(2, 2, 32, 32)).shape == (2,)
    assert network.kind == "conv"
    vit = NetworkSettings(name="timm/vit_tiny_patch16_224", form="whole", size_px=32)
    assert build(vit, 1, 1).kind == "vit"
    mixer = NetworkSettings(name="timm/mixer_s32_224", form="whole", size_px=64)
    assert build(mixer, 1, 1).kind == "other"
    with pytest.raises(ModelError, match="cannot take crops of 8 px"):
        build(NetworkSettings(name="timm/inception_v4", form="whole", size_px=8), 1, 1)
    for name in ("no_such_net", "resnet18.no_such_tag"):
        with pytest.raises(ModelError, match=f"cannot make network '{name}'"):
            build(NetworkSettings(name=f"timm/{name}", form="whole"), 1, 1)


@pytest.mark.parametrize("body", ["resnet10t", "vgg11_bn"])
def test_any_timm_body_takes_a_spinal_head(body):
    settings = NetworkSettings(name=f"spinalnet/{body}", size_px=32, classes=2)
    with torch.device("meta"):
        network = build(settings, 3, 1).eval()
        crops = torch.zeros(2, 3, 32, 32)
    assert isinstance(network.head, SpinalHead)
    assert network(crops).shape == (2, 2)
    assert network.kind == "conv"


def test_networks_are_published_with_dropout_that_settings_replace():
    baseline = build(NetworkSettings(form="whole", size_px=16), 1, 1)
    assert baseline.head[0].p == 0.5
    changed = build(NetworkSettings(form="whole", size_px=16, dropout=0.1), 1, 1)
    assert changed.head[0].p == 0.1
    assert build(NetworkSettings(size_px=32, window_px=16, output_stride=8), 1, 1).dropout.p == 0.2


@pytest.mark.parametrize("name", ["resnet18", "cnn_mlp", "spinalnet_densenet", "vit_tiny"])
def test_the_same_seed_gives_the_same_whole_network(name):
    settings = NetworkSettings(name=name, form="whole", size_px=32, classes=2)
    before = torch.random.get_rng_state()
    first, second, other = (build(settings, 1, seed).state_dict() for seed in (5, 5, 6))
    assert torch.equal(before, torch.random.get_rng_state())
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


def test_a_network_of_several_classes_is_no_scan_network_unless_it_has_one_logit():
    assert not isinstance(
        build(NetworkSettings(name="resnet18", classes=2, size_px=32), 1, 1), ScanNetwork
    )
