"""The state of an unfinished training on disk, from which a killed training resumes.

A checkpoint is one safetensors file: its tensors, and everything else as JSON in its header. One
file, written aside and renamed, is whole or absent, and reading it runs no code.
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
        The state of the training.
    fingerprint : str
        Of all that determines the training.
    """
    tensors: dict[str, torch.Tensor] = {}
    plain = _encode(state, tensors)
    header = {_KEY: json.dumps({"fingerprint": fingerprint, "state": plain})}
    with atomic_path(folder / FILE) as temporary:
        save_file(tensors, temporary, metadata=header)


def read(folder: Path, fingerprint: str) -> Any | None:
    """Read the state of a checkpoint; return None if there is none for this training.

    Tensors are on the CPU. A damaged checkpoint, or one of other settings, data or versions, is
    ignored, and the next one that is written replaces it.
    """
    path = folder / FILE
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {})[_KEY])
            # Weights of another training would load without an error and give a wrong network.
            if header["fingerprint"] != fingerprint:
                log.info("%s belongs to another training; starting from the beginning", path)
                return None
            return _decode(header["state"], file)
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
        log.warning("%s cannot be read (%s); starting from the beginning", path, error)
        return None


def discard(folder: Path) -> None:
    """Remove a checkpoint, and its folder if nothing else is in it."""
    (folder / FILE).unlink(missing_ok=True)
    with suppress(OSError):  # the folder holds other things, or is missing
        folder.rmdir()


def _encode(value: Any, tensors: dict[str, torch.Tensor]) -> Any:
    """Convert a value to JSON; tensors are put into ``tensors`` and named."""
    if isinstance(value, torch.Tensor):
        name = str(len(tensors))
        inner = _bands_innermost(value)
        kept = value.permute(0, 2, 3, 1) if inner else value
        # Cloned, because safetensors refuses tensors that share memory, as tied weights do.
        tensors[name] = kept.detach().cpu().contiguous().clone()
        return {"tensor": name, "bands_innermost": inner}
    if isinstance(value, dict):
        # A list of pairs: optimisers number their states, and JSON would turn these keys into text.
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
    """Return True if a tensor lies in memory with its bands innermost (channels last).

    safetensors forgets that layout, but it must be restored: sums over a tensor in another order
    differ in the last bit, and a resumed training must end with the same bytes.
    """
    return (
        tensor.ndim == 4
        and not tensor.is_contiguous()
        and tensor.is_contiguous(memory_format=torch.channels_last)
    )
