"""Averaged over turns and mirrors, an answer does not depend on how the image lies."""

import pytest
import torch

from clusterscan.config.networks import NetworkSettings
from clusterscan.networks.network import turned_logits
from clusterscan.networks.registry import build


@pytest.mark.parametrize("classes", [1, 3])
def test_turning_or_mirroring_the_image_changes_nothing(classes):
    torch.manual_seed(1)
    settings = NetworkSettings(name="baseline", form="whole", size_px=16, classes=classes)
    network = build(settings, 2, seed=1).eval()
    image = torch.randn(4, 2, 16, 16)
    present = torch.ones(4, 1, dtype=torch.bool)
    with torch.inference_mode():
        expected = turned_logits(network, [image], present)
        for other in (torch.rot90(image, 1, (2, 3)), image.flip(2), image.transpose(2, 3)):
            found = turned_logits(network, [other], present)
            torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
        plain = network.of_views([image], present)
    assert expected.shape == plain.shape
    assert (plain - expected).abs().max() > 1e-4
