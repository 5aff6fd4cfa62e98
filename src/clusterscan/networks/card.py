"""A model on disk: safetensors weights beside a JSON card that describes them.

Nothing is unpickled. Equal models give equal bytes in both files.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as tensors_from_bytes
from safetensors.torch import save as tensors_to_bytes

from clusterscan.config.networks import FusionSettings, NetworkSettings
from clusterscan.core.atomic import atomic_path
from clusterscan.core.errors import ModelError
from clusterscan.networks.network import Network
from clusterscan.networks.registry import build

WEIGHTS = "weights.safetensors"
CARD = "model.json"
FORMAT = 2
VIEW_KEYS = ("survey", "bands", "pixel_scale_arcsec", "unit", "normalisation")

# Pixel scales are written and read in decimal, and some come from a rounded WCS.
_SCALE_TOLERANCE = 0.01


def save_model(folder: Path, network: Network, card: Mapping[str, Any]) -> dict[str, Any]:
    """Write a model; return its card with its architecture and the weights' checksum.

    Parameters
    ----------
    folder : Path
        Made if missing; ``weights.safetensors`` and ``model.json`` in it are replaced, each in
        one step.
    network : Network
        Its weights are written in float32, whatever device they are on.
    card : dict
        JSON-able facts, at least ``views``, a list with ``survey``, ``bands``,
        ``pixel_scale_arcsec``, ``unit`` and ``normalisation`` of each, and ``classes``, the names
        of labels 0, 1, ... ``calibration`` is null if left out.

    Raises
    ------
    ModelError
        If the views or the classes are not the network's.
    """
    weights = tensors_to_bytes(_state(network))
    settings = network.settings
    kind = "fusion" if isinstance(settings, FusionSettings) else "network"
    full = {
        "calibration": None,
        **{key: value for key, value in card.items() if key != "file"},
        "format": FORMAT,
        kind: settings.model_dump(mode="json"),
        "weights": {
            "file": WEIGHTS,
            "sha256": hashlib.sha256(weights).hexdigest(),
            "bytes": len(weights),
            "parameters": sum(p.numel() for p in network.parameters()),
        },
    }
    _check(full, folder / CARD)
    _check_network(full, network, folder / CARD)
    text = json.dumps(full, indent=1, sort_keys=True, allow_nan=False) + "\n"
    folder.mkdir(parents=True, exist_ok=True)
    # A card without its weights would be believed, weights without a card are not looked at.
    for name, content in ((WEIGHTS, weights), (CARD, text.encode())):  # the card last
        with atomic_path(folder / name) as temporary:
            temporary.write_bytes(content)
    return full


def load_model(folder: Path) -> tuple[Network, dict[str, Any]]:
    """Read a model, in evaluation mode on the CPU, and its card.

    Raises
    ------
    ModelError
        If a file is missing or damaged, or the weights fit neither card nor architecture.
    """
    card = read_card(folder)
    path = folder / WEIGHTS
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelError(
            f"{path} cannot be read ({error}); delete {folder / CARD} and run again to "
            "train the model again"
        ) from error
    # The bytes that are compared are those that are loaded below, whatever happens to the file.
    sha, said = hashlib.sha256(data).hexdigest(), str(card["weights"]["sha256"])
    if sha != said:
        raise ModelError(
            f"{path} is not the file its card describes (sha256 {sha[:12]}..., the card says "
            f"{said[:12]}...); train the model again or restore both files"
        )
    network = build(_settings(card), [len(view["bands"]) for view in card["views"]], seed=0)
    try:
        network.load_state_dict(tensors_from_bytes(data), strict=True)
    except (RuntimeError, SafetensorError) as error:
        raise ModelError(
            f"{path} does not fit the architecture in {folder / CARD}: {error}"
        ) from error
    _check_network(card, network, folder / CARD)
    return network.eval(), card


def read_card(folder: Path) -> dict[str, Any]:
    """Read a model's card alone; its own path is added as ``file``.

    Raises
    ------
    ModelError
        If it is missing, damaged, or of a format this version does not know.
    """
    path = folder / CARD
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read ({error}); train the model first") from error
    if isinstance(card, dict) and card.get("format", FORMAT) != FORMAT:
        raise ModelError(
            f"{path} has format {card['format']}, this version reads {FORMAT}; "
            "train the model again or use the version that wrote it"
        )
    _check(card, path)
    return {**card, "file": str(path)}


def check_fits(
    card: Mapping[str, Any], view_index: int, bands: Sequence[str], pixel_scale_arcsec: float
) -> None:
    """Refuse images of other bands or pixels than a model was trained on.

    Parameters
    ----------
    card : dict
        As read by `read_card` or `load_model`.
    view_index : int
        Number of the model's view.
    bands : sequence of str
        The images' bands, in their order.
    pixel_scale_arcsec : float
        The images' pixel size.

    Raises
    ------
    ModelError
        If there is no such view, or its bands or its pixel scale differ.
    """
    where = card.get("file", "the model card")
    views = card["views"]
    if not 0 <= view_index < len(views):
        raise ModelError(
            f"{where} describes a model of {len(views)} view(s), "
            f"{', '.join(view['survey'] for view in views)}; there is no view {view_index}: "
            "give as many surveys as the model has views, in their order"
        )
    view = views[view_index]
    expected, given = list(view["bands"]), list(bands)
    if given != expected:
        fix = (
            "give the bands in that order"
            if sorted(given) == sorted(expected)
            else "take images in those bands, or train a model on these"
        )
        raise ModelError(
            f"{where}: the model was trained on {view['survey']} images in bands {expected}, "
            f"not {given}; {fix}"
        )
    scale = float(view["pixel_scale_arcsec"])
    if abs(pixel_scale_arcsec / scale - 1) > _SCALE_TOLERANCE:
        raise ModelError(
            f"{where}: the model was trained on {view['survey']} images of {scale:g} arcsec a "
            f"pixel, not {pixel_scale_arcsec:g}; resample the images to {scale:g} arcsec or train "
            "a model at their scale"
        )


def _state(network: Network) -> dict[str, torch.Tensor]:
    # Sorted by name, so that the bytes do not depend on the order in which layers were made.
    state = network.state_dict()
    return {name: state[name].detach().cpu().contiguous() for name in sorted(state)}


def _settings(card: Mapping[str, Any]) -> NetworkSettings | FusionSettings:
    # ``pretrained`` is cleared: all weights come from the file beside the card, and the file that
    # the training started from may be gone.
    if "fusion" not in card:
        return NetworkSettings.model_validate({**card["network"], "pretrained": False})
    branches = card["fusion"]["branches"]
    # JSON's keys are sorted, so the order of the branches is that of the views.
    order = [view["survey"] for view in card["views"] if view["survey"] in branches]
    again = {survey: {**branches[survey], "pretrained": False} for survey in (*order, *branches)}
    return FusionSettings.model_validate({**card["fusion"], "branches": again})


def _check(card: Any, path: Path) -> None:
    """Refuse a card with missing values or values of a wrong type."""
    if not isinstance(card, dict):
        raise ModelError(f"{path} holds no model card; train the model again")
    needed = {"format", "weights", "views", "classes", "calibration"}
    missing = sorted(needed - card.keys())
    if not {"network", "fusion"} & card.keys():
        missing.append("network (or fusion)")
    if missing:
        raise ModelError(f"{path} lacks {', '.join(missing)}; train the model again")
    try:
        _settings(card)
        str(card["weights"]["sha256"])
        lacking = {k for view in card["views"] for k in VIEW_KEYS if k not in view}
        if lacking or not card["views"]:
            raise ValueError(f"views lack {sorted(lacking) or 'an entry'}")
        for view in card["views"]:
            if isinstance(view["bands"], str) or not len(view["bands"]):
                raise ValueError(f"bands are {view['bands']!r}, not a list of names")
            if not float(view["pixel_scale_arcsec"]) > 0:
                raise ValueError(f"pixel_scale_arcsec is {view['pixel_scale_arcsec']!r}")
        if isinstance(card["classes"], str) or len(card["classes"]) < 2:
            raise ValueError(f"classes are {card['classes']!r}, not two or more names")
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ModelError(
            f"{path} is no model card of this version ({type(error).__name__}: {error}); "
            "delete it and run again to train the model again"
        ) from error


def _check_network(card: Mapping[str, Any], network: Network, path: Path) -> None:
    bands = tuple(len(view["bands"]) for view in card["views"])
    if bands != network.bands_of_views:
        raise ModelError(
            f"{path}: views of {bands} bands do not fit a network of {network.bands_of_views} "
            "bands; describe each of the network's views with its bands"
        )
    names, classes = list(card["classes"]), max(network.classes, 2)
    if len(names) != classes:
        raise ModelError(
            f"{path}: classes {names} do not fit a network of {network.classes} output(s); "
            f"name {classes} classes, label 0 first"
        )
    if isinstance(network.settings, FusionSettings):
        surveys = [view["survey"] for view in card["views"]]
        if surveys != list(network.settings.branches):
            raise ModelError(
                f"{path}: views of surveys {surveys} do not fit the fusion of "
                f"{list(network.settings.branches)}; list the views in the branches' order"
            )
