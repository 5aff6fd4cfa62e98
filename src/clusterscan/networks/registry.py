"""Which network a name means: settings, a number of bands and a seed to a network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
    """Return a network with weights that depend on the settings and the seed alone.

    Parameters
    ----------
    settings : NetworkSettings or FusionSettings
        Architecture, strides and sizes.
    bands : int or sequence of int
        Image bands, of a fusion those of each branch.
    seed : int
        Seed of the first weights; the caller's random state is left as it was.

    Returns
    -------
    Network
        In training mode, on the CPU: a ScanNetwork for dense settings, a WholeNetwork for whole
        ones, a FusionNetwork for a fusion.

    Raises
    ------
    ModelError
        If the name is unknown to timm, its pretrained weights cannot be had, its feature map has
        another stride than the settings say, or the bands are not those of the settings' views.
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
                f"pretrained weights {settings.pretrained} are none of {settings.name}'s; give "
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
"""Dropout before the last layer, or in a head of several layers; 0 where not listed."""

SPINAL_WIDTH = 200
"""Numbers that each of a SpinalNet head's four layers writes, where not listed."""

SPINAL_WIDTHS = {"spinalnet_vgg": 512}
"""The same of networks published with another number."""


WIDTHS = (32, 64, 128, 256)


def baseline_body(bands: int, output_stride: int) -> nn.Sequential:
    """Return the body: 2 x 2 max pooling after the first log2(output_stride) blocks."""
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


RESNET_WIDTHS = {
    "resnet18": (64, 128, 256, 512),
    "resnet34": (64, 128, 256, 512),
    "resnet50": (256, 512, 1024, 2048),
}
_VGG_CHANNELS = 512
Built = tuple[nn.Module, int]  # body, channels


def dense_network(settings: NetworkSettings, bands: int) -> ScanNetwork:
    """Return a network of the dense form; its weights come from torch's random state.

    Raises
    ------
    ModelError
        If its feature map has another stride than the settings say.
    """
    body, channels = _dense_maker(settings.name)(settings, bands)
    network = ScanNetwork(
        body,
        channels,
        settings,
        bands,
        make_head=_head_maker(settings),
        head_cells=HEAD_CELLS.get(settings.name, 1),
    )
    _check_stride(network, channels)
    return network


def _dense_maker(name: str) -> Callable[[NetworkSettings, int], Built]:
    if name in ("baseline", "cnn_mlp"):
        return _dense_baseline
    if name in ("vgg16", "spinalnet_vgg"):
        return _dense_vgg
    return _dense_resnet if name in RESNETS else _dense_timm


def _head_maker(settings: NetworkSettings) -> MakeHead:
    """Return what makes the head: one linear layer, or the published one of several."""
    published = PUBLISHED_DROPOUT.get(settings.name, 0.0)
    dropout = published if settings.dropout is None else settings.dropout
    if settings.name == "cnn_mlp":
        return partial(mlp_head, widths=MLP_WIDTHS, dropout=dropout)
    if settings.name == "vgg16":
        return partial(vgg_head, dropout=dropout)
    if settings.name == "spinalnet_vgg":
        width = SPINAL_WIDTHS[settings.name]
        return partial(SpinalHead, width=width, dropout=dropout, batch_norm=True)
    return nn.Linear


def _dense_baseline(settings: NetworkSettings, bands: int) -> Built:
    return baseline_body(bands, settings.output_stride), WIDTHS[-1]


def _dense_vgg(settings: NetworkSettings, bands: int) -> Built:
    """Return VGG's convolutions, at stride 16 without the last pooling."""
    name = TIMM_NAMES[settings.name]
    body = create(name, bands, settings.pretrained, num_classes=0).features
    if settings.output_stride == 16:
        body = body[:-1]
    mirror_borders(body, bands, settings.size_px)
    return body, _VGG_CHANNELS


def _dense_resnet(settings: NetworkSettings, bands: int) -> Built:
    """Return a residual network with fewer strides in the stem and dilation for the rest.

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
    """The one feature map that a timm feature extractor was asked for."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the feature map (B, F, h, w) of images (B, bands, H, W)."""
        return self.model(x)[-1]


def _dense_timm(settings: NetworkSettings, bands: int) -> Built:
    """Return any timm network up to the last feature map with the wanted stride."""
    name = TIMM_NAMES.get(settings.name, settings.name.removeprefix("timm/"))
    if has_fixed_size(name):
        raise ModelError(
            f"{settings.name} takes images of one size only, so it cannot read whole tiles; "
            "set form: whole"
        )
    extractor = create(name, bands, False, features_only=True)
    levels = extractor.feature_info
    strides = levels.reduction()
    if settings.output_stride not in strides:
        raise ModelError(
            f"{settings.name} has feature maps with strides {strides}, not "
            f"{settings.output_stride}; set output_stride to one of them, or form: whole"
        )
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


Parts = tuple[nn.Module, int, MakeHead, Kind]  # body, its features, what makes a head, kind

# Cells along a side of the pooled map that a head of several layers reads.
_ALEXNET_CELLS, _VGG_CELLS, _MLP_CELLS = 6, 7, 4
_ALEXNET_FIRST, _ALEXNET_CHANNELS, _VGG_CHANNELS = 64, 256, 512
_CUSTOM_WIDTHS = (64, 32, 32, 32, 32, 32)
_CUSTOM_HIDDEN = 256


def whole_network(settings: NetworkSettings, bands: int) -> WholeNetwork:
    """Return a network of the whole form; its weights come from torch's random state.

    Raises
    ------
    ModelError
        If the name is unknown to timm, or its pretrained weights cannot be had.
    """
    body, width, make_head, kind = _whole_maker(settings.name)(settings, bands)
    return WholeNetwork(body, width, make_head, settings, bands, kind=kind)


def _whole_maker(name: str) -> Callable[[NetworkSettings, int], Parts]:
    own: dict[str, Callable[[NetworkSettings, int], Parts]] = {
        "baseline": _whole_baseline,
        "cnn_mlp": _whole_cnn_mlp,
        "custom_net": _custom_net,
        "alexnet_vgg": _alexnet_vgg,
        "spinalnet_vgg": _spinalnet_vgg,
        "spinalnet_resnet": _spinalnet,
        "spinalnet_efficientnet": _spinalnet,
        "spinalnet_densenet": _spinalnet,
    }
    if name.startswith("spinalnet/"):
        return _spinalnet_vgg if name.startswith("spinalnet/vgg") else _any_spinalnet
    return own.get(name, _named_timm if name in TIMM_NAMES else _any_timm)


def _dropout(settings: NetworkSettings) -> float:
    published = PUBLISHED_DROPOUT.get(settings.name, 0.0)
    return published if settings.dropout is None else settings.dropout


def _whole_baseline(settings: NetworkSettings, bands: int) -> Parts:
    """Return four blocks with pooling after each, and a mean over the map."""
    body = PlainBody(baseline_body(bands, 16), pool_and_flatten(1))
    return body, WIDTHS[-1], partial(linear_head, dropout=_dropout(settings)), "conv"


def _whole_cnn_mlp(settings: NetworkSettings, bands: int) -> Parts:
    """Return the baseline's convolutions with a multilayer perceptron on a 4 x 4 map."""
    body = PlainBody(baseline_body(bands, 16), pool_and_flatten(_MLP_CELLS))
    features = WIDTHS[-1] * _MLP_CELLS**2
    head = partial(mlp_head, widths=MLP_WIDTHS, dropout=_dropout(settings))
    return body, features, head, "conv"


def _custom_net(settings: NetworkSettings, bands: int) -> Parts:
    """Return the custom network of Kosiba et al. 2020, Table 3.

    Odd maps are pooled with their rim, as the table's sizes say: 356, 178, 89, 45, 23, 12, 6.

    References
    ----------
    Kosiba et al. 2020, MNRAS 496, 4141.
    """
    layers: list[nn.Module] = []
    channels, cells = bands, settings.size_px
    for width in _CUSTOM_WIDTHS:
        layers += [
            nn.Conv2d(channels, width, kernel_size=3, padding=1),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2, ceil_mode=True),
        ]
        channels, cells = width, -(-cells // 2)
    body = PlainBody(nn.Sequential(*layers), nn.Flatten())
    head = partial(mlp_head, widths=(_CUSTOM_HIDDEN,), dropout=_dropout(settings))
    return body, channels * cells**2, head, "conv"


def _alexnet_vgg(settings: NetworkSettings, bands: int) -> Parts:
    """Return AlexNet's convolutions with the linear layers of VGG.

    References
    ----------
    Krizhevsky 2014 (arXiv:1404.5997); Simonyan & Zisserman 2015, ICLR.
    """
    features: Any = import_torchvision().models.alexnet().features  # timm has no AlexNet
    if bands != features[0].in_channels:
        features[0] = nn.Conv2d(bands, _ALEXNET_FIRST, kernel_size=11, stride=4, padding=2)
    _load_alexnet(features, settings.pretrained)
    body = PlainBody(features, pool_and_flatten(_ALEXNET_CELLS))
    numbers = _ALEXNET_CHANNELS * _ALEXNET_CELLS**2
    return body, numbers, partial(vgg_head, dropout=_dropout(settings)), "conv"


def _load_alexnet(features: Any, pretrained: bool | str) -> None:
    if not isinstance(pretrained, str) or is_own(state := read_weights(pretrained)):
        return
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
            f"pretrained weights {pretrained} are not torchvision's AlexNet ({error}); "
            "give that network's weights as .safetensors"
        ) from error


def _named_timm(settings: NetworkSettings, bands: int) -> Parts:
    body = whole_body(
        TIMM_NAMES[settings.name],
        bands,
        settings.size_px,
        _dropout(settings),
        settings.pretrained,
    )
    kind: Kind = "vit" if settings.name.startswith("vit_") else "conv"
    return body, body.width, nn.Linear, kind


def _any_timm(settings: NetworkSettings, bands: int) -> Parts:
    name = settings.name.removeprefix("timm/")
    body = whole_body(name, bands, settings.size_px, _dropout(settings), settings.pretrained)
    features, kind = probe(body, name, bands, settings.size_px)
    return body, features, nn.Linear, kind


def _spinalnet(settings: NetworkSettings, bands: int) -> Parts:
    """Return a timm body with a SpinalNet head on its pooled features."""
    name = TIMM_NAMES[settings.name]
    body = whole_body(name, bands, settings.size_px, 0.0, settings.pretrained)
    return body, body.width, _spinal_head(settings), "conv"


def _any_spinalnet(settings: NetworkSettings, bands: int) -> Parts:
    """Return any timm body with a SpinalNet head on its pooled features."""
    name = settings.name.removeprefix("spinalnet/")
    body = whole_body(name, bands, settings.size_px, 0.0, settings.pretrained)
    features, kind = probe(body, name, bands, settings.size_px)
    return body, features, _spinal_head(settings), kind


def _spinalnet_vgg(settings: NetworkSettings, bands: int) -> Parts:
    """Return a VGG's convolutions (as published VGG-19's) with a SpinalNet head on a 7 x 7 map."""
    name = TIMM_NAMES.get(settings.name, settings.name.removeprefix("spinalnet/"))
    model = whole_body(name, bands, settings.size_px, 0.0, settings.pretrained).model
    body = PlainBody(model.features, pool_and_flatten(_VGG_CELLS))
    return body, _VGG_CHANNELS * _VGG_CELLS**2, _spinal_head(settings), "conv"


def _spinal_head(settings: NetworkSettings) -> MakeHead:
    return partial(
        SpinalHead,
        width=SPINAL_WIDTHS.get(settings.name, SPINAL_WIDTH),
        dropout=_dropout(settings),
        batch_norm=settings.name == "spinalnet_vgg",
    )
