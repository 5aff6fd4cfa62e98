"""What makes a deep network read a tile as it reads crops."""

import numpy as np
import pytest
import torch
from scipy.ndimage import uniform_filter
from torch import nn

from clusterscan.config.networks import NetworkSettings
from clusterscan.core.errors import ModelError
from clusterscan.networks.heads import SpinalHead, head_map, mlp_head
from clusterscan.networks.receptive_field import (
    LocalSqueezeExcite,
    block_cells,
    box_mean,
    cells_of_crop,
    make_local,
    mirror_borders,
    squeezed,
)
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


@pytest.mark.parametrize("kernel", [12, 40, 36])
def test_means_of_blocks_are_those_of_boxes_around_their_middle(kernel):
    """On a slope, where they are known; half of the end blocks stands for half of their cells."""
    block = block_cells(kernel)
    assert block > 1
    assert kernel % block == 0
    slope = torch.arange(4.0 * kernel).expand(1, 2, 3 * kernel, -1)
    found = squeezed(slope, kernel, block)
    middle = block * np.arange(found.shape[-1]) + (block - 1) / 2
    inner = slice(kernel // block, -(kernel // block))
    np.testing.assert_allclose(found[0, 0, 5, inner], middle[inner], rtol=1e-5)


@pytest.mark.parametrize("spacing", [1, 2])
@pytest.mark.parametrize(
    "make",
    [
        lambda features: SpinalHead(features, 3, width=5, dropout=0.5, batch_norm=True),
        lambda features: SpinalHead(features, 3, width=5, dropout=0.5, batch_norm=False),
        lambda features: mlp_head(features, 3, widths=(6, 4), dropout=0.5),
    ],
    ids=["spinal with norms", "spinal", "layers"],
)
def test_a_head_over_a_map_gives_the_numbers_of_the_head_of_each_window(make, spacing):
    torch.manual_seed(1)
    channels, cells = 4, 7
    head = make(channels * cells**2).eval()
    means = torch.randn(2, channels, 16, 15)
    found = head_map(head, means, cells, spacing)
    reach = (cells - 1) * spacing
    assert found.shape == (2, 3, 16 - reach, 15 - reach)
    for y, x in ((0, 0), (2, 1), (3, 2)):
        window = means[:, :, y : y + reach + 1 : spacing, x : x + reach + 1 : spacing]
        expected = head(window.flatten(1))
        torch.testing.assert_close(found[:, :, y, x], expected, rtol=1e-4, atol=1e-5)


def grid_of(network, features):
    """Logits of all windows of a map, found at once and one by one."""
    p = network.settings.window_cells
    with torch.inference_mode():
        found = network.logit_grid(features)
        windows = [
            features[..., j : j + p, i : i + p]
            for j in range(found.shape[1])
            for i in range(found.shape[2])
        ]
        expected = torch.stack([network.pool_and_head(w) for w in windows])
    return found, expected.reshape(found.shape)


def test_heads_of_several_layers_read_the_map_of_a_network():
    settings = NetworkSettings(
        name="cnn_mlp", form="dense", output_stride=8, size_px=64, window_px=64
    )
    network = build(settings, 1, 1).eval()
    p, channels = settings.window_cells, network.width // network.head_cells**2
    generator = torch.Generator().manual_seed(1)
    found, expected = grid_of(network, torch.randn(1, channels, p + 2, p + 1, generator=generator))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_a_dense_vgg_of_published_stride_and_window_is_the_published_network():
    settings = {"name": "spinalnet_vgg", "size_px": 224, "window_px": 224, "output_stride": 32}
    dense = build(NetworkSettings(form="dense", **settings), 1, 1).eval()
    with torch.device("meta"):
        whole = build(NetworkSettings(form="whole", **settings), 1, 1)
    for own, published in ((dense.body, whole.body.map), (dense.head, whole.head)):
        shapes = {name: weight.shape for name, weight in published.state_dict().items()}
        assert {name: weight.shape for name, weight in own.state_dict().items()} == shapes
    for layer in dense.body.modules():
        if isinstance(layer, nn.Conv2d):
            layer.padding_mode = "zeros"  # as published; a tile's crops are mirrored
    crop = torch.randn(1, 1, 224, 224, generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        features = dense.features(crop)
        expected = dense.head(whole.body.neck(features))[:, 0]
        torch.testing.assert_close(dense(crop), expected, rtol=1e-4, atol=1e-5)
        found, one_by_one = grid_of(dense, nn.functional.pad(features, (0, 1, 0, 1)))
    torch.testing.assert_close(found, one_by_one, rtol=1e-4, atol=1e-5)
