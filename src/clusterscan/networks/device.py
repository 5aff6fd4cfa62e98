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
        If a GPU is asked for where there is none.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise ModelError(f"device = {name!r}, but torch finds no GPU here; set device: cpu")
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
