"""Memory of a scan's process: what one map used, the next one uses again."""

from __future__ import annotations

import ctypes
import sys

# glibc's names of what is set (malloc.h).
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4
_NEVER = 2**31 - 1


def keep_freed_memory() -> bool:
    """Let this process keep memory that it frees, rather than ask for it again map by map.

    Fresh memory comes empty and page by page, which takes up to half of a scan's time: a tile's
    feature maps have hundreds of megabytes each. The peak does not change.

    Returns
    -------
    bool
        Whether it could be set: on Linux with glibc.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):  # another C library
        return False
    settings = ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, _NEVER), (_TOP_PAD, 2**26))
    return all(mallopt(name, value) == 1 for name, value in settings)
