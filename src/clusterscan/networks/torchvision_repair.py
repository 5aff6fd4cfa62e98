"""Make timm importable where torchvision's compiled operators do not fit this torch.

A CPU build of torch beside a torchvision built for CUDA fails at import with ``operator
torchvision::nms does not exist``, and takes timm with it, though timm uses none of the compiled
operators. Loading the operators first, or declaring the two that are looked up at import, mends
that. Nothing is declared where torchvision is sound.
"""

from __future__ import annotations

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
    """Declare torchvision's missing operators; return whether that was necessary."""
    global _declared
    if _declared is not None:
        return True
    if _operators_load():
        return False
    library = torch.library.Library("torchvision", "DEF")
    for schema in _SCHEMAS:
        library.define(schema)
    _declared = library
    return True


def import_timm() -> ModuleType:
    """Import timm, mending torchvision first if need be.

    Raises
    ------
    ModelError
        If timm or torchvision is not installed.
    """
    try:
        repair()
        import timm
    except ImportError as error:
        raise ModelError(
            f"this network needs timm and torchvision, which cannot be imported ({error}); "
            "install both, or use the network 'baseline', which needs neither"
        ) from error
    return timm


def _operators_load() -> bool:
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        raise ImportError("No module named 'torchvision'")
    libraries = sorted(Path(spec.origin).parent.glob("_C*.so"))
    if not libraries:
        return False
    try:
        torch.ops.load_library(str(libraries[0]))
    except OSError:
        return False
    return True
