"""Whole networks by name: each is a body, and a maker of heads for it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import nn

from clusterscan.config.networks import NetworkSettings
from clusterscan.core.errors import ModelError
from clusterscan.networks.baseline import WIDTHS, baseline_body
from clusterscan.networks.heads import MLP_WIDTHS, SpinalHead, linear_head, mlp_head, vgg_head
from clusterscan.networks.names import PUBLISHED_DROPOUT, SPINAL_WIDTH, SPINAL_WIDTHS, TIMM_NAMES
from clusterscan.networks.network import Kind, MakeHead
from clusterscan.networks.pretrained import adapt_bands, is_own, read_weights
from clusterscan.networks.timm_bodies import probe, whole_body
from clusterscan.networks.torchvision_repair import import_timm
from clusterscan.networks.whole import PlainBody, WholeNetwork, pool_and_flatten

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
    body, width, make_head, kind = _maker(settings.name)(settings, bands)
    return WholeNetwork(body, width, make_head, settings, bands, kind=kind)


def _maker(name: str) -> Callable[[NetworkSettings, int], Parts]:
    own: dict[str, Callable[[NetworkSettings, int], Parts]] = {
        "baseline": _baseline,
        "cnn_mlp": _cnn_mlp,
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


def _baseline(settings: NetworkSettings, bands: int) -> Parts:
    """Return four blocks with pooling after each, and a mean over the map."""
    body = PlainBody(baseline_body(bands, 16), pool_and_flatten(1))
    return body, WIDTHS[-1], partial(linear_head, dropout=_dropout(settings)), "conv"


def _cnn_mlp(settings: NetworkSettings, bands: int) -> Parts:
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
    import_timm()  # mends torchvision, which has this network where timm has not
    from torchvision.models import alexnet

    features: Any = alexnet().features
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
