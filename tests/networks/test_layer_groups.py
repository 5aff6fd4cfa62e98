import pytest
import torch
from torch import nn

from clusterscan.config.networks import NetworkSettings
from clusterscan.networks.layer_groups import grouped_names
from clusterscan.networks.registry import build


def groups_of(name, form="whole", **options):
    size = {"dense": {"size_px": 64, "window_px": 32}, "whole": {"size_px": 96}}[form]
    settings = NetworkSettings(name=name, form=form, **size | options)
    with torch.device("meta"):
        network = build(settings, 2, 1)
    names = {id(p): n for n, p in network.named_parameters()}
    return [[names[id(p)] for p in group] for group in network.layer_groups()]


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("baseline", 4 + 1),
        ("custom_net", 6 + 1),
        ("alexnet_vgg", 3 + 1),
        ("resnet18", 1 + 4 + 1),
        ("vgg16", 5 + 1 + 1),  # blocks, the first linear layers, the last
        ("spinalnet_vgg", 5 + 1),
        ("efficientnet_b0", 1 + 7 + 1),
        ("vit_tiny", 1 + 12 + 1),
    ],
)
def test_groups_are_the_blocks_or_stages_that_a_network_is_made_of(name, count):
    assert len(groups_of(name)) == count


def test_dense_and_whole_residual_networks_have_the_same_groups():
    def sizes(form):
        return [len(group) for group in groups_of("resnet34", form)]

    assert sizes("dense")[:-1] == sizes("whole")[:-1]


def test_groups_run_from_the_first_layer_to_the_last():
    groups = groups_of("resnet18")
    assert groups[0][0] == "body.model.conv1.weight"
    assert all(name.startswith("body.model.layer4") for name in groups[-2])
    assert groups[-1] == ["head.weight", "head.bias"]


def test_norms_belong_to_the_kernel_before_them_and_lone_weights_to_a_group():
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(3))
            self.first = nn.Conv2d(1, 4, 3)
            self.norm = nn.BatchNorm2d(4)
            self.second = nn.Conv2d(4, 4, 3)

    assert grouped_names(Odd(), "b.") == [
        ["b.scale"],
        ["b.first.weight", "b.first.bias", "b.norm.weight", "b.norm.bias"],
        ["b.second.weight", "b.second.bias"],
    ]
