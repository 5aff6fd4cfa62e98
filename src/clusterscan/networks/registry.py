"""Build the network that settings name, with weights from a seed.

Two forms: a dense network has a feature map of a chosen stride and can scan whole tiles; a whole
network is the published one and reads single crops. To add a network by a name of its own, list
the name in `clusterscan.config.networks` and build it in `dense_network` or `whole_network` below.
Any other timm network needs no code: its name is ``timm/<name>``.

All weights come from torch's random state in the order in which layers are made, so making them in
another order would change every trained network.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import nn

from clusterscan.config.networks import (
    HEAD_CELLS,
    OWN_BODIES,
    RESNETS,
    FusionSettings,
    NetworkSettings,
)
from clusterscan.core.errors import ModelError
from clusterscan.networks.fusion import FusionNetwork
from clusterscan.networks.heads import MLP_WIDTHS, SpinalHead, linear_head, mlp_head, vgg_head
from clusterscan.networks.network import (
    Kind,
    MakeHead,
    Network,
    PlainBody,
    ScanNetwork,
    WholeNetwork,
    pool_and_flatten,
)
from clusterscan.networks.pretrained import adapt_bands, copy_weights, is_own, read_weights
from clusterscan.networks.receptive_field import make_local, mirror_borders
from clusterscan.networks.timm_bodies import create, has_fixed_size, probe, whole_body
from clusterscan.networks.torchvision_repair import import_torchvision


def build(
    settings: NetworkSettings | FusionSettings, bands: int | Sequence[int], seed: int
) -> Network:
    """Build a network whose weights depend on the settings and the seed alone.

    Parameters
    ----------
    settings : NetworkSettings or FusionSettings
        Architecture, strides and sizes.
    bands : int or sequence of int
        Number of image bands; of each branch for a fusion.
    seed : int
        Seed of the first weights; the caller's random state does not change.

    Returns
    -------
    Network
        In training mode, on the CPU: a ScanNetwork for dense settings, a WholeNetwork for whole
        ones, a FusionNetwork for a fusion.

    Raises
    ------
    ModelError
        If timm does not know the name, pretrained weights are missing, the feature map has another
        stride than in the settings, or the number of views differs from the settings.
    """
    per_view = (bands,) if isinstance(bands, int) else tuple(bands)
    if any(count < 1 for count in per_view):
        raise ModelError(f"a network needs at least one band, not {min(per_view)}")
    views = len(settings.branches) if isinstance(settings, FusionSettings) else 1
    if len(per_view) != views:
        raise ModelError(
            f"the settings describe {views} view(s), but bands are given for {len(per_view)}; "
            "give the number of bands of each survey, in the settings' order"
        )
    # First weights come from a stream of their own, so the caller's draws before do not change
    # them.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if isinstance(settings, NetworkSettings):
            return _single(settings, per_view[0]).train()
        branches = {
            survey: _single(branch, count)
            for (survey, branch), count in zip(settings.branches.items(), per_view, strict=True)
        }
        return FusionNetwork(branches, settings).train()


def _single(settings: NetworkSettings, bands: int) -> Network:
    network: Network
    if settings.is_dense:
        network = dense_network(settings, bands)
    else:
        network = whole_network(settings, bands)
    if isinstance(settings.pretrained, str):
        state = read_weights(settings.pretrained)
        if is_own(state):
            copy_weights(network, state)
        elif settings.name in OWN_BODIES:
            raise ModelError(
                f"pretrained weights {settings.pretrained} do not belong to {settings.name}; give "
                "the weights.safetensors of a model trained here"
            )
    return network


TIMM_NAMES = {
    "resnet18": "resnet18",
    "resnet34": "resnet34",
    "resnet50": "resnet50",
    "efficientnet_b0": "efficientnet_b0",
    "densenet121": "densenet121",
    "mobilenet": "mobilenetv1_100",
    "mobilenetv3": "mobilenetv3_large_100",
    "vgg16": "vgg16",
    "inception_v3": "inception_v3",
    "vit_tiny": "vit_tiny_patch16_224",
    "vit_base": "vit_base_patch16_224",
    "vit_large_patch16_224": "vit_large_patch16_224",
    "spinalnet_resnet": "wide_resnet101_2",
    "spinalnet_vgg": "vgg19_bn",
    "spinalnet_efficientnet": "efficientnet_b0",
    "spinalnet_densenet": "densenet121",
}
"""timm's name of each network's body."""

PUBLISHED_DROPOUT = {
    "baseline": 0.5,
    "efficientnet_b0": 0.2,
    "mobilenetv3": 0.2,
    "vgg16": 0.5,
    "inception_v3": 0.2,
    "spinalnet_vgg": 0.5,
    "alexnet_vgg": 0.5,
    "cnn_mlp": 0.5,
    "custom_net": 0.65,
}
"""Published dropout before the last layer or within a larger head; 0 if not listed."""

SPINAL_WIDTH = 200
"""Outputs of each of the four layers of a SpinalNet head, except of those listed next."""

SPINAL_WIDTHS = {"spinalnet_vgg": 512}

WIDTHS = (32, 64, 128, 256)
"""Channels of the four blocks of the baseline network."""

RESNET_WIDTHS = {
    "resnet18": (64, 128, 256, 512),
    "resnet34": (64, 128, 256, 512),
    "resnet50": (256, 512, 1024, 2048),
}
_VGG_CHANNELS = 512

# Side of the pooled map that a head of several layers reads in the whole form [cells].
_ALEXNET_CELLS, _VGG_CELLS, _MLP_CELLS = 6, 7, 4


def _dropout(settings: NetworkSettings) -> float:
    published = PUBLISHED_DROPOUT.get(settings.name, 0.0)
    return published if settings.dropout is None else settings.dropout


def _spinal_head(settings: NetworkSettings) -> MakeHead:
    return partial(
        SpinalHead,
        width=SPINAL_WIDTHS.get(settings.name, SPINAL_WIDTH),
        dropout=_dropout(settings),
        batch_norm=settings.name == "spinalnet_vgg",
    )


def baseline_body(bands: int, output_stride: int) -> nn.Sequential:
    """Return four blocks of convolution, batch norm and ReLU, the first ones with pooling.

    2 x 2 max pooling follows the first log2(output_stride) blocks.
    """
    layers: list[nn.Module] = []
    channels, stride = bands, 1
    for width in WIDTHS:
        layers += [
            nn.Conv2d(channels, width, kernel_size=3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
        ]
        if stride < output_stride:
            layers.append(nn.MaxPool2d(2))
            stride *= 2
        channels = width
    return nn.Sequential(*layers)


def dense_network(settings: NetworkSettings, bands: int) -> ScanNetwork:
    """Build a network of the dense form.

    Raises
    ------
    ModelError
        If its feature map has another stride than in the settings.
    """
    name = settings.name
    make_head: MakeHead = nn.Linear
    if name in ("baseline", "cnn_mlp"):
        body: nn.Module = baseline_body(bands, settings.output_stride)
        channels = WIDTHS[-1]
        if name == "cnn_mlp":
            make_head = partial(mlp_head, widths=MLP_WIDTHS, dropout=_dropout(settings))
    elif name in ("vgg16", "spinalnet_vgg"):
        body, channels = _dense_vgg(settings, bands), _VGG_CHANNELS
        if name == "vgg16":
            make_head = partial(vgg_head, dropout=_dropout(settings))
        else:
            make_head = _spinal_head(settings)
    elif name in RESNETS:
        body, channels = _dense_resnet(settings, bands)
    else:
        body, channels = _dense_timm(settings, bands)
    network = ScanNetwork(
        body,
        channels,
        settings,
        bands,
        make_head=make_head,
        head_cells=HEAD_CELLS.get(name, 1),
    )
    _check_stride(network, channels)
    return network


def _dense_vgg(settings: NetworkSettings, bands: int) -> nn.Module:
    """Return VGG's convolutions, at stride 16 without the last pooling."""
    body = create(TIMM_NAMES[settings.name], bands, settings.pretrained, num_classes=0).features
    if settings.output_stride == 16:
        body = body[:-1]
    mirror_borders(body, bands, settings.size_px)
    return body


def _dense_resnet(settings: NetworkSettings, bands: int) -> tuple[nn.Module, int]:
    """Return a residual network with fewer strides in the stem, and its channels.

    timm replaces strides of the later stages by dilation to reach an output stride. It assumes the
    published stem of stride 4, so it is asked for the stride that leaves the wanted one after the
    stem's own strides are taken out.

    References
    ----------
    He et al. 2016, CVPR, 770 (residual networks); Yu, Koltun & Funkhouser 2017, CVPR, 472
    (dilation in place of strides).
    """
    stem = settings.stem_stride
    body = create(
        TIMM_NAMES[settings.name],
        bands,
        settings.pretrained,
        num_classes=0,
        output_stride=settings.output_stride * 4 // stem,
    )
    if stem < 4:
        body.conv1.stride = (1, 1)
    if stem < 2:
        body.maxpool = nn.Identity()
    stages = [getattr(body, f"layer{i + 1}") for i in range(settings.stages)]
    chain = nn.Sequential(body.conv1, body.bn1, body.act1, body.maxpool, *stages)
    return chain, RESNET_WIDTHS[settings.name][settings.stages - 1]


class _LastMap(nn.Module):
    """The single feature map of a timm feature extractor."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the feature map (B, F, h, w) of images (B, bands, H, W)."""
        return self.model(x)[-1]


def _dense_timm(settings: NetworkSettings, bands: int) -> tuple[nn.Module, int]:
    """Return any timm network up to its last feature map of the wanted stride, and its channels."""
    name = TIMM_NAMES.get(settings.name, settings.name.removeprefix("timm/"))
    if has_fixed_size(name):
        raise ModelError(
            f"{settings.name} takes images of one size only, so it cannot read whole tiles; "
            "set form: whole"
        )
    # Made once without weights, only to ask for the strides of its feature maps.
    extractor = create(name, bands, False, features_only=True)
    levels = extractor.feature_info
    strides = levels.reduction()
    if settings.output_stride not in strides:
        raise ModelError(
            f"{settings.name} has feature maps with strides {strides}, not "
            f"{settings.output_stride}; set output_stride to one of them, or form: whole"
        )
    # Of several maps with the same stride the deepest one.
    level = max(i for i, s in enumerate(strides) if s == settings.output_stride)
    # timm's own extractors of some families keep the layers behind the wanted level, which would
    # never learn; its general ones, modules by name, leave them out.
    options = {} if isinstance(extractor, nn.ModuleDict) else {"feature_cls": "getter"}
    body = create(
        name, bands, settings.pretrained, features_only=True, out_indices=(level,), **options
    )
    last_map = _LastMap(body)
    make_local(last_map, bands, settings.size_px, settings.name)
    mirror_borders(last_map, bands, settings.size_px)
    return last_map, levels.channels()[level]


@torch.no_grad()
def _check_stride(network: ScanNetwork, channels: int) -> None:
    n = network.settings.cells
    training = network.training
    probe = torch.zeros(1, network.bands, network.size_px, network.size_px)
    try:
        shape = tuple(network.eval().features(probe).shape)
    except RuntimeError as error:
        raise ModelError(
            f"{network.settings.name} cannot take crops of {network.size_px} px: {error}"
        ) from error
    finally:
        network.train(training)
    if shape != (1, channels, n, n):
        raise ModelError(
            f"{network.settings.name} turns crops of {network.size_px} px into {shape[2:]} cells "
            f"of {shape[1]} channels, not into {(n, n)} of {channels}; "
            f"its stride is about {network.size_px / max(shape[-1], 1):.3g}: change output_stride"
        )


def whole_network(settings: NetworkSettings, bands: int) -> WholeNetwork:
    """Build a network of the whole form.

    Raises
    ------
    ModelError
        If timm does not know the name, or pretrained weights are missing.

    References
    ----------
    Kosiba et al. 2020, MNRAS 496, 4141 (custom_net); Krizhevsky 2014 (arXiv:1404.5997) and
    Simonyan & Zisserman 2015, ICLR (alexnet_vgg: AlexNet's convolutions, VGG's linear layers);
    Kabir et al. 2020 (arXiv:2007.03347; the SpinalNets).
    """
    name, size = settings.name, settings.size_px
    timm_name = TIMM_NAMES.get(name, name.removeprefix("timm/").removeprefix("spinalnet/"))
    kind: Kind = "conv"
    body: nn.Module
    make_head: MakeHead
    if name == "baseline":
        body = PlainBody(baseline_body(bands, 16), pool_and_flatten(1))
        width, make_head = WIDTHS[-1], partial(linear_head, dropout=_dropout(settings))
    elif name == "cnn_mlp":
        body = PlainBody(baseline_body(bands, 16), pool_and_flatten(_MLP_CELLS))
        width = WIDTHS[-1] * _MLP_CELLS**2
        make_head = partial(mlp_head, widths=MLP_WIDTHS, dropout=_dropout(settings))
    elif name == "custom_net":
        body, width = _custom_net(bands, size)
        make_head = partial(mlp_head, widths=(256,), dropout=_dropout(settings))
    elif name == "alexnet_vgg":
        features = _alexnet_features(settings, bands)
        body = PlainBody(features, pool_and_flatten(_ALEXNET_CELLS))
        width, make_head = 256 * _ALEXNET_CELLS**2, partial(vgg_head, dropout=_dropout(settings))
    elif name == "spinalnet_vgg" or name.startswith("spinalnet/vgg"):
        model = whole_body(timm_name, bands, size, 0.0, settings.pretrained).model
        body = PlainBody(model.features, pool_and_flatten(_VGG_CELLS))
        width, make_head = _VGG_CHANNELS * _VGG_CELLS**2, _spinal_head(settings)
    else:
        # Any body of timm, with a SpinalNet head or one linear layer on its pooled features.
        spinal = name.startswith("spinalnet")
        dropout = 0.0 if spinal else _dropout(settings)
        timm_body = whole_body(timm_name, bands, size, dropout, settings.pretrained)
        body, make_head = timm_body, _spinal_head(settings) if spinal else nn.Linear
        if name in TIMM_NAMES:
            width, kind = timm_body.width, "vit" if name.startswith("vit_") else "conv"
        else:
            width, kind = probe(timm_body, timm_name, bands, size)
    return WholeNetwork(body, width, make_head, settings, bands, kind=kind)


def _custom_net(bands: int, size_px: int) -> tuple[nn.Module, int]:
    """Return the body of Kosiba et al. 2020, Table 3, and its number of features.

    Odd maps are pooled with their rim, which gives the table's sizes 356, 178, 89, 45, 23, 12, 6.
    """
    layers: list[nn.Module] = []
    channels, cells = bands, size_px
    for width in (64, 32, 32, 32, 32, 32):
        layers += [
            nn.Conv2d(channels, width, kernel_size=3, padding=1),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2, ceil_mode=True),
        ]
        channels, cells = width, -(-cells // 2)
    return PlainBody(nn.Sequential(*layers), nn.Flatten()), channels * cells**2


def _alexnet_features(settings: NetworkSettings, bands: int) -> nn.Module:
    """Return AlexNet's convolutions, which torchvision has and timm has not."""
    features: Any = import_torchvision().models.alexnet().features
    if bands != features[0].in_channels:
        features[0] = nn.Conv2d(bands, 64, kernel_size=11, stride=4, padding=2)
    path = settings.pretrained
    if not isinstance(path, str) or is_own(state := read_weights(path)):
        return features
    known = {
        name.removeprefix("features."): weight
        for name, weight in state.items()
        if name.startswith("features.")
    }
    try:
        known["0.weight"] = adapt_bands(known["0.weight"], features[0].in_channels)
        features.load_state_dict(known)
    except (KeyError, RuntimeError) as error:
        raise ModelError(
            f"pretrained weights {path} are not torchvision's AlexNet ({error}); "
            "give that network's weights as .safetensors"
        ) from error
    return features
