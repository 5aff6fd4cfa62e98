"""A scan keeps memory that it frees, until the process holds much."""

import pytest
import torch
from torch import nn

from clusterscan.config.networks import NetworkSettings
from clusterscan.networks.registry import build
from clusterscan.scan.fast import memory
from clusterscan.scan.fast.memory import give_back_above
from clusterscan.scan.fast.scan_copy import ScaleInPlace, scan_copy


@pytest.mark.parametrize(("limit", "times"), [(0.0, 2), (1e15, 0)])
def test_freed_memory_is_returned_before_each_layer_above_a_limit_alone(limit, times, monkeypatch):
    given = []
    monkeypatch.setattr(memory, "_glibc", lambda name: given.append)
    body = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU())
    give_back_above(body, limit)
    body(torch.zeros(1, 1, 8, 8))
    assert len(given) == times


def test_the_trained_network_keeps_its_layers_as_they_are():
    settings = NetworkSettings(name="baseline", window_px=16, size_px=32, output_stride=8)
    network = build(settings, 2, seed=1).eval()
    scan_copy(network)
    assert not any(module._forward_pre_hooks for module in network.modules())


@torch.inference_mode()
def test_dense_blocks_norms_work_in_the_memory_of_the_maps_that_they_read():
    settings = NetworkSettings(name="densenet121", window_px=32, size_px=64, output_stride=16)
    body = scan_copy(build(settings, 2, seed=1).eval()).body
    norms = [module for module in body.modules() if isinstance(module, ScaleInPlace)]
    assert norms
    for norm in norms:
        x = torch.ones(1, len(norm.scale), 4, 4)
        assert norm(x).data_ptr() == x.data_ptr()
