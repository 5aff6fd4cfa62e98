"""Coarse to fine: nothing above the threshold is lost, and much work is saved."""

import numpy as np
import pytest
import torch
from scipy.special import logit

from clusterscan.config.networks import NetworkSettings
from clusterscan.config.scan import ScanSettings
from clusterscan.networks.registry import build
from clusterscan.scan.dense_scan import LogitGrid, dense_grid
from clusterscan.scan.fast.coarse import could_matter
from clusterscan.scan.tile_scan import scan_tile
from clusterscan.scan.windowed_scan import windowed_grid

UNCHANGED = {"kind": "standard", "softening": 1.0, "median": [0.0], "sigma": [1.0]}
CARD = {"views": [{"normalisation": UNCHANGED}]}
KEPT = 0.15  # what detection keeps of the default run's maps


def seer_of_light():
    """The logit is the mean of a smoothed image's positive part, less what empty sky gives."""
    net = build(NetworkSettings(size_px=32, window_px=16, output_stride=8), 1, 1)
    for module in net.modules():
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.constant_(module.weight, 1.0 / module.weight[0].numel())
    torch.nn.init.constant_(net.head.weight, 0.05)
    torch.nn.init.constant_(net.head.bias, -9.0)
    return net.eval()


def sky_with_clusters(side=300, count=8, seed=1):
    """Noise with clusters from far below to far above what detection keeps."""
    rng = np.random.default_rng(seed)
    yy, xx = np.mgrid[:side, :side]
    image = rng.normal(0, 0.3, (side, side))
    for flux in np.linspace(2, 60, count):
        cx, cy = rng.uniform(40, side - 40, 2)
        image += flux * np.exp(-((xx - cx) ** 2 + (yy - cy) ** 2) / (2 * 4.0**2))
    return image[None].astype(np.float32)


def peaks(probability, shape):
    """The local maxima above what detection keeps, as pixel numbers."""
    from scipy.ndimage import maximum_filter

    array = probability.reshape(shape)
    return set(np.flatnonzero((array == maximum_filter(array, 5)) & (array >= KEPT)))


@pytest.mark.parametrize("engine", ["dense", "windowed"])
def test_no_candidate_above_the_threshold_is_lost_and_most_pixels_are_not_looked_at(engine, caplog):
    image = sky_with_clusters()
    side = np.arange(24.0, 276.0, 8.0 if engine == "windowed" else 4.0)
    x, y = (v.ravel() for v in np.meshgrid(side, side))
    mask = np.zeros(image.shape[1:], np.uint8)
    how = {"engine": engine, "device": "cpu", "step_px": 2}
    net, shape = seer_of_light(), (len(side), len(side))
    full, _ = scan_tile(net, CARD, image, mask, x, y, ScanSettings(**how))
    with caplog.at_level("INFO"):
        settings = ScanSettings(coarse_step_px=8, coarse_probability=0.02, **how)
        quick, _ = scan_tile(net, CARD, image, mask, x, y, settings)
    found = peaks(full, shape)
    assert len(found) > 3
    assert peaks(quick, shape) == found
    rows = sorted(found)
    np.testing.assert_allclose(quick[rows], full[rows], atol=1e-5)
    looked_at, of = (int(word) for word in caplog.messages[-1].split() if word.isdecimal())
    assert of == len(x)
    assert looked_at < 0.5 * of


def test_whatever_lies_within_a_cell_of_a_high_value_is_looked_at():
    values = np.full((9, 9), -10.0, dtype=np.float32)
    values[4, 4] = logit(0.3)
    grid = LogitGrid(values, 0.0, 0.0, 10)
    x = np.array([40.0, 31.0, 20.5, 19.0, 59.0, 61.0])
    y = np.full(6, 40.0)
    near = could_matter(grid, x, y, 0.2)
    assert near.tolist() == [True, True, True, False, True, False]
    assert not could_matter(grid, x, y, 0.5).any()
    values[:] = np.nan
    assert not could_matter(grid, x, y, 0.01).any()


def test_a_windowed_grid_is_a_dense_one_of_the_same_places():
    net = build(NetworkSettings(size_px=40, window_px=8, output_stride=4), 1, 1).eval()
    image = np.random.default_rng(1).normal(size=(1, 90, 90)).astype(np.float32)
    x, y = np.array([40.0, 48.0]), np.array([41.0, 50.0])
    found = windowed_grid(net, image, x, y, step_px=1, batch_size=64)
    expected = dense_grid(net, image, x, y, step_px=1)
    np.testing.assert_allclose(found.at(x, y), expected.at(x, y), atol=2e-4)
