"""Bodies of the dense form: a map of features with a stride that the settings choose."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import nn

from clusterscan.config.networks import HEAD_CELLS, RESNETS, NetworkSettings
from clusterscan.core.errors import ModelError
from clusterscan.networks.baseline import WIDTHS, baseline_body
from clusterscan.networks.borders import mirror_borders
from clusterscan.networks.heads import MLP_WIDTHS, SpinalHead, mlp_head, vgg_head
from clusterscan.networks.local_pooling import make_local
from clusterscan.networks.names import PUBLISHED_DROPOUT, SPINAL_WIDTHS, TIMM_NAMES
from clusterscan.networks.network import MakeHead, ScanNetwork
from clusterscan.networks.timm_bodies import create, has_fixed_size

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
    body, channels = _maker(settings.name)(settings, bands)
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


def _maker(name: str) -> Callable[[NetworkSettings, int], Built]:
    if name in ("baseline", "cnn_mlp"):
        return _baseline
    if name in ("vgg16", "spinalnet_vgg"):
        return _vgg
    return _resnet if name in RESNETS else _timm_body


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


def _baseline(settings: NetworkSettings, bands: int) -> Built:
    return baseline_body(bands, settings.output_stride), WIDTHS[-1]


def _vgg(settings: NetworkSettings, bands: int) -> Built:
    """Return VGG's convolutions, at stride 16 without the last pooling."""
    name = TIMM_NAMES[settings.name]
    body = create(name, bands, settings.pretrained, num_classes=0).features
    if settings.output_stride == 16:
        body = body[:-1]
    mirror_borders(body, bands, settings.size_px)
    return body, _VGG_CHANNELS


def _resnet(settings: NetworkSettings, bands: int) -> Built:
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


def _timm_body(settings: NetworkSettings, bands: int) -> Built:
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
