import numpy as np
import pytest
import torch
from torch import nn

from clusterscan.config.networks import FusionSettings, NetworkSettings
from clusterscan.core.errors import ModelError
from clusterscan.networks.attribution import attribute
from clusterscan.networks.registry import build


def whole(name, size=64, **options):
    return build(NetworkSettings(name=name, form="whole", size_px=size, **options), 1, 1)


def seer_of_light(size=64):
    """A network whose logit is a mean of the image's brightness, whatever its colour."""
    network = whole("baseline", size).eval()
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.constant_(module.weight, 1.0 / module.weight[0].numel())
    nn.init.constant_(network.head[1].weight, 1.0)
    nn.init.constant_(network.head[1].bias, 0.0)
    return network


def spots(places, size=64):
    y, x = np.mgrid[:size, :size]
    images = [np.exp(-((x - px) ** 2 + (y - py) ** 2) / 18.0) for px, py in places]
    return torch.tensor(np.array(images)[:, None], dtype=torch.float32)


def centroid(image):
    y, x = np.indices(image.shape)
    return (image * x).sum() / image.sum(), (image * y).sum() / image.sum()


def test_grad_cam_points_at_what_the_logit_comes_from():
    places = [(20, 40), (44, 18)]
    maps = attribute(seer_of_light(), 0, spots(places), 1)
    assert maps.shape == (2, 64, 64)
    assert maps.max(axis=(1, 2)).tolist() == [1.0, 1.0]
    for found, place in zip(maps, places, strict=True):
        # Cells of 16 px, read through kernels of 3 x 3 and interpolated.
        np.testing.assert_allclose(centroid(found**4), place, atol=6)


def test_what_speaks_for_one_class_does_not_speak_for_the_other():
    assert (attribute(seer_of_light(), 0, spots([(30, 30)]), 0) == 0).all()


def test_integrated_gradients_of_a_linear_network_are_the_image_itself():
    """For f = mean of x the attribution is x / n, whatever the path (Sundararajan et al. 2017)."""

    class Mean(nn.Module):
        def forward(self, x):
            return x.mean(dim=(1, 2, 3)).unsqueeze(1)

    network = seer_of_light(16)
    network.body, network.head = Mean(), nn.Identity()
    network.register_parameter("unused", nn.Parameter(torch.zeros(1)))
    image = torch.rand(3, 1, 16, 16) + 0.1
    found = attribute(network, 0, image, 1, method="integrated_gradients")
    expected = image[:, 0] / image.amax(dim=(1, 2, 3))[:, None, None]
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-4)


def test_rollout_of_attention_to_one_patch_alone_shows_that_patch():
    """Abnar & Zuidema 2020: with A = attention to patch k in each of L layers, (A + 1) / 2
    multiplied L times leaves 1 - 2^-L of the class token's weight on patch k."""
    network = whole("vit_tiny", 64)
    for block in network.body.model.blocks:
        block.attn.attn_drop = OnePatch(token=1 + 6)  # second row, third column of 4 x 4
    found = attribute(network, 0, torch.randn(2, 1, 64, 64), 1)
    assert found.shape == (2, 64, 64)
    for image in found:
        np.testing.assert_allclose(centroid(image), (2 * 16 + 7.5, 1 * 16 + 7.5), atol=0.5)


class OnePatch(nn.Module):
    def __init__(self, token):
        super().__init__()
        self.token = token

    def forward(self, attention):
        out = torch.zeros_like(attention)
        out[..., self.token] = 1.0
        return out


def test_rollout_leaves_the_attention_as_it_was():
    network = whole("vit_tiny", 32)
    fused = [block.attn.fused_attn for block in network.body.model.blocks]
    network.train()
    attribute(network, 0, torch.randn(1, 1, 32, 32), 1)
    assert [block.attn.fused_attn for block in network.body.model.blocks] == fused
    assert network.training
    assert all(not block.attn.attn_drop._forward_hooks for block in network.body.model.blocks)


@pytest.mark.parametrize(
    "settings",
    [
        NetworkSettings(size_px=32, window_px=16, output_stride=8),
        NetworkSettings(name="resnet18", size_px=48, window_px=16, output_stride=16, stages=3),
        NetworkSettings(name="mobilenet", size_px=32, window_px=16, output_stride=8),
        NetworkSettings(name="densenet121", size_px=32, classes=3),
        NetworkSettings(name="efficientnet_b0", size_px=32, classes=2),
        NetworkSettings(name="spinalnet_efficientnet", size_px=32),
        NetworkSettings(name="custom_net", size_px=64, classes=2),
        NetworkSettings(name="vit_tiny", size_px=32, classes=2),
        NetworkSettings(name="timm/mixer_s32_224", form="whole", size_px=64),
        NetworkSettings(name="timm/convnext_atto", form="whole", size_px=32),
    ],
    ids=lambda s: f"{s.name}-{s.is_dense}",
)
def test_maps_cover_the_images_without_nan_and_leave_no_trace(settings):
    network = build(settings, 2, 1)
    state = {k: v.clone() for k, v in network.state_dict().items()}
    images = torch.randn(3, 2, settings.size_px, settings.size_px)
    images[2] = 0.0
    found = attribute(network, 0, images, 1, batch_size=2)
    assert found.shape == (3, settings.size_px, settings.size_px)
    assert found.dtype == np.float32
    assert np.isfinite(found).all()
    assert found.min() >= 0
    assert set(found.max(axis=(1, 2)).tolist()) <= {0.0, 1.0}
    assert all(torch.equal(state[k], v) for k, v in network.state_dict().items())
    assert all(p.grad is None for p in network.parameters())
    assert network.training


def test_each_view_of_a_fusion_is_explained_and_a_missing_one_is_blank():
    branches = {
        "act": NetworkSettings(size_px=32, window_px=16, output_stride=8),
        "unwise": NetworkSettings(name="vit_tiny", size_px=48),
    }
    network = build(FusionSettings(branches=branches, hidden=8), (3, 2), 1)
    views = [torch.randn(4, 3, 32, 32), torch.randn(4, 2, 48, 48)]
    present = torch.tensor([[True, True], [False, True], [True, False], [True, True]])
    views[0][1] = float("nan")
    for index, size in enumerate((32, 48)):
        found = attribute(network, index, views, 1, present=present)
        assert found.shape == (4, size, size)
        assert np.isfinite(found).all()
        assert (found[~present[:, index].numpy()] == 0).all()
    gradients = attribute(network, 0, views, 1, present=present, method="integrated_gradients")
    assert np.isfinite(gradients).all()
    assert (gradients[1] == 0).all()


def test_what_cannot_be_explained_is_said():
    network, images = whole("baseline"), torch.zeros(1, 1, 64, 64)
    with pytest.raises(ModelError, match="view 1 of 1"):
        attribute(network, 1, images, 1)
    with pytest.raises(ModelError, match="there is no class 2"):
        attribute(network, 0, images, 2)
    with pytest.raises(ModelError, match="no attention"):
        attribute(network, 0, images, 1, method="rollout")
    with pytest.raises(ModelError, match="no feature map"):
        attribute(whole("vit_tiny"), 0, images, 1, method="grad_cam")
