"""Bodies of networks that timm makes: with its weights, or without its last layer."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from clusterscan.core.errors import ModelError
from clusterscan.networks.network import Kind, TimmBody
from clusterscan.networks.pretrained import (
    PACKAGES,
    State,
    check_loaded,
    forget_source,
    is_own,
    packaged_weights,
    read_weights,
    timm_options,
)
from clusterscan.networks.torchvision_repair import import_timm


def create(name: str, bands: int, pretrained: bool | str, **options: Any) -> Any:
    """Make a timm model.

    Parameters
    ----------
    name : str
        timm's name.
    bands : int
        Image bands.
    pretrained : bool or str
        Published weights, or the path of a .safetensors file. Files of our own networks are not
        loaded here: their names belong to the network around the model.
    **options
        For ``timm.create_model``.

    Raises
    ------
    ModelError
        If timm does not know the name, cannot make the model so, or the weights do not fit.
    """
    timm = import_timm()
    state = _published(name, pretrained)
    loads = bool(state) and not is_own(state)
    try:
        if loads:
            options |= timm_options(state, name, bands)
        else:
            options["pretrained"] = pretrained is True
        model = timm.create_model(name, in_chans=bands, **options)
    except Exception as error:  # timm raises RuntimeError, KeyError, AttributeError and others
        fix = (
            f"if {pretrained} holds other weights, give a file of the same architecture"
            if loads
            else "timm.list_models() gives the names it knows"
        )
        raise ModelError(
            f"timm cannot make network {name!r} for {bands} bands: {error}; {fix}"
        ) from error
    if loads:
        forget_source(model)
        check_loaded(model, state, str(pretrained))
    return model


def _published(name: str, pretrained: bool | str) -> State:
    """Read weights from a file or a package; return {} if timm fetches them or none are wanted."""
    if isinstance(pretrained, str):
        return read_weights(pretrained)
    return packaged_weights(name) if pretrained and name in PACKAGES else {}


def whole_body(
    name: str, bands: int, size_px: int, dropout: float, pretrained: bool | str
) -> TimmBody:
    """Make a timm network without its last layer, for crops of one size.

    Parameters
    ----------
    name : str
        timm's name.
    bands, size_px : int
        Bands and size of the crops [px].
    dropout : float
        Dropout before the last layer (in VGG, of all its linear layers).
    pretrained : bool or str
        As for `create`.
    """
    options: dict[str, Any] = {"num_classes": 0, "drop_rate": dropout}
    if has_fixed_size(name):
        options["img_size"] = size_px
    return TimmBody(create(name, bands, pretrained, **options))


def has_fixed_size(name: str) -> bool:
    """Return True if a timm network takes images of one size only, as most transformers do."""
    try:
        known = import_timm().get_pretrained_cfg(name)
    except RuntimeError:  # an unknown tag, which `create` reports
        return False
    return bool(known is not None and known.fixed_input_size)


@torch.no_grad()
def probe(body: TimmBody, name: str, bands: int, size_px: int) -> tuple[int, Kind]:
    """Return the number of features of a body, and its kind, by sending an empty crop through.

    Raises
    ------
    ModelError
        If it cannot take crops of this size, or its output is no list of features.
    """
    maps: list[torch.Tensor] = []
    hook = body.map.register_forward_hook(lambda module, inputs, output: maps.append(output))
    was_training = body.training
    try:
        out = body.eval()(torch.zeros(1, bands, size_px, size_px))
    except Exception as error:  # networks fail in many ways on crops they were not made for
        raise ModelError(
            f"timm/{name} cannot take crops of {size_px} px: {error}; "
            "change size_px, or take another network"
        ) from error
    finally:
        body.train(was_training)
        hook.remove()
    if out.ndim != 2:
        raise ModelError(
            f"timm/{name} describes a crop by an array of {out.ndim - 1} dimensions, not by a "
            "list of features; take another network"
        )
    # Channels first, as Grad-CAM needs; some timm networks have maps with the channels last.
    if maps and maps[0].ndim == 4 and maps[0].shape[1] == body.model.num_features:
        return out.shape[1], "conv"
    return out.shape[1], "vit" if _has_attention_maps(body) else "other"


def _has_attention_maps(body: nn.Module) -> bool:
    """Return True if a model is a vision transformer whose blocks' attention can be read."""
    blocks = getattr(getattr(body, "model", None), "blocks", None)
    if blocks is None or not hasattr(body.model, "num_prefix_tokens"):
        return False
    return all(hasattr(getattr(block, "attn", None), "attn_drop") for block in blocks)
