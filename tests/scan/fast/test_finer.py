"""A residual network's finer features are those of shifted passes, from the same weights."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from clusterscan.config.networks import NetworkSettings
from clusterscan.networks.registry import build
from clusterscan.scan.dense_scan import dense_grid
from clusterscan.scan.fast.scan_copy import finer

SETTINGS = NetworkSettings(
    name="resnet18", stages=3, output_stride=16, size_px=64, window_px=32, dropout=0.0
)


@pytest.fixture(scope="module")
def network():
    return build(SETTINGS, bands=2, seed=3).eval()


def test_every_second_dilated_feature_is_the_networks_own_away_from_the_border(network):
    image = torch.randn(1, 2, 512, 512, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        fine = finer(network, 8).body(image)[..., ::2, ::2]
        coarse = network.body(image)
    inner = slice(10, 22)
    torch.testing.assert_close(
        fine[..., inner, inner], coarse[..., inner, inner], rtol=1e-4, atol=1e-4
    )


def test_deeper_residual_networks_are_dilated_as_well():
    coarse = build(SETTINGS.model_copy(update={"name": "resnet50"}), bands=1, seed=1).eval()
    fine = finer(coarse, 8)
    assert fine.stride == 8
    image = torch.randn(1, 1, 384, 384, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        found, expected = fine.body(image)[..., ::2, ::2], coarse.body(image)
    middle = slice(11, 13)
    torch.testing.assert_close(
        found[..., middle, middle], expected[..., middle, middle], rtol=1e-3, atol=1e-3
    )


@pytest.mark.parametrize("name", ["densenet121", "efficientnet_b0", "mobilenet", "mobilenetv3"])
def test_other_deep_networks_keep_their_own_cells_among_the_finer_ones(name):
    settings = NetworkSettings(name=name, output_stride=16, size_px=96, window_px=32)
    coarse = build(settings, bands=1, seed=1).eval()
    fine = finer(coarse, 8)
    assert fine.stride == 8
    image = torch.randn(1, 1, 416, 416, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        found, expected = fine.body(image)[..., ::2, ::2], coarse.body(image)
    middle = slice(11, 13)
    torch.testing.assert_close(
        found[..., middle, middle], expected[..., middle, middle], rtol=1e-3, atol=1e-3
    )


def test_a_finer_network_scans_a_smooth_image_like_shifted_passes(network):
    rng = np.random.default_rng(2)
    noise = gaussian_filter(rng.normal(size=(2, 480, 480)), (0, 14, 14))
    image = (noise / noise.std()).astype(np.float32)
    x = rng.uniform(150, 330, 400)
    y = rng.uniform(150, 330, 400)
    shifted = dense_grid(network, image, x, y, step_px=8).at(x, y)
    dilated = dense_grid(finer(network, 8), image, x, y, step_px=8).at(x, y)
    # The dilated one averages windows half a stride apart, so it is smoother, not the same.
    assert np.corrcoef(shifted, dilated)[0, 1] > 0.9


def test_what_cannot_be_dilated_stays_as_it_is(network):
    assert finer(network, None) is network
    assert finer(network, 16) is network
    assert finer(network, 4) is network  # below what its stem allows
    baseline = build(NetworkSettings(size_px=64, window_px=32), bands=2, seed=1)
    assert finer(baseline, 8) is baseline
    spinal = build(
        NetworkSettings(
            name="cnn_mlp", form="dense", output_stride=8, size_px=64, window_px=32
        ), bands=1, seed=1
    )  # fmt: skip
    assert finer(spinal, 4) is spinal  # its head is not linear
