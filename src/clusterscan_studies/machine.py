"""On what a training ran: for the report alone, no result depends on it."""

from __future__ import annotations

import os
import platform
from pathlib import Path


def machine(device: str) -> dict[str, str]:
    """Return the processor, the accelerator where one was used, and the software's versions."""
    import torch

    found = {
        "processor": f"{_processor()}, {len(os.sched_getaffinity(0))} cores",
        "python": platform.python_version(),
        "torch": str(torch.__version__),
    }
    if device.startswith("cuda") and torch.cuda.is_available():
        found["accelerator"] = torch.cuda.get_device_name()
    return found


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    known = [name for name in names if name and name.lower() != "unknown"]
    return known[0] if known else platform.processor() or platform.machine()
