import numpy as np
import pytest
import torch

from clusterscan.config.networks import FusionSettings, NetworkSettings
from clusterscan.config.scan import ScanSettings
from clusterscan.core.errors import ConfigError, ImageError, ModelError
from clusterscan.formats.mask_planes import BRIGHT_STAR, EXCLUDED
from clusterscan.networks.registry import build
from clusterscan.scan.dense_scan import dense_grid, grid_step
from clusterscan.scan.fast.scan_copy import Pointwise, finer, fused
from clusterscan.scan.tile_scan import scan_tile
from clusterscan.scan.windowed_scan import cut, windowed_logits

UNCHANGED = {"kind": "standard", "softening": 1.0, "median": [0.0], "sigma": [1.0]}
CARD = {"views": [{"normalisation": UNCHANGED}]}
DENSE, WINDOWED = ScanSettings(device="cpu"), ScanSettings(engine="windowed", device="cpu")


def network(seed=1, **options):
    """A network with lively batch norms, as after training."""
    settings = NetworkSettings(**{"size_px": 32, "window_px": 8, "output_stride": 4} | options)
    net = build(settings, 1, seed)
    rng = torch.Generator().manual_seed(seed)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.3, generator=rng)
            module.running_var.uniform_(0.5, 2.0, generator=rng)
            torch.nn.init.uniform_(module.weight, 0.5, 1.5, generator=rng)
            torch.nn.init.normal_(module.bias, 0, 0.2, generator=rng)
    return net.eval()


def seer_of_light():
    """A network of known weights: the logit is the mean of a smoothed image's positive part."""
    net = build(NetworkSettings(size_px=32, window_px=8, output_stride=4), 1, 1)
    for module in net.modules():
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.constant_(module.weight, 1.0 / module.weight[0].numel())
    torch.nn.init.constant_(net.head.weight, 1.0)
    torch.nn.init.constant_(net.head.bias, 0.0)
    return net.eval()


def sky(shape, seed=1):
    return np.random.default_rng(seed).normal(size=(1, *shape)).astype(np.float32)


def positions(shape, count, margin, seed=2):
    rng = np.random.default_rng(seed)
    return (rng.uniform(margin, n - 1 - margin, count) for n in shape[::-1])


@pytest.mark.parametrize("step", [4, 2, 1])
def test_dense_equals_windowed_where_the_crop_holds_all_that_the_network_sees(step):
    """The body's reach of 15 px exceeds the rim of 12, so padding differs by a little there."""
    net = network(size_px=40)
    assert net.reach_px <= (40 - 8) / 2
    image = sky((96, 112))
    x, y = positions(image.shape[1:], 40, 30)
    grid = dense_grid(net, image, x, y, step_px=step)
    rows, columns = np.indices(grid.values.shape)
    gx, gy = (grid.x0 + step * columns).ravel()[::7], (grid.y0 + step * rows).ravel()[::7]
    reference = windowed_logits(net, image, gx, gy, batch_size=64)
    np.testing.assert_allclose(grid.values.ravel()[::7], reference, atol=2e-5)


def test_a_network_that_sees_further_than_its_crop_still_scans_as_it_was_trained():
    net = network(
        name="resnet18", stem_stride=2, stages=3, size_px=64, window_px=16, output_stride=8
    )
    image = sky((192, 176))
    x, y = positions(image.shape[1:], 60, 50)
    grid = dense_grid(net, image, x, y)
    rows, columns = (n.ravel()[::4] for n in np.indices(grid.values.shape))
    reference = windowed_logits(
        net, image, grid.x0 + 8 * columns, grid.y0 + 8 * rows, batch_size=64
    )
    assert np.corrcoef(grid.values[rows, columns], reference)[0, 1] > 0.9


@pytest.mark.parametrize("name", ["baseline", "resnet18"])
def test_chunks_give_the_same_numbers_as_the_whole(name):
    options = {"stem_stride": 1, "stages": 2, "output_stride": 2} if name == "resnet18" else {}
    net = network(name=name, **options)
    image = sky((200, 100))
    x, y = positions(image.shape[1:], 30, 4)
    whole = dense_grid(net, image, x, y)
    chunks = dense_grid(net, image, x, y, chunk_pixels=100 * 90)
    np.testing.assert_allclose(chunks.at(x, y), whole.at(x, y), atol=2e-5)


def test_moving_the_sky_by_a_stride_moves_the_scores_with_it():
    net = network()
    image = sky((128, 128))
    moved = np.roll(image, (8, 4), axis=(1, 2))
    x, y = positions((128, 128), 50, 50)
    first = dense_grid(net, image, x, y).at(x, y)
    second = dense_grid(net, moved, x + 4, y + 8).at(x + 4, y + 8)
    np.testing.assert_allclose(first, second, atol=2e-5)


def test_scores_do_not_depend_on_which_other_positions_are_asked_for():
    net = network()
    image = sky((128, 128))
    x, y = positions((128, 128), 50, 20)
    np.testing.assert_allclose(
        dense_grid(net, image, x, y).at(x, y)[:5],
        dense_grid(net, image, x[:5], y[:5]).at(x[:5], y[:5]),
        atol=2e-5,
    )


@pytest.mark.parametrize("settings", [DENSE, ScanSettings(step_px=1, device="cpu"), WINDOWED])
@pytest.mark.parametrize("place", [(60.0, 71.0), (61.7, 64.2)])
def test_a_bright_spot_scores_highest_where_it_is(settings, place):
    """Interpolated centroids of the scores: within half a step of the spot."""
    yy, xx = np.mgrid[:128, :128]
    image = 50 * np.exp(-((xx - place[0]) ** 2 + (yy - place[1]) ** 2) / (2 * 1.5**2))[None]
    gx, gy = np.meshgrid(np.arange(40.0, 88.0, 2.0), np.arange(44.0, 92.0, 2.0))
    probability, reason = scan_tile(
        seer_of_light(),
        CARD,
        image.astype(np.float32),
        np.zeros((128, 128), np.uint8),
        gx.ravel(),
        gy.ravel(),
        settings,
    )
    assert (reason == 0).all()
    weight = probability - probability.min()
    found = [(weight * g.ravel()).sum() / weight.sum() for g in (gx, gy)]
    np.testing.assert_allclose(found, place, atol=0.6)


def test_missing_pixels_count_as_background_and_never_reach_the_network():
    net, image = network(), sky((96, 96))
    x, y = positions((96, 96), 40, 20)
    mask = np.zeros((96, 96), np.uint8)
    mask[40:43, 50:55] = 2
    gaps, zeros, junk = image.copy(), image.copy(), image.copy()
    gaps[0, mask > 0], zeros[0, mask > 0], junk[0, mask > 0] = np.nan, 0, 1e9
    expected, reason = scan_tile(net, CARD, zeros, mask, x, y, DENSE)
    for damaged in (gaps, junk):
        found, same = scan_tile(net, CARD, damaged, mask, x, y, DENSE)
        np.testing.assert_array_equal(found, expected)
        np.testing.assert_array_equal(same, reason)
    assert np.isfinite(expected[reason == 0]).all()
    unmasked, _ = scan_tile(net, CARD, gaps, np.zeros_like(mask), x, y, DENSE)
    np.testing.assert_array_equal(unmasked[reason == 0], expected[reason == 0])


def test_each_map_pixel_says_why_it_is_left_out():
    mask = np.zeros((100, 100), np.uint8)
    mask[:, 80:] = 1
    mask[20, 20] = 2
    mask[50, 50] = 4
    x = np.array([40.0, 3.0, 90.0, 20.0, 50.0, 77.4, np.nan, 3.5, 96.0])
    y = np.array([40.0, 40.0, 40.0, 20.0, 50.0, 40.0, 40.0, 40.0, 500.0])
    probability, reason = scan_tile(network(), CARD, sky((100, 100)), mask, x, y, DENSE)
    # The window has 8 px: at x = 3 it starts at pixel -0.5, rounded to 0; at 77.4 a quarter is bad.
    assert reason.tolist() == [0, 0, 1, 2, 0, 0, 1, 0, 1]
    assert (np.isnan(probability) == (reason > 0)).all()
    mask[50, 50] = BRIGHT_STAR | EXCLUDED
    strict = ScanSettings(min_valid_fraction=0.8, device="cpu")
    _, reason = scan_tile(network(), CARD, sky((100, 100)), mask, x, y, strict)
    assert reason.tolist() == [0, 0, 1, 2, 4, 3, 1, 0, 1]


def test_a_tile_without_any_valid_pixel_costs_nothing_and_is_empty():
    mask = np.ones((64, 64), np.uint8)
    x = np.full(5, 32.0)
    probability, reason = scan_tile(network(), CARD, sky((64, 64)), mask, x, x, DENSE)
    assert np.isnan(probability).all()
    assert (reason == 1).all()


def test_channel_weights_follow_a_box_of_the_crops_size_not_the_tile():
    """A bright field a few crops away leaves the logits alone; a mean over the tile would not."""
    net = network(name="mobilenetv3", size_px=32, window_px=16, output_stride=8)
    image = sky((64, 640))
    far = image.copy()
    far[..., 480:] += 30.0
    x, y = np.array([40.0, 60.0]), np.array([31.0, 33.0])
    first, second = (dense_grid(net, i, x, y).at(x, y) for i in (image, far))
    np.testing.assert_allclose(first, second, atol=1e-5)
    wide = dense_grid(net, image, np.array([40.0, 500.0]), y).at(x, y)
    np.testing.assert_allclose(first, wide, atol=0.05 * np.abs(first).max())


def test_a_whole_network_is_scanned_crop_by_crop():
    net = build(NetworkSettings(name="cnn_mlp", size_px=32), 1, 1).eval()
    image, mask = sky((80, 80)), np.zeros((80, 80), np.uint8)
    x, y = positions((80, 80), 20, 12)
    probability, reason = scan_tile(net, CARD, image, mask, x, y, DENSE)
    assert (reason == 0).sum() > 5
    good = reason == 0
    logits = windowed_logits(net, image, x[good], y[good], batch_size=7)
    np.testing.assert_allclose(probability[good], 1 / (1 + np.exp(-logits)), rtol=1e-5)
    assert finer(fused(net), 8) is net


@pytest.mark.parametrize("classes", [2, 4])
def test_of_several_classes_the_map_shows_the_probability_of_class_one(classes):
    net = build(NetworkSettings(name="baseline", size_px=32, classes=classes), 1, 1).eval()
    image, mask = sky((64, 64)), np.zeros((64, 64), np.uint8)
    x = np.array([31.5, 35.5])
    probability, _ = scan_tile(net, CARD, image, mask, x, x, DENSE)
    crops = np.stack([cut(image, int(v - 15.5), int(v - 15.5), 32, 32) for v in x])
    with torch.inference_mode():
        expected = torch.softmax(net(torch.from_numpy(crops)), dim=1)[:, 1]
    np.testing.assert_allclose(probability, expected.numpy(), rtol=1e-5)


def test_a_network_of_several_surveys_cannot_scan_a_tile_of_one():
    branches = {name: NetworkSettings(name="cnn_mlp", size_px=16) for name in ("act", "unwise")}
    net = build(FusionSettings(branches=branches), (1, 1), 1).eval()
    x = np.array([31.5])
    with pytest.raises(ModelError, match="joins several surveys"):
        scan_tile(net, CARD, sky((64, 64)), np.zeros((64, 64), np.uint8), x, x, DENSE)


def test_merging_batch_norms_changes_nothing_but_the_rounding():
    for name in ("baseline", "resnet18", "mobilenet", "efficientnet_b0", "densenet121"):
        options = {"stem_stride": 1, "stages": 2, "output_stride": 2} if name == "resnet18" else {}
        net = network(name=name, **options)
        quick = fused(net)
        left = sum(isinstance(m, torch.nn.BatchNorm2d) for m in quick.modules())
        convs = sum(isinstance(m, torch.nn.Conv2d | Pointwise) for m in quick.modules())
        # DenseNet's norms before its convolutions follow a join and stay.
        assert left <= convs if name == "densenet121" else left == 0
        assert any(isinstance(m, torch.nn.BatchNorm2d) for m in net.modules())
        crops = torch.randn(2, 1, 32, 32)
        with torch.inference_mode():
            torch.testing.assert_close(quick(crops), net(crops), atol=1e-4, rtol=1e-4)


def test_cutting_continues_an_image_by_zeros():
    image = np.arange(1.0, 7).reshape(1, 2, 3)
    np.testing.assert_array_equal(cut(image, -1, 1, 3, 2), [[[0, 4, 5], [0, 0, 0]]])
    np.testing.assert_array_equal(cut(image, 1, 0, 2, 2), image[:, :, 1:])
    assert (cut(image, 50, -70, 4, 4) == 0).all()


def test_a_step_coarser_than_the_stride_means_the_stride():
    assert [grid_step(step, 8) for step in (None, 16, 8, 4, 1)] == [8, 8, 8, 4, 1]


def test_steps_and_shapes_that_cannot_be_are_refused():
    net, image, mask, x = network(), sky((64, 64)), np.zeros((64, 64), np.uint8), np.full(3, 32.0)
    with pytest.raises(ConfigError, match=r"does not divide .* one of \[1, 2, 4\]"):
        scan_tile(net, CARD, image, mask, x, x, ScanSettings(step_px=3, device="cpu"))
    with pytest.raises(ImageError, match="do not fit a model of 1 bands"):
        scan_tile(net, CARD, np.zeros((2, 64, 64), "f4"), mask, x, x, DENSE)
    with pytest.raises(ImageError, match="same length"):
        scan_tile(net, CARD, image, mask, x, x[:2], DENSE)
