"""The state of an unfinished training on disk, for when it is killed.

One safetensors file: the tensors, and in its header everything else as JSON. One file is either
there or not, so a checkpoint is whole or absent, and reading it runs no code.
"""

from __future__ import annotations

import json
import logging
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from clusterscan.core.atomic import atomic_path

log = logging.getLogger(__name__)

FILE = "checkpoint.safetensors"
_KEY = "clusterscan"


def write(folder: Path, state: Any, fingerprint: str) -> None:
    """Write a checkpoint atomically.

    Parameters
    ----------
    folder : Path
        Made if missing.
    state : nested dicts, lists and tuples of tensors, numbers, strings and None
        What to keep.
    fingerprint : str
        Of all that determines the training.
    """
    tensors: dict[str, torch.Tensor] = {}
    plain = _encode(state, tensors)
    header = {_KEY: json.dumps({"fingerprint": fingerprint, "state": plain})}
    with atomic_path(folder / FILE) as temporary:
        save_file(tensors, temporary, metadata=header)


def read(folder: Path, fingerprint: str) -> Any | None:
    """Return the state of a checkpoint, or None where there is none for this training.

    Tensors are on the CPU. A checkpoint of other settings, data or versions is left alone and
    replaced by the next one that is written; so is a damaged one.
    """
    path = folder / FILE
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {})[_KEY])
            if header["fingerprint"] != fingerprint:
                log.info("%s is of another training; starting anew", path)
                return None
            return _decode(header["state"], file)
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
        log.warning("%s cannot be read (%s); starting anew", path, error)
        return None


def discard(folder: Path) -> None:
    """Remove a checkpoint, and its folder if nothing else is in it."""
    (folder / FILE).unlink(missing_ok=True)
    with suppress(OSError):  # it holds other things, or is not there
        folder.rmdir()


def _encode(value: Any, tensors: dict[str, torch.Tensor]) -> Any:
    """Return a value as JSON can hold it; tensors are put aside and named."""
    if isinstance(value, torch.Tensor):
        name = str(len(tensors))
        inner = _bands_innermost(value)
        kept = value.permute(0, 2, 3, 1) if inner else value
        tensors[name] = kept.detach().cpu().contiguous().clone()
        return {"tensor": name, "bands_innermost": inner}
    if isinstance(value, dict):
        return {"dict": [[_encode(k, tensors), _encode(v, tensors)] for k, v in value.items()]}
    if isinstance(value, list | tuple):
        return {type(value).__name__: [_encode(v, tensors) for v in value]}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"a checkpoint cannot hold {type(value).__name__}")


def _decode(value: Any, file: Any) -> Any:
    if not isinstance(value, dict):
        return value
    if "tensor" in value:
        tensor = file.get_tensor(value["tensor"])
        return tensor.permute(0, 3, 1, 2) if value["bands_innermost"] else tensor
    (kind, content), *_ = value.items()
    if kind == "dict":
        return {_decode(k, file): _decode(v, file) for k, v in content}
    items = [_decode(v, file) for v in content]
    return tuple(items) if kind == "tuple" else items


def _bands_innermost(tensor: torch.Tensor) -> bool:
    """Return whether a tensor lies in memory as convolutions like it.

    It must lie so again: sums over a tensor in another order differ in the last bit.
    """
    return (
        tensor.ndim == 4
        and not tensor.is_contiguous()
        and tensor.is_contiguous(memory_format=torch.channels_last)
    )
