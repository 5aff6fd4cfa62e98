"""What slides over a tile: a trained network or the plain filter, ready for use."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter

from clusterscan.config.filter import FilterSettings
from clusterscan.config.scan import ScanSettings
from clusterscan.preprocess.tile_image import TileImage
from clusterscan.provenance.fingerprint import fingerprint

Values = tuple[np.ndarray, np.ndarray]
Scanner = Callable[[TileImage, np.ndarray, np.ndarray], Values]
"""Tile, and the map pixels' x and y in it [px] -> value and reason at each."""


def network_scanner(card_path: Path, how: dict[str, Any]) -> Scanner:
    """Return what slides a trained network over a tile."""
    from clusterscan.networks.card import load_model
    from clusterscan.scan.finer import finer
    from clusterscan.scan.fused import fused
    from clusterscan.scan.memory import keep_freed_memory
    from clusterscan.scan.tile import scan_tile

    keep_freed_memory()
    network, card = load_model(card_path.parent)
    settings = ScanSettings(**how)
    coarse = fused(network) if settings.coarse_step_px else None
    network = fused(finer(network, settings.step_px))
    return lambda tile, x, y: scan_tile(
        network, card, tile.image, tile.mask, x, y, settings, coarse=coarse
    )


def filter_scanner(how: dict[str, Any]) -> Scanner:
    """Return what runs the plain filter over a tile."""
    from clusterscan.scan.plain_filter import filter_tile

    settings = TypeAdapter(FilterSettings).validate_python(how)
    return lambda tile, x, y: filter_tile(
        tile.image, tile.mask, tile.pixel_scale_arcsec, x, y, settings
    )


def model_identity(card_path: Path) -> str:
    """Return the hash of what a network's map depends on, besides the tile."""
    from clusterscan.networks.card import read_card  # brings torch, so only where needed

    card = read_card(card_path.parent)
    return fingerprint({key: card[key] for key in ("weights", "network", "views")})
