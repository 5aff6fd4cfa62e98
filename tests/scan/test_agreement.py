"""Both engines give the same logits where a crop's rim holds all that the network sees."""

import numpy as np
import pytest
import torch
from tests.scan.conftest import vgg16

from clusterscan.config.networks import DENSE_NAMES, HEAD_CELLS, NetworkSettings
from clusterscan.networks.receptive_field import LocalSqueezeExcite
from clusterscan.networks.registry import build
from clusterscan.scan.dense_scan import dense_grid
from clusterscan.scan.fast.scan_copy import fused
from clusterscan.scan.windowed_scan import windowed_logits

# Strides and sizes for which a crop that is large enough is affordable.
WIDE = {
    "baseline": {"size_px": 40, "window_px": 8, "output_stride": 4},
    "cnn_mlp": {"size_px": 80, "window_px": 32, "output_stride": 8},
    "resnet18": {"size_px": 208, "window_px": 16, "output_stride": 8, "stages": 2},
    "resnet34": {"size_px": 208, "window_px": 16, "output_stride": 8, "stages": 2},
    "resnet50": {"size_px": 208, "window_px": 16, "output_stride": 8, "stages": 2},
    "densenet121": {"size_px": 96, "window_px": 16, "output_stride": 4},
    "mobilenet": {"size_px": 144, "window_px": 16, "output_stride": 8},
    "mobilenetv3": {"size_px": 144, "window_px": 16, "output_stride": 8},
    "efficientnet_b0": {"size_px": 144, "window_px": 16, "output_stride": 8},
    "vgg16": {"size_px": 336, "window_px": 112, "output_stride": 16},
    "spinalnet_vgg": {"size_px": 368, "window_px": 112, "output_stride": 16},
}


def lively(name):
    """A network with batch norms as after training."""
    if name == "vgg16":  # it has no batch norms
        return vgg16()
    network = build(NetworkSettings(name=name, form="dense", **WIDE[name]), 1, 1)
    rng = torch.Generator().manual_seed(1)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.3, generator=rng)
            module.running_var.uniform_(0.5, 2.0, generator=rng)
            torch.nn.init.uniform_(module.weight, 0.5, 1.5, generator=rng)
    return network.eval()


def still(network):
    """The network with channel weights that do not depend on the image."""
    for module in network.modules():
        if isinstance(module, LocalSqueezeExcite):
            for weight in module.published.parameters():
                torch.nn.init.zeros_(weight)
    return network


def both(network, count):
    """The logits of both engines at some of the dense grid's own places."""
    side = network.size_px + 2 * network.stride
    image = np.random.default_rng(2).normal(size=(1, side, side)).astype(np.float32)
    middle = np.array([(side - 1) / 2 - 1.0])
    grid = dense_grid(fused(network), image, middle, middle)
    rows, columns = (n.ravel()[:count] for n in np.indices(grid.values.shape))
    x, y = grid.x0 + network.stride * columns, grid.y0 + network.stride * rows
    return grid.values.ravel()[:count], windowed_logits(network, image, x, y, batch_size=count)


def test_every_network_with_a_dense_form_is_compared():
    assert set(WIDE) == {*DENSE_NAMES, *HEAD_CELLS}


@pytest.mark.parametrize("name", WIDE)
def test_both_engines_agree_to_rounding_where_the_rim_holds_all_that_is_seen(name):
    """Channel weights, which are means over as much sky as a crop has, are kept still here."""
    network = still(lively(name))
    boxes = any(isinstance(m, LocalSqueezeExcite) for m in network.modules())
    rim = (network.size_px - network.window_px) / 2
    assert boxes or network.reach_px <= rim
    dense, windowed = both(network, 1 if name in ("vgg16", "spinalnet_vgg") else 4)
    np.testing.assert_allclose(dense, windowed, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["mobilenetv3", "efficientnet_b0"])
def test_channel_weights_of_a_tile_are_nearly_those_of_a_crop(name):
    """Relative to what the channel weights do at all."""
    network = lively(name)
    dense, windowed = both(network, 4)
    without, _ = both(still(network), 4)
    assert np.abs(dense - windowed).max() < 0.3 * np.abs(windowed - without).max()
