"""The first layers of a network give the same maps strip by strip as all at once."""

from copy import copy
from functools import cache

import numpy as np
import pytest
import torch
from tests.scan.conftest import vgg16

from clusterscan.config.networks import DENSE_NAMES, HEAD_CELLS, NetworkSettings
from clusterscan.networks.registry import build
from clusterscan.scan.dense_scan import dense_grid
from clusterscan.scan.fast import strips
from clusterscan.scan.fast.scan_copy import fused, scan_copy
from clusterscan.scan.fast.strips import Stripped, in_strips

# spinalnet_vgg differs from vgg16 in its head alone, which no strip touches.
NAMES = sorted({*DENSE_NAMES, *HEAD_CELLS} - {"spinalnet_vgg"})
CHAINS = ("baseline", "resnet18", "vgg16", "mobilenet")


@cache  # building vgg16 takes longer than all of its tests; none of them changes a network
def plain(name):
    if name == "vgg16":
        network = copy(vgg16())
        network.size_px = 144  # of the image that `in_strips` measures layers with
        return fused(network)
    window = 64 if name == "cnn_mlp" else 112
    settings = NetworkSettings(
        name=name, form="dense", window_px=window, size_px=window + 32, output_stride=16, stages=3
    )
    return fused(build(settings, 2, seed=1).eval())


def image(rows, columns, bands=2):
    rng = torch.Generator().manual_seed(3)
    x = torch.randn(1, bands, rows, columns, generator=rng)
    return x.contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    ("name", "rows"), [*((name, 208) for name in NAMES), ("baseline", 80), ("mobilenet", 80)]
)
@torch.inference_mode()
def test_any_network_gives_the_same_features_in_strips(name, rows, monkeypatch):
    """Strips of as few rows as possible; in an image of 80 rows the last strip is a short one."""
    whole = plain(name)
    monkeypatch.setattr(strips, "CPU_STRIP_BYTES", 1.0)
    x = image(rows, 64, whole.bands)
    found = in_strips(whole).features(x)
    torch.testing.assert_close(found, whole.features(x), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", CHAINS)
@torch.inference_mode()
def test_the_first_layers_maps_are_never_in_memory_together(name, monkeypatch):
    monkeypatch.setattr(strips, "CPU_STRIP_BYTES", 1.0)
    whole = plain(name)
    body = in_strips(whole).body
    assert isinstance(body, Stripped)
    seen = []
    body.first.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].shape[2]))
    body(image(208, 64, whole.bands))
    assert len(seen) > 4
    assert max(seen) <= 4 * body.around * body.stride


@pytest.mark.parametrize("name", CHAINS)
def test_a_chunk_may_be_twice_as_large_or_more(name):
    whole = plain(name)
    assert in_strips(whole).bytes_per_px <= whole.bytes_per_px / 2


@pytest.mark.parametrize("name", ["densenet121", "efficientnet_b0"])
def test_a_network_whose_later_layers_are_as_large_is_left_as_it_is(name):
    whole = plain(name)
    assert in_strips(whole) is whole


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("timm/convnext_atto", id="norms whose weights are read by name"),
        pytest.param("timm/xception41", id="a map from a hook, which no trace sees"),
    ],
)
@torch.inference_mode()
def test_the_copy_of_an_unusual_network_has_the_same_features(name):
    settings = NetworkSettings(name=name, form="dense", window_px=32, size_px=64, output_stride=4)
    network = build(settings, 2, seed=1).eval()
    x = image(80, 64)
    found = scan_copy(network).features(x)
    torch.testing.assert_close(found, network.features(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["timm/resnet18", "timm/densenet121"])
def test_a_network_of_first_layers_alone_is_left_as_it_is(name):
    settings = NetworkSettings(name=name, form="dense", window_px=32, size_px=64, output_stride=2)
    whole = fused(build(settings, 2, seed=1).eval())
    assert in_strips(whole) is whole


def test_the_network_itself_is_not_changed():
    whole = plain("resnet18")
    memory, body = whole.bytes_per_px, whole.body
    in_strips(whole)
    assert (whole.bytes_per_px, whole.body) == (memory, body)


def test_a_tile_has_the_same_logits_in_strips(monkeypatch):
    settings = NetworkSettings(name="baseline", window_px=16, size_px=32, output_stride=8)
    network = build(settings, 2, seed=1).eval()
    sky = np.random.default_rng(1).normal(size=(2, 150, 170)).astype(np.float32)
    x, y = np.random.default_rng(2).uniform(20, 130, (2, 50))
    expected = dense_grid(fused(network), sky, x, y, step_px=4)
    monkeypatch.setattr(strips, "CPU_STRIP_BYTES", 1.0)
    found = dense_grid(scan_copy(network, 4), sky, x, y, step_px=4)
    np.testing.assert_allclose(found.values, expected.values, rtol=1e-5, atol=1e-5)
