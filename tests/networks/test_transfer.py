import pytest
import torch

from clusterscan.config.networks import NetworkSettings
from clusterscan.core.errors import ModelError
from clusterscan.networks.registry import build
from clusterscan.networks.transfer import exchange_head, start_from


def whole(name="cnn_mlp", bands=2, seed=1, size_px=32, **options):
    return build(NetworkSettings(name=name, form="whole", size_px=size_px, **options), bands, seed)


@pytest.mark.parametrize("name", ["cnn_mlp", "resnet18", "spinalnet_efficientnet", "vit_tiny"])
def test_a_new_head_leaves_the_body_alone_and_depends_on_the_seed_alone(name):
    network = whole(name, classes=5).eval()
    body = {k: v.clone() for k, v in network.body.state_dict().items()}
    state = torch.random.get_rng_state()
    for classes in (1, 3):
        assert exchange_head(network, classes, seed=4) is network
        crops = torch.zeros(2, 2, 32, 32)
        assert network(crops).shape == ((2,) if classes == 1 else (2, classes))
        assert network.classes == network.settings.classes == classes
        assert not network.settings.is_dense
    assert torch.equal(state, torch.random.get_rng_state())
    assert all(torch.equal(body[k], v) for k, v in network.body.state_dict().items())
    first = {k: v.clone() for k, v in network.head.state_dict().items()}
    exchange_head(network, 3, seed=4)
    assert all(torch.equal(first[k], v) for k, v in network.head.state_dict().items())
    assert not network.head.training
    ids = {id(p) for p in network.layer_groups()[-1]}
    assert ids == {id(p) for p in network.head.parameters()}


def test_a_dense_network_keeps_its_one_logit():
    network = build(NetworkSettings(size_px=32, window_px=16, output_stride=8), 1, 1)
    before = network.head.weight.clone()
    assert not torch.equal(exchange_head(network, 1, seed=2).head.weight, before)
    with pytest.raises(ModelError, match="form: whole"):
        exchange_head(network, 2, seed=1)


def test_all_but_the_head_is_taken_over_from_a_network_of_other_classes():
    source, target = whole(classes=5), whole(classes=2, seed=9)
    head = {k: v.clone() for k, v in target.head.state_dict().items()}
    report = start_from(target, source)
    body = source.body.state_dict()
    assert all(torch.equal(body[k], v) for k, v in target.body.state_dict().items())
    assert all(torch.equal(head[k], v) for k, v in target.head.state_dict().items())
    assert set(report.copied) == {f"body.{k}" for k in body}
    assert set(report.new.values()) == {"the head is new"}


def test_other_bands_and_image_sizes_are_adapted_and_said():
    report = start_from(whole(bands=3, seed=2), whole(bands=2))
    assert report.adapted == ("body.map.0.weight",)
    report = start_from(whole("vit_tiny", size_px=48, seed=2), whole("vit_tiny"))
    assert report.adapted == ("body.model.pos_embed",)


def test_what_does_not_fit_is_reported_and_nothing_at_all_is_an_error():
    report = start_from(whole("resnet34", bands=1), whole("resnet18", bands=1))
    assert report.new["body.model.layer1.2.conv1.weight"] == "not in the other network"
    with pytest.raises(ModelError, match="the same architecture"):
        start_from(whole("custom_net"), whole("vit_tiny"))
