"""Which network a name means. Nothing else imports timm."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from clusterscan.config.networks import NetworkSettings
from clusterscan.errors import ModelError
from clusterscan.networks.baseline import WIDTHS, baseline_body
from clusterscan.networks.network import Alignment, ScanNetwork
from clusterscan.networks.receptive_field import reach_px
from clusterscan.networks.torchvision_repair import import_timm

RESNET18_WIDTHS = (64, 128, 256, 512)
Built = tuple[nn.Module, int, Alignment]  # body, channels, alignment


def build(settings: NetworkSettings, bands: int, seed: int) -> ScanNetwork:
    """Return a network with weights that depend on the settings and the seed alone.

    Parameters
    ----------
    settings : NetworkSettings
        Architecture, strides and sizes.
    bands : int
        Image bands.
    seed : int
        Seed of the first weights; the caller's random state is left as it was.

    Returns
    -------
    ScanNetwork
        In training mode, on the CPU.

    Raises
    ------
    ModelError
        If the name is unknown to timm, its pretrained weights cannot be had, or its feature map
        has another stride than the settings say.
    """
    if bands < 1:
        raise ModelError(f"a network needs at least one band, not {bands}")
    maker = _makers().get(settings.name, _timm_body)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        body, channels, alignment = maker(settings, bands)
        reach = reach_px(body, bands, settings.size_px)
        network = ScanNetwork(body, channels, settings, bands, reach_px=reach, alignment=alignment)
    _check_stride(network, channels)
    return network.train()


def _makers() -> dict[str, Callable[[NetworkSettings, int], Built]]:
    return {"baseline": _baseline, "resnet18": _resnet18}


def _baseline(settings: NetworkSettings, bands: int) -> Built:
    return baseline_body(bands, settings.output_stride), WIDTHS[-1], "cell"


def _resnet18(settings: NetworkSettings, bands: int) -> Built:
    """Return timm's resnet18 with fewer strides in the stem and dilation for the rest.

    References
    ----------
    He et al. 2016, CVPR, 770 (residual networks); Yu, Koltun & Funkhouser 2017, CVPR, 472
    (dilation in place of strides).
    """
    stem = settings.stem_stride
    body = _create(
        settings, bands, "resnet18", num_classes=0, output_stride=settings.output_stride * 4 // stem
    )
    if stem < 4:
        body.conv1.stride = (1, 1)
    if stem < 2:
        body.maxpool = nn.Identity()
    stages = [getattr(body, f"layer{i + 1}") for i in range(settings.stages)]
    chain = nn.Sequential(body.conv1, body.bn1, body.act1, body.maxpool, *stages)
    return chain, RESNET18_WIDTHS[settings.stages - 1], "corner"


class _LastMap(nn.Module):
    """The one feature map that a timm feature extractor was asked for."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.model(x)[-1]


def _timm_body(settings: NetworkSettings, bands: int) -> Built:
    """Return any timm network up to the last feature map with the wanted stride."""
    name = settings.name.removeprefix("timm/")
    levels = _create(settings, bands, name, features_only=True, pretrained=False).feature_info
    strides = levels.reduction()
    if settings.output_stride not in strides:
        raise ModelError(
            f"{settings.name} has feature maps with strides {strides}, not "
            f"{settings.output_stride}; set output_stride to one of them"
        )
    level = max(i for i, s in enumerate(strides) if s == settings.output_stride)
    body = _create(settings, bands, name, features_only=True, out_indices=(level,))
    return _LastMap(body), levels.channels()[level], "corner"


def _create(settings: NetworkSettings, bands: int, name: str, **options) -> Any:
    timm = import_timm()
    if "pretrained" not in options:
        options |= _pretrained(settings.pretrained)
    try:
        return timm.create_model(name, in_chans=bands, **options)
    except Exception as error:  # timm raises RuntimeError, KeyError, AttributeError and others
        raise ModelError(
            f"timm cannot make network {name!r} for {bands} bands: {error}; "
            "timm.list_models() gives the names it knows"
        ) from error


def _pretrained(source: bool | str) -> dict:
    if not isinstance(source, str):
        return {"pretrained": source}
    path = Path(source)
    if path.suffix != ".safetensors" or not path.is_file():
        # Other formats are unpickled on loading, which can run any code.
        raise ModelError(
            f"pretrained weights {source}: give an existing .safetensors file "
            "(timm's models on the Hugging Face hub have one each)"
        )
    return {"pretrained": True, "pretrained_cfg_overlay": {"file": str(path)}}


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
