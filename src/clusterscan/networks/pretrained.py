"""Weights from a .safetensors file, brought to other bands, sizes and classes as timm does it.

Only safetensors are read: other formats are unpickled on loading, which can run any code.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from clusterscan.core.data_paths import expand_path
from clusterscan.core.errors import ModelError
from clusterscan.networks.torchvision_repair import import_timm

State = dict[str, torch.Tensor]

# Fewer matching weights than this mean another network's file.
_LEAST_SHARE = 0.5


@dataclass(frozen=True)
class Copied:
    """Which of a network's weights were taken over from elsewhere.

    ``copied`` and ``adapted`` (to other bands or another image size) name its weights, ``new``
    those that keep their first values, with the reason.
    """

    copied: tuple[str, ...]
    adapted: tuple[str, ...]
    new: dict[str, str]


def read_weights(name: str) -> State:
    """Read the .safetensors file that a network's settings name.

    Raises
    ------
    ModelError
        If it is missing, of another format, or damaged.
    """
    path = expand_path(name, must_exist=False)
    if path.suffix != ".safetensors" or not path.is_file():
        raise ModelError(
            f"pretrained weights {path}: give an existing .safetensors file "
            "(timm's models on the Hugging Face hub have one each)"
        )
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise ModelError(
            f"pretrained weights {path} are damaged ({error}); fetch the file again"
        ) from error


def adapt_bands(weight: torch.Tensor, bands: int) -> torch.Tensor:
    """Return a first convolution's weights (O, I, k, k) for another number of bands.

    Bands repeat and are scaled to the same sum, as timm does with the three colours; for one
    band they are summed. Equal images in all bands give the same output as before.
    """
    before = weight.shape[1]
    if bands == before:
        return weight
    if bands == 1:
        return weight.sum(dim=1, keepdim=True)
    repeats = math.ceil(bands / before)
    return weight.repeat(1, repeats, 1, 1)[:, :bands] * (before / bands)


def timm_options(state: State, name: str, bands: int) -> dict[str, Any]:
    """Return timm.create_model's options for starting a model from weights of its kind.

    Parameters
    ----------
    state : dict of str to tensor
        With timm's names; the first convolution may have any number of bands, the last layer any
        number of classes.
    name : str
        timm's name of the model.
    bands : int
        Image bands of the model to make.
    """
    known = import_timm().get_pretrained_cfg(name)
    first = known.first_conv or ()
    state = dict(state)
    for layer in (first,) if isinstance(first, str) else first:
        weight = state.get(f"{layer}.weight")
        if weight is not None and weight.ndim == 4:
            state[f"{layer}.weight"] = adapt_bands(weight, bands)
    size = known.input_size or (3, 224, 224)
    overlay = {"state_dict": state, "first_conv": None, "input_size": (bands, *size[1:])}
    return {"pretrained": True, "pretrained_cfg_overlay": overlay | {"custom_load": False}}


def forget_source(model: nn.Module) -> None:
    """Let go of the weights that timm keeps in a model's description."""
    for module in model.modules():
        for key in ("pretrained_cfg", "default_cfg"):
            description = getattr(module, key, None)
            if isinstance(description, dict):
                description.pop("state_dict", None)


def check_loaded(model: nn.Module, state: State, path: str) -> None:
    """Refuse a file that timm took little or nothing from.

    Raises
    ------
    ModelError
        If fewer than half of the model's weights are those of the file.
    """
    by_shape: dict[torch.Size, list[torch.Tensor]] = {}
    for tensor in state.values():
        by_shape.setdefault(tensor.shape, []).append(tensor)
    kernels = [p.detach() for p in model.parameters() if p.ndim > 1 and not p.is_meta]
    found = sum(
        p.numel() for p in kernels if any(torch.equal(p, t) for t in by_shape.get(p.shape, ()))
    )
    total = sum(p.numel() for p in kernels)
    if found < _LEAST_SHARE * total:
        raise ModelError(
            f"pretrained weights {path} fit only {found:,} of the network's {total:,} weights; "
            "give a file of the same architecture"
        )


def is_own(state: State) -> bool:
    """Return whether weights carry the names of a network of ours, rather than timm's."""
    return any(name.startswith("body.") for name in state)


@torch.no_grad()
def copy_weights(network: nn.Module, state: State) -> Copied:
    """Copy all weights but the head's that have the same name and shape, or can be adapted.

    Parameters
    ----------
    network : nn.Module
        Changed in place.
    state : dict of str to tensor
        Another network's weights.

    Raises
    ------
    ModelError
        If nothing fits.
    """
    own = network.state_dict()  # shares its memory with the network
    copied, adapted, new = [], [], {}
    for name, weight in own.items():
        if name.startswith("head."):
            new[name] = "the head is new"
        elif name not in state:
            new[name] = "not in the other network"
        elif state[name].shape == weight.shape:
            weight.copy_(state[name])
            copied.append(name)
        elif (fitting := _adapted(network, name, state[name], weight.shape)) is not None:
            weight.copy_(fitting)
            adapted.append(name)
        else:
            new[name] = f"shape {tuple(state[name].shape)} there, {tuple(weight.shape)} here"
    kernels = [name for name in copied if own[name].ndim > 1]
    if not kernels:
        raise ModelError(
            "no weights of the other network fit this one; start from one of the same architecture"
        )
    return Copied(tuple(copied), tuple(adapted), new)


def _adapted(
    network: nn.Module, name: str, weight: torch.Tensor, shape: torch.Size
) -> torch.Tensor | None:
    if name.endswith("pos_embed"):
        return _resampled_positions(network, name, weight, shape)
    same_but_bands = weight.ndim == 4 and weight.shape[2:] == shape[2:] and len(weight) == shape[0]
    reads_images = shape[1] in getattr(network, "bands_of_views", ())
    return adapt_bands(weight, shape[1]) if same_but_bands and reads_images else None


def _resampled_positions(
    network: nn.Module, name: str, weight: torch.Tensor, shape: torch.Size
) -> torch.Tensor | None:
    """Return a vision transformer's position embeddings for another image size."""
    import_timm()
    from timm.layers import resample_abs_pos_embed

    model: Any = network.get_submodule(name.removesuffix(".pos_embed"))
    if weight.ndim != 3 or weight.shape[2] != shape[2]:
        return None
    grid = list(model.patch_embed.grid_size)
    return resample_abs_pos_embed(weight, grid, num_prefix_tokens=model.num_prefix_tokens)
