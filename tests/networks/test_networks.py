import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError

import clusterscan
from clusterscan.config.networks import NetworkSettings
from clusterscan.core.errors import ModelError
from clusterscan.networks.receptive_field import reach_px
from clusterscan.networks.registry import build

SMALL = {"size_px": 32, "window_px": 16, "output_stride": 8}


@pytest.mark.parametrize(
    "settings",
    [
        NetworkSettings(**SMALL),
        NetworkSettings(size_px=24, window_px=8, output_stride=4),
        NetworkSettings(name="resnet18", stem_stride=4, size_px=64, window_px=32),
        NetworkSettings(name="resnet18", stem_stride=2, **SMALL),
        NetworkSettings(name="resnet18", stem_stride=1, stages=3, **SMALL | {"output_stride": 4}),
        NetworkSettings(name="resnet34", stem_stride=2, stages=2, **SMALL | {"output_stride": 4}),
        NetworkSettings(name="resnet50", stem_stride=2, stages=3, **SMALL),
        NetworkSettings(name="efficientnet_b0", **SMALL),
        NetworkSettings(name="densenet121", **SMALL),
        NetworkSettings(name="mobilenet", **SMALL),
        NetworkSettings(name="mobilenetv3", size_px=64, window_px=32),
        NetworkSettings(name="timm/regnetx_002", size_px=64, window_px=32),
    ],
    ids=lambda s: f"{s.name}-{s.stem_stride}-{s.output_stride}",
)
def test_features_have_the_stride_that_the_settings_say(settings):
    network = build(settings, bands=2, seed=3).eval()
    crops = torch.randn(2, 2, settings.size_px, settings.size_px)
    with torch.inference_mode():
        features = network.features(crops)
        assert features.shape[2:] == (settings.cells, settings.cells)
        assert network(crops).shape == (2,)
        assert network.embed(crops).shape == (2, network.width)
        torch.testing.assert_close(network(crops), network.pool_and_head(features))


def test_the_same_seed_gives_the_same_weights_and_leaves_the_random_state_alone():
    settings = NetworkSettings(name="resnet18", stages=2, stem_stride=4, **SMALL)
    before = torch.random.get_rng_state()
    first, second, other = (build(settings, 1, seed).state_dict() for seed in (5, 5, 6))
    assert torch.equal(before, torch.random.get_rng_state())
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert not torch.equal(first["head.weight"], other["head.weight"])


def test_the_logit_grid_of_a_crop_holds_the_crops_own_logit_at_its_centre():
    network = build(NetworkSettings(**SMALL), 2, 1).eval()
    crops = torch.randn(3, 2, 32, 32)
    with torch.inference_mode():
        grid = network.logit_grid(network.features(crops))
        assert grid.shape == (3, 3, 3)
        torch.testing.assert_close(grid[:, 1, 1], network(crops))


@pytest.mark.parametrize(
    ("name", "stride", "alignment_error_px"),
    [("baseline", 8, 0.0), ("resnet18", 16, 0.5), ("densenet121", 16, 0.5)],
)
def test_a_feature_cell_looks_at_the_middle_of_its_pixels(name, stride, alignment_error_px):
    """Gradients of a linear stand-in: all weights positive, so nothing is cut off by ReLUs."""
    settings = NetworkSettings(
        name=name, size_px=256, window_px=256, output_stride=stride, stages=3
    )
    network = build(settings, 1, 1).eval()
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.constant_(module.weight, 1.0 / module.weight[0].numel())
        if isinstance(module, torch.nn.MaxPool2d):
            # The mean sees what the maximum may see.
            module.forward = lambda x, m=module: torch.nn.functional.avg_pool2d(
                x, m.kernel_size, m.stride, m.padding
            )
    image = torch.ones(1, 1, 256, 256, requires_grad=True)
    cell = 128 // stride
    network.features(image)[0, 0, cell, cell].backward()
    weight = image.grad[0, 0].double()
    pixels = torch.arange(256, dtype=torch.float64)
    centre = float((weight.sum(0) * pixels).sum() / weight.sum())
    assert abs(centre - (stride * cell + (stride - 1) / 2)) <= alignment_error_px + 1e-5
    seen = torch.nonzero(weight.sum(0))[:, 0]
    assert max(centre - seen.min(), seen.max() - centre) <= network.reach_px


def test_the_reach_of_a_plain_chain_is_that_of_the_receptive_field_formula():
    """Araujo et al. 2019, Distill: r = 1 + sum of (k - 1) * product of the strides before."""
    chain = torch.nn.Sequential(
        torch.nn.Conv2d(1, 1, 7, stride=2, padding=3),
        torch.nn.MaxPool2d(3, stride=2, padding=1),
        torch.nn.Conv2d(1, 1, 3, padding=2, dilation=2),
    )
    field = 1 + 6 * 1 + 2 * 2 + 4 * 4
    assert reach_px(chain, 1, 64) == (field - 1) / 2 + 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "resnet19"}, "unknown"),
        ({"size_px": 36}, "give 32 or 40"),
        ({"window_px": 24}, "is odd"),
        ({"window_px": 40}, "larger than the crop"),
        ({"name": "resnet18", "stem_stride": 1, "output_stride": 16, "window_px": 32}, "not 16"),
        ({"pretrained": True}, "no pretrained"),
        ({"classes": 3, "form": "dense"}, "set form: whole for several classes"),
        ({"name": "inception_v3", "form": "dense"}, "has no dense form"),
        ({"name": "vgg16", "form": "dense"}, "has output_stride 16 or 32"),
        (
            {"name": "vgg16", "form": "dense", "output_stride": 16, "size_px": 64, "window_px": 32},
            "reads 7 x 7 means of the window.*give window_px = 112 or 224",
        ),
        ({"form": "whole"}, "leave window_px out"),
        ({"name": "timm/vit tiny"}, "unknown"),
        ({"name": "timm/x; import os"}, "unknown"),
        ({"sizepx": 32}, "Extra inputs"),
    ],
)
def test_impossible_settings_are_refused_with_a_way_out(changes, message):
    with pytest.raises(ValidationError, match=message):
        NetworkSettings(**SMALL | changes)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "vit_tiny", "size_px": 40}, "give 32 or 48"),
        ({"name": "inception_v3", "size_px": 64}, "below 75 px"),
        ({"name": "alexnet_vgg", "size_px": 32}, "below 63 px"),
        ({"name": "vgg16", "size_px": 64, "window_px": 32}, "leave window_px out"),
        ({"name": "custom_net", "pretrained": True}, "no pretrained"),
        ({"name": "alexnet_vgg", "pretrained": True}, "no pretrained"),
    ],
)
def test_crops_that_a_whole_network_cannot_take_are_refused(settings, message):
    with pytest.raises(ValidationError, match=message):
        NetworkSettings(**settings)


def test_networks_are_dense_where_they_can_be():
    """One class and a body with a dense form; anything else is the published network."""
    for name in ("baseline", "resnet34", "densenet121", "timm/convnext_tiny"):
        assert NetworkSettings(name=name).is_dense
        assert not NetworkSettings(name=name, classes=2).is_dense
        assert not NetworkSettings(name=name, form="whole").is_dense
    for name in ("vgg16", "custom_net", "vit_tiny", "cnn_mlp", "spinalnet_resnet"):
        assert not NetworkSettings(name=name).is_dense
    whole = NetworkSettings(name="resnet18", classes=2, size_px=100)
    assert whole.window_px == whole.size_px == 100
    assert NetworkSettings.model_validate(whole.model_dump(mode="json")) == whole


@pytest.mark.parametrize(
    "name",
    ["resnet50", "efficientnet_b0", "densenet121", "mobilenet", "mobilenetv3"],
)
def test_a_gradient_reaches_every_weight_of_a_dense_network_and_it_learns(name, separable, learn):
    settings = NetworkSettings(name=name, size_px=48, window_px=16, output_stride=16, stages=3)
    network = build(settings, 1, seed=0)
    images, label = separable(1, 48, count=6)
    optimiser = torch.optim.Adam(network.parameters(), 1e-3)
    network(images).square().sum().backward()
    optimiser.step()  # residual branches begin as nothing: see the first step's gradients
    optimiser.zero_grad()
    network(images).sum().backward()
    assert [n for n, p in network.named_parameters() if not p.grad.abs().max() > 0] == []
    assert learn(network, [images], label, optimiser=optimiser, steps=25) < 0.35
    ids = [id(p) for group in network.layer_groups() for p in group]
    assert sorted(ids) == sorted(id(p) for p in network.parameters())


def test_unknown_timm_names_and_strides_are_refused():
    with pytest.raises(ModelError, match="cannot make network 'no_such_net'"):
        build(NetworkSettings(name="timm/no_such_net", **SMALL), 1, 1)
    with pytest.raises(ModelError, match=r"not 2.*set output_stride"):
        build(NetworkSettings(name="timm/convnext_atto", **SMALL | {"output_stride": 2}), 1, 1)
    with pytest.raises(ModelError, match=r"one size only.*set form: whole"):
        build(NetworkSettings(name="timm/vit_tiny_patch16_224", **SMALL), 1, 1)


@pytest.mark.parametrize(
    ("libraries", "owner"),
    [
        (("timm", "torchvision"), "networks/torchvision_repair.py"),
        (("pytorch_lightning", "lightning_fabric"), "train/fit.py"),
    ],
)
def test_one_module_alone_imports_what_may_need_a_repair(libraries, owner):
    """Whichever module is imported first, torchvision is repaired before it is imported."""
    root = Path(clusterscan.__file__).parent
    statement = re.compile(rf"^\s*(?:import|from) (?:{'|'.join(libraries)})\b", re.MULTILINE)
    files = {str(path.relative_to(root)) for path in root.rglob("*.py")
             if statement.search(path.read_text(encoding="utf-8"))}  # fmt: skip
    assert files <= {owner}


def test_gpu_nodes_need_neither_astropy_nor_healpy_nor_snakemake():
    code = (
        "import sys\n"
        "for name in ('astropy', 'healpy', 'snakemake', 'astroquery'): sys.modules[name] = None\n"
        "import clusterscan.networks.registry, clusterscan.networks.card\n"
        "import clusterscan.train.loop, clusterscan.train.views\n"
        "import clusterscan.report.classifier_plots, clusterscan.report.training_plots\n"
        "import clusterscan.scan.tile_scan, clusterscan.scan.fast.scan_copy\n"
        "assert 'timm' not in sys.modules, 'timm costs seconds that baseline need not pay'\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_networks_see_no_difference_between_memory_formats():
    network = build(NetworkSettings(**SMALL), 2, 1).eval()
    crops = torch.from_numpy(np.random.default_rng(1).normal(size=(2, 2, 32, 32)).astype("f4"))
    with torch.inference_mode():
        plain = network(crops)
        last = network.to(memory_format=torch.channels_last)(
            crops.to(memory_format=torch.channels_last)
        )
    torch.testing.assert_close(plain, last, atol=1e-5, rtol=1e-5)
