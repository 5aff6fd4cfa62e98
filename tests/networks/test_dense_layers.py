"""What makes a deep network read a tile as it reads crops."""

import numpy as np
import pytest
import torch
from scipy.ndimage import uniform_filter
from torch import nn

from clusterscan.config.networks import NetworkSettings
from clusterscan.errors import ModelError
from clusterscan.networks.borders import cells_of_crop, mirror_borders
from clusterscan.networks.local_pooling import LocalSqueezeExcite, box_mean, make_local
from clusterscan.networks.registry import build
from clusterscan.networks.torchvision_repair import import_timm


@pytest.mark.parametrize("cells", [1, 4, 5, 12])
def test_box_means_are_those_of_scipy_away_from_the_border(cells):
    x = torch.randn(2, 3, 20, 33)
    found = box_mean(x, cells).numpy()
    expected = uniform_filter(x.numpy(), (0, 0, cells, cells), origin=0)
    inner = (..., slice(cells, -cells), slice(cells, -cells))
    np.testing.assert_allclose(found[inner], expected[inner], atol=1e-5)
    assert found.shape == x.shape


def test_boxes_are_cut_at_the_border_not_filled_with_zeros():
    assert torch.equal(box_mean(torch.ones(1, 1, 5, 9), 4), torch.ones(1, 1, 5, 9))
    torch.testing.assert_close(box_mean(torch.ones(1, 1, 2, 2), 7), torch.ones(1, 1, 2, 2))


def excite(kind):
    import_timm()
    from timm.layers import SEModule
    from timm.models._efficientnet_blocks import SqueezeExcite

    return {"efficientnet": SqueezeExcite(8), "se": SEModule(8, rd_channels=4)}[kind].eval()


@pytest.mark.parametrize("kind", ["efficientnet", "se"])
def test_local_squeeze_and_excitation_of_a_crop_is_the_published_one(kind):
    published = excite(kind)
    local = LocalSqueezeExcite(published, 6)
    crop = torch.randn(2, 8, 6, 6)
    assert torch.equal(local(crop), published(crop))
    tile = torch.randn(2, 8, 6, 18)
    in_tile = local(tile)
    expected = published(tile[..., 6:12])[..., 3]  # the cell whose box the crop is
    torch.testing.assert_close(in_tile[:, :, 3, 9], expected[:, :, 3], atol=1e-5, rtol=1e-5)


def test_maps_are_mirrored_where_they_can_be_and_repeated_where_they_are_too_small():
    body = nn.Sequential(
        nn.Conv2d(1, 2, 3, stride=4, padding=1),
        nn.Conv2d(2, 2, 1),
        nn.Conv2d(2, 2, 5, padding=2),
    )
    assert cells_of_crop(body, dict(body.named_children()), 1, 8) == {"0": 8, "1": 2, "2": 2}
    mirror_borders(body, 1, 8)
    assert [layer.padding_mode for layer in body] == ["reflect", "zeros", "replicate"]
    flat = torch.ones(1, 1, 32, 32)
    # A constant sky stays constant up to the border, which zeros around it would change.
    out = body(flat)
    torch.testing.assert_close(out, out[..., :1, :1].expand_as(out))


@pytest.mark.parametrize("name", ["efficientnet_b0", "mobilenetv3", "mobilenet", "densenet121"])
def test_the_bodies_of_deep_dense_networks_are_local_and_mirrored(name):
    network = build(NetworkSettings(name=name, size_px=64, window_px=32), 1, 1)
    modes = {m.padding_mode for m in network.body.modules() if isinstance(m, nn.Conv2d)
             and m.kernel_size != (1, 1)}  # fmt: skip
    assert "zeros" not in modes
    boxes = [m for m in network.body.modules() if isinstance(m, LocalSqueezeExcite)]
    assert bool(boxes) == (name in ("efficientnet_b0", "mobilenetv3"))
    assert all(64 / 16 <= box.kernel_size <= 32 for box in boxes)


def test_networks_that_read_the_whole_image_otherwise_are_refused():
    body = nn.Sequential(nn.Conv2d(1, 4, 3), nn.GroupNorm(2, 4))
    with pytest.raises(ModelError, match="GroupNorm read the whole image"):
        make_local(body, 1, 16)
    with pytest.raises(ModelError, match=r"timm/convnextv2_atto.*GlobalResponseNorm.*form: whole"):
        build(NetworkSettings(name="timm/convnextv2_atto", size_px=64, window_px=32), 1, 1)
