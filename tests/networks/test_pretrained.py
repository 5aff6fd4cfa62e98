"""Weights from a file: timm's names or ours, other bands, classes and sizes."""

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from clusterscan.config.networks import NetworkSettings
from clusterscan.core.errors import ModelError
from clusterscan.networks.pretrained import adapt_bands, copy_weights
from clusterscan.networks.registry import build
from clusterscan.networks.torchvision_repair import import_timm

SMALL = {"size_px": 32, "window_px": 16, "output_stride": 8}


def of_timm(tmp_path, name, **options):
    """A file of a timm model's weights, and the model."""
    model = import_timm().create_model(name, **options)
    path = tmp_path / f"{name}.safetensors"
    save_file(model.state_dict(), path)
    return str(path), model


def whole(name, path, **options):
    settings = {"name": name, "form": "whole", "size_px": 32, "pretrained": path} | options
    return NetworkSettings(**settings)


def test_pretrained_weights_must_be_safetensors(tmp_path):
    pickle = tmp_path / "weights.pth"
    pickle.write_bytes(b"x")
    settings = NetworkSettings(name="resnet18", stem_stride=2, pretrained=str(pickle), **SMALL)
    with pytest.raises(ModelError, match=r"give an existing .safetensors file"):
        build(settings, 1, 1)
    damaged = tmp_path / "weights.safetensors"
    damaged.write_bytes(b"\x08\0\0\0\0\0\0\0{broken}")
    with pytest.raises(ModelError, match="are damaged"):
        build(settings.model_copy(update={"pretrained": str(damaged)}), 1, 1)


@pytest.mark.parametrize("bands", [1, 2, 3, 4, 7])
def test_bands_are_adapted_as_timm_does(bands):
    import_timm()
    from timm.models import adapt_input_conv

    weight = torch.randn(4, 3, 5, 5)
    torch.testing.assert_close(adapt_bands(weight, bands), adapt_input_conv(bands, weight.clone()))


@pytest.mark.parametrize(("before", "after"), [(2, 4), (4, 2), (5, 1), (1, 3), (6, 3)])
def test_equal_images_in_all_bands_look_the_same_after_adapting(before, after):
    weight = torch.randn(4, 1, 3, 3).expand(4, before, 3, 3)
    image = torch.randn(1, 1, 8, 8)
    torch.testing.assert_close(
        nn.functional.conv2d(image.expand(1, after, 8, 8), adapt_bands(weight, after)),
        nn.functional.conv2d(image.expand(1, before, 8, 8), weight),
        atol=1e-4,
        rtol=1e-4,
    )


def test_pretrained_weights_of_three_bands_fit_a_dense_network_of_two(tmp_path):
    path, source = of_timm(tmp_path, "resnet18", num_classes=0)
    settings = NetworkSettings(name="resnet18", stem_stride=2, pretrained=path, **SMALL)
    network = build(settings, 2, 1)
    torch.testing.assert_close(network.body[4][0].conv1.weight, source.layer1[0].conv1.weight)
    torch.testing.assert_close(network.body[0].weight, adapt_bands(source.conv1.weight, 2).detach())


@pytest.mark.parametrize("bands_of_file", [1, 3, 4])
@pytest.mark.parametrize("bands", [1, 2, 3])
def test_a_whole_network_starts_from_weights_of_other_bands_and_classes(
    tmp_path, bands_of_file, bands
):
    path, source = of_timm(tmp_path, "mobilenetv3_small_050", in_chans=bands_of_file, num_classes=7)
    network = build(whole("timm/mobilenetv3_small_050", path, classes=3), bands, 1)
    own = network.body.model.state_dict()
    for name, weight in source.state_dict().items():
        if name.startswith("classifier"):
            continue
        expected = adapt_bands(weight, bands) if name == "conv_stem.weight" else weight
        torch.testing.assert_close(own[name], expected)
    assert network.head.weight.shape == (3, 1024)


def test_what_was_loaded_is_not_kept_twice(tmp_path):
    path, _ = of_timm(tmp_path, "mobilenetv3_small_050")
    network = build(whole("timm/mobilenetv3_small_050", path), 1, 1)
    assert "state_dict" not in network.body.model.pretrained_cfg


def test_position_embeddings_are_interpolated_to_the_crops(tmp_path):
    path, source = of_timm(tmp_path, "vit_tiny_patch16_224", img_size=64)
    with torch.no_grad():
        rows = torch.arange(4.0).repeat_interleave(4)
        source.pos_embed[0, 1:] = rows[:, None]  # rises from row to row
    save_file(source.state_dict(), path)
    found = build(whole("vit_tiny", path, size_px=128), 2, 1).body.model.pos_embed[0]
    grid = found[1:, 0].reshape(8, 8)
    assert found.shape == (1 + 64, 192)
    torch.testing.assert_close(found[0], source.pos_embed[0, 0])
    assert (grid.diff(dim=0)[1:-1] > 0).all()
    assert grid.diff(dim=1).abs().max() < 1e-5
    assert grid.mean().item() == pytest.approx(1.5, abs=0.01)


def test_the_weights_of_another_network_are_refused(tmp_path):
    path, _ = of_timm(tmp_path, "mobilenetv3_small_050")
    for name in ("resnet18", "timm/regnetx_002"):
        with pytest.raises(ModelError, match="give a file of the same architecture"):
            build(whole(name, path), 3, 1)
    for name in ("baseline", "custom_net", "alexnet_vgg"):
        with pytest.raises(ModelError, match="pretrained weights"):
            build(whole(name, path, size_px=64), 3, 1)


def test_alexnet_starts_from_torchvisions_weights(tmp_path):
    import_timm()
    from torchvision.models import alexnet

    features = alexnet().features
    path = tmp_path / "alexnet.safetensors"
    state = {f"features.{name}": w for name, w in features.state_dict().items()}
    save_file(state, path)
    network = build(whole("alexnet_vgg", str(path), size_px=63), 2, 1)
    torch.testing.assert_close(network.body.map[3].weight, features[3].weight)
    torch.testing.assert_close(network.body.map[0].weight, adapt_bands(features[0].weight, 2))


def test_a_network_of_ours_starts_from_the_weights_of_another_of_ours(tmp_path):
    first = build(NetworkSettings(**SMALL), 1, 1)
    path = tmp_path / "weights.safetensors"
    save_file(first.state_dict(), path)
    second = build(NetworkSettings(pretrained=str(path), **SMALL), 2, 2)
    torch.testing.assert_close(second.body[4].weight, first.body[4].weight)
    torch.testing.assert_close(second.body[0].weight, adapt_bands(first.body[0].weight, 2))
    assert not torch.equal(second.head.weight, first.head.weight)


def fresh(name="cnn_mlp", bands=2, seed=1, size_px=32, **options):
    return build(NetworkSettings(name=name, form="whole", size_px=size_px, **options), bands, seed)


def copied(network, other):
    return copy_weights(network, other.state_dict())


def test_all_but_the_head_is_taken_over_from_a_network_of_other_classes():
    source, target = fresh(classes=5), fresh(classes=2, seed=9)
    head = {k: v.clone() for k, v in target.head.state_dict().items()}
    report = copied(target, source)
    body = source.body.state_dict()
    assert all(torch.equal(body[k], v) for k, v in target.body.state_dict().items())
    assert all(torch.equal(head[k], v) for k, v in target.head.state_dict().items())
    assert set(report.copied) == {f"body.{k}" for k in body}
    assert set(report.new.values()) == {"the head is new"}


def test_other_bands_and_image_sizes_are_adapted_and_said():
    report = copied(fresh(bands=3, seed=2), fresh(bands=2))
    assert report.adapted == ("body.map.0.weight",)
    report = copied(fresh("vit_tiny", size_px=48, seed=2), fresh("vit_tiny"))
    assert report.adapted == ("body.model.pos_embed",)


def test_what_does_not_fit_is_reported_and_nothing_at_all_is_an_error():
    report = copied(fresh("resnet34", bands=1), fresh("resnet18", bands=1))
    assert report.new["body.model.layer1.2.conv1.weight"] == "not in the other network"
    with pytest.raises(ModelError, match="the same architecture"):
        copied(fresh("custom_net"), fresh("vit_tiny"))
