"""The one door to timm and torchvision, which repairs torchvision before it is first imported.

A CPU build of torch beside a torchvision built for CUDA fails at import with ``operator
torchvision::nms does not exist``. That also breaks timm and PyTorch Lightning, which import
torchvision but use none of its compiled operators. Loading the operators first, or declaring the
two that are looked up at import, solves it. Nothing is declared where torchvision works.

Nobody else in clusterscan imports timm, torchvision or Lightning without coming here first:
networks call `import_timm` and `import_torchvision`, and `clusterscan.train.fit`, the only module
that uses Lightning, calls `repair` before its import.
"""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from types import ModuleType

import torch

from clusterscan.core.errors import ModelError

_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)

# Declarations live as long as their Library object, so it is kept here.
_declared: torch.library.Library | None = None


def repair() -> bool:
    """Declare torchvision's missing operators; return True if that was necessary.

    Raises
    ------
    ImportError
        If torchvision is not installed.
    """
    global _declared
    if _declared is not None:
        return True
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        raise ImportError("No module named 'torchvision'")
    libraries = sorted(Path(spec.origin).parent.glob("_C*.so"))
    if libraries:
        try:
            torch.ops.load_library(str(libraries[0]))
            return False
        except OSError:
            pass  # built for another torch: declare the operators instead
    library = torch.library.Library("torchvision", "DEF")
    for schema in _SCHEMAS:
        library.define(schema)
    _declared = library
    return True


def import_timm() -> ModuleType:
    """Import timm with its submodules ``models`` and ``layers``.

    Raises
    ------
    ModelError
        If timm or torchvision is not installed.
    """
    return _import("timm", "timm.models", "timm.layers")


def import_torchvision() -> ModuleType:
    """Import torchvision with its submodule ``models``.

    Raises
    ------
    ModelError
        If torchvision is not installed.
    """
    return _import("torchvision", "torchvision.models")


def _import(name: str, *submodules: str) -> ModuleType:
    try:
        repair()
        for submodule in submodules:
            importlib.import_module(submodule)
        return importlib.import_module(name)
    except ImportError as error:
        raise ModelError(
            f"this network needs timm and torchvision, which cannot be imported ({error}); "
            "install both, or use the network 'baseline', which needs neither"
        ) from error
