"""Lower precision, compiled networks, one GPU per process: as far as a CPU can show them."""

import numpy as np
import pytest
import torch

from clusterscan.config.networks import NetworkSettings
from clusterscan.config.scan import ScanSettings
from clusterscan.networks.device import compiled, gpu_names, take_free
from clusterscan.networks.registry import build
from clusterscan.scan.fast.scan_copy import fused
from clusterscan.scan.tile_scan import scan_tile

UNCHANGED = {"kind": "standard", "softening": 1.0, "median": [0.0], "sigma": [1.0]}
CARD = {"views": [{"normalisation": UNCHANGED}]}
RESNET = {"name": "resnet18", "stem_stride": 2, "stages": 2, "output_stride": 4}


def logits_of(network, **how):
    image = np.random.default_rng(3).normal(size=(1, 120, 120)).astype(np.float32)
    x, y = (
        v.ravel().astype(float) for v in np.meshgrid(np.arange(30, 90, 6), np.arange(30, 90, 6))
    )
    mask = np.zeros((120, 120), np.uint8)
    settings = ScanSettings(device="cpu", **how)
    probability, _ = scan_tile(network, CARD, image, mask, x, y, settings)
    return np.log(probability / (1 - probability)).astype(np.float64)


def network(**options):
    net = build(
        NetworkSettings(**{"size_px": 40, "window_px": 8, "output_stride": 4} | options), 1, 1
    )
    rng = torch.Generator().manual_seed(1)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_var.uniform_(0.5, 2.0, generator=rng)
    return net.eval()


@pytest.mark.parametrize(
    ("engine", "options"), [("dense", {}), ("dense", RESNET), ("windowed", {})]
)
def test_bfloat16_features_agree_with_float32_to_a_twentieth_of_the_logits_scatter(engine, options):
    """Its numbers have 8 bits; rounding adds up over layers and averages out over the window."""
    net = network(**options)
    full = logits_of(net, engine=engine)
    low = logits_of(net, engine=engine, precision="bfloat16")
    wrong = np.std(low - full) / np.std(full)
    assert 0 < wrong < 0.05


def test_a_compiled_network_gives_the_same_map():
    net = network()
    full = logits_of(fused(net))
    used = []

    def backend(graph, inputs):
        used.append(len(inputs))
        return graph

    quick = compiled(fused(net), backend=backend)
    np.testing.assert_allclose(logits_of(quick), full, atol=1e-5)
    assert used


def test_each_process_takes_a_gpu_that_no_other_holds(tmp_path):
    """A lock belongs to the open file, so one process can stand for several here."""
    names = gpu_names(3, "")
    held = [take_free(names, tmp_path) for _ in range(3)]
    assert [number for number, _ in held] == [0, 1, 2]
    number, lock = take_free(names, tmp_path)  # all are held: spread by process number
    assert lock is None
    assert 0 <= number < 3
    held[1][1].close()
    assert take_free(names, tmp_path)[0] == 1


def test_gpus_have_the_same_names_in_processes_that_see_different_ones(tmp_path):
    """Two jobs of a cluster, each shown a GPU of its own, both call it number 0."""
    assert gpu_names(2, "3, GPU-5f") == ["3", "GPU-5f"]
    assert gpu_names(2, "") == ["0", "1"]
    first = take_free(gpu_names(2, "4,5"), tmp_path)
    assert take_free(gpu_names(2, "5,4"), tmp_path)[0] == 0
    assert first[0] == 0
