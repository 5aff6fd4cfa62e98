"""Memory of a scan's process: memory that one map used is used again by the next one."""

from __future__ import annotations

import ctypes
import resource
import sys
from functools import cache
from pathlib import Path
from typing import Any

from torch import nn

# glibc's names of what is set (malloc.h).
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4
_NEVER = 2**31 - 1


def keep_freed_memory() -> bool:
    """Let this process keep memory that it frees, rather than ask for it again map by map.

    glibc returns large blocks to the system at once, and the system hands them out again page by
    page, each filled with zeros. A tile's feature maps have hundreds of megabytes each, so this
    takes up to half of a scan's time. The peak of memory does not change.

    Returns
    -------
    bool
        True if it could be set, as on Linux with glibc.
    """
    mallopt = _glibc("mallopt")
    settings = ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, _NEVER), (_TOP_PAD, 2**26))
    return mallopt is not None and all(mallopt(name, value) == 1 for name, value in settings)


def give_back_above(body: nn.Module, limit: float = 1.7 * 2**30) -> None:
    """Let a body's layers return freed memory to the system while the process holds much.

    This bounds the price of `keep_freed_memory`: maps of many sizes leave free pieces behind that
    are too small for the maps that follow, and the process would grow beyond its peak need.

    Parameters
    ----------
    body : nn.Module
        Its layers get hooks, in place.
    limit : float
        Resident memory above which free memory is returned [bytes].
    """

    def before(module: nn.Module, inputs: Any) -> None:
        trim = _glibc("malloc_trim")
        if trim is not None and _resident() > limit:
            trim(0)

    for layer in body.modules():
        if not list(layer.children()):
            layer.register_forward_pre_hook(before)


def _resident() -> int:
    """Return the memory of this process on Linux [bytes]."""
    pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    return int(pages) * resource.getpagesize()


@cache
def _glibc(name: str) -> Any:
    """Return a function of glibc; None elsewhere."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        return getattr(ctypes.CDLL(None), name)
    except (AttributeError, OSError):  # another C library
        return None
