"""Where networks run: the device, and a number of CPU threads that settings fix."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch

from clusterscan.errors import ModelError

AnyModule = TypeVar("AnyModule", bound=torch.nn.Module)


def choose_device(name: str) -> torch.device:
    """Return the device that a setting names; 'auto' is the first GPU, or else the CPU.

    Raises
    ------
    ModelError
        If it is no device that networks run on, or a GPU where there is none.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise ModelError(f"device = {name!r}, but torch finds no GPU here; set device: cpu")
    kind, _, number = name.partition(":")
    if kind not in ("cpu", "cuda") or (number and not number.isdecimal()):
        raise ModelError(f"device = {name!r} is none of auto, cpu, cuda, cuda:1 and so on")
    return torch.device(name)


@contextmanager
def fixed_threads(count: int) -> Iterator[None]:
    """Let torch use this many CPU threads, and as many as before afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def channels_last(module: AnyModule) -> AnyModule:
    """Lay a module's weights out for images with the bands innermost, which convolve faster."""
    module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return module
