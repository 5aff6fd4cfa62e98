"""A model on disk: safetensors weights beside a JSON card that says what they are.

Nothing is unpickled. Both files have the same bytes whenever the model is the same.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as tensors_from_bytes
from safetensors.torch import save as tensors_to_bytes

from clusterscan.config.networks import NetworkSettings
from clusterscan.errors import ModelError
from clusterscan.networks.network import ScanNetwork
from clusterscan.networks.registry import build
from clusterscan.provenance.atomic import atomic_path

WEIGHTS = "weights.safetensors"
CARD = "model.json"
FORMAT = 1


def save_model(folder: Path, network: ScanNetwork, card: dict[str, Any]) -> dict[str, Any]:
    """Write a model; return its card with the architecture and the weights' checksum added.

    Parameters
    ----------
    folder : Path
        Made if missing; ``weights.safetensors`` and ``model.json`` in it are replaced, each in
        one step.
    network : ScanNetwork
        Its weights are written in float32, whatever device they are on.
    card : dict
        JSON-able facts, at least ``bands``, ``pixel_scale_arcsec`` and ``normalisation``.
    """
    weights = tensors_to_bytes(_state(network))
    full = {
        **card,
        "format": FORMAT,
        "network": network.settings.model_dump(mode="json"),
        "weights": {
            "file": WEIGHTS,
            "sha256": hashlib.sha256(weights).hexdigest(),
            "bytes": len(weights),
            "parameters": sum(p.numel() for p in network.parameters()),
        },
    }
    text = json.dumps(full, indent=1, sort_keys=True, allow_nan=False) + "\n"
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in ((WEIGHTS, weights), (CARD, text.encode())):  # the card last
        with atomic_path(folder / name) as temporary:
            temporary.write_bytes(content)
    return full


def load_model(folder: Path) -> tuple[ScanNetwork, dict[str, Any]]:
    """Read a model, in evaluation mode on the CPU, and its card.

    Raises
    ------
    ModelError
        If a file is missing or damaged, the weights are not the card's, or they do not fit the
        architecture.
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
    sha = hashlib.sha256(data).hexdigest()
    try:
        said, bands = str(card["weights"]["sha256"]), len(card["bands"])
        settings = NetworkSettings.model_validate({**card["network"], "pretrained": False})
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(
            f"{folder / CARD} is no model card of this version ({type(error).__name__}: {error}); "
            "delete it and run again to train the model anew"
        ) from error
    if sha != said:
        raise ModelError(
            f"{path} is not the file its card describes (sha256 {sha[:12]}..., the card says "
            f"{said[:12]}...); train the model again or restore both files"
        )
    network = build(settings, bands, seed=0)
    try:
        network.load_state_dict(tensors_from_bytes(data), strict=True)
    except (RuntimeError, SafetensorError) as error:
        raise ModelError(
            f"{path} does not fit the architecture in {folder / CARD}: {error}"
        ) from error
    return network.eval(), card


def read_card(folder: Path) -> dict[str, Any]:
    """Read a model's card alone.

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
    needed = {"format", "network", "weights", "bands", "pixel_scale_arcsec", "normalisation"}
    missing = needed - card.keys() if isinstance(card, dict) else needed
    if missing:
        raise ModelError(f"{path} lacks {', '.join(sorted(missing))}; train the model again")
    if card["format"] != FORMAT:
        raise ModelError(
            f"{path} has format {card['format']}, this version reads {FORMAT}; "
            "train the model again or use the version that wrote it"
        )
    return card


def _state(network: ScanNetwork) -> dict[str, torch.Tensor]:
    state = network.state_dict()
    return {name: state[name].detach().cpu().contiguous() for name in sorted(state)}
