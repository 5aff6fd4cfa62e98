"""The device and precision that networks run with, and a fixed number of CPU threads."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from pathlib import Path
from typing import IO, Any, TypeVar

import torch

from clusterscan.core.errors import ModelError

AnyModule = TypeVar("AnyModule", bound=torch.nn.Module)


def choose_device(name: str) -> torch.device:
    """Return the device that a setting names; 'auto' is a free GPU, or else the CPU.

    Of several GPUs, a process takes one that no other process of clusterscan holds, and keeps it.

    Raises
    ------
    ModelError
        If the name is unknown, or names a GPU where there is none.
    """
    if name == "auto":
        if not torch.cuda.is_available():
            return torch.device("cpu")
        return torch.device("cuda", _own_gpu())
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise ModelError(f"device = {name!r}, but torch finds no GPU here; set device: cpu")
    kind, _, number = name.partition(":")
    if kind not in ("cpu", "cuda") or (number and not number.isdecimal()):
        raise ModelError(f"device = {name!r} is none of auto, cpu, cuda, cuda:1 and so on")
    return torch.device(name)


@cache
def _own_gpu() -> int:
    """Return the GPU of this process."""
    # Jobs of one machine run side by side and do not know of each other; a lock file tells them.
    names = gpu_names(torch.cuda.device_count(), os.environ.get("CUDA_VISIBLE_DEVICES", ""))
    number, lock = take_free(names, Path(tempfile.gettempdir()))
    _HELD.append(lock)
    return number


_HELD: list[IO[str] | None] = []  # a lock lasts as long as its open file, here the process


def gpu_names(count: int, visible: str) -> list[str]:
    """Return names of the visible GPUs that are the same in all processes of a machine."""
    # torch numbers visible GPUs from 0, so two processes with different CUDA_VISIBLE_DEVICES would
    # use one number for two GPUs; the entries of the variable are the same for all.
    listed = [name.strip() for name in visible.split(",") if name.strip()]
    return listed if len(listed) == count else [str(n) for n in range(count)]


def take_free(names: list[str], folder: Path) -> tuple[int, IO[str] | None]:
    """Take a GPU whose lock no other process holds; return its number and the lock.

    If all are taken, or locks cannot be written, processes are spread over the GPUs by their ids.

    Parameters
    ----------
    names : list of str
        One per GPU.
    folder : Path
        Folder of the lock files; on the machine itself, not on a shared disk.
    """
    for number, name in enumerate(names if len(names) > 1 else []):
        try:
            # Locks instead of memory in use: a process that starts holds its GPU before it uses any
            # memory. One file per user, because nobody can open the files of others in a shared
            # folder.
            lock = (folder / f"clusterscan-{os.getuid()}-gpu-{name}.lock").open("w")
        except OSError:
            break
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return number, lock
        except OSError:
            lock.close()
    return os.getpid() % max(len(names), 1), None


def features_in(precision: str, device: torch.device) -> AbstractContextManager[object]:
    """Return a context for convolutions and matrix products in the given precision.

    Sums, norms and other sensitive operations stay in float32, as torch's autocast defines.
    """
    if precision == "float32":
        return nullcontext()
    return torch.autocast(device.type, dtype=getattr(torch, precision))


def compiled(network: AnyModule, backend: str = "inductor") -> AnyModule:
    """Let torch.compile build the network's body when it is first used."""
    getattr(network, "bytes_per_px", None)  # measured by hooks, which a compiled body skips
    body: Any = network.body
    built: Any = torch.compile(body, backend=backend)
    network.body = built
    return network


@contextmanager
def fixed_threads(count: int) -> Iterator[None]:
    """Set the number of torch's CPU threads, and restore it afterwards.

    Sums over another number of threads round differently, so settings fix it, not the machine.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def channels_last(module: AnyModule) -> AnyModule:
    """Lay out a module's weights for images with the bands innermost, which convolve faster."""
    module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return module
