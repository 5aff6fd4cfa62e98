"""Scanners: a trained network or the plain filter, loaded and ready to slide over tiles.

A scanner works in two steps. `prepare` can run on any thread while the tile before is scanned, so
that reading ahead covers it; `scan` needs the network's device.

Networks bring torch, so this module imports them only when one is loaded: a job of the plain
filter starts seconds sooner.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from clusterscan.config.scan import FilterSettings, ScanSettings
from clusterscan.core.errors import ModelError
from clusterscan.core.fingerprint import fingerprint
from clusterscan.formats.tile_image import TileImage

Values = tuple[np.ndarray, np.ndarray]
"""Value and reason at each map pixel."""


@dataclass(frozen=True)
class Scanner:
    """The two steps that make a map of a tile.

    Attributes
    ----------
    prepare : callable
        Takes a tile, and the map pixels' x and y in it [px]; returns what ``scan`` takes.
    scan : callable
        Returns the value and the reason at each map pixel.
    """

    prepare: Callable[[TileImage, np.ndarray, np.ndarray], Any]
    scan: Callable[[Any], Values]

    def __call__(self, tile: TileImage, x: np.ndarray, y: np.ndarray) -> Values:
        """Return the value and the reason at each map pixel."""
        return self.scan(self.prepare(tile, x, y))


def network_scanner(card_path: Path, settings: ScanSettings) -> Scanner:
    """Load a trained network and return its scanner."""
    from clusterscan.networks.card import load_model
    from clusterscan.scan.fast.memory import keep_freed_memory
    from clusterscan.scan.fast.scan_copy import scan_copy
    from clusterscan.scan.tile_scan import prepare_tile, scan_prepared

    network, card = load_model(card_path.parent)
    compile_it = settings.compile_network
    coarse = scan_copy(network, compile_it=compile_it) if settings.coarse_step_px else None
    fine = scan_copy(network, settings.step_px, compile_it=compile_it)
    keep_freed_memory()  # only now, so that the memory of building the copies is returned
    return Scanner(
        lambda tile, x, y: prepare_tile(fine, card, tile.image, tile.mask, x, y, settings),
        lambda ready: scan_prepared(fine, ready, settings, coarse=coarse),
    )


@dataclass(frozen=True)
class FusionScanner:
    """The two steps that make a map of a tile in several surveys, as in `Scanner`.

    Attributes
    ----------
    prepare : callable
        Takes images by survey, of the surveys that have the tile, and the map pixels (ra_deg,
        dec_deg).
    scan : callable
        Returns the value and the reason at each map pixel.
    """

    prepare: Callable[[Mapping[str, TileImage], np.ndarray, np.ndarray], Any]
    scan: Callable[[Any], Values]

    def __call__(
        self, tiles: Mapping[str, TileImage], ra_deg: np.ndarray, dec_deg: np.ndarray
    ) -> Values:
        """Return the value and the reason at each map pixel."""
        return self.scan(self.prepare(tiles, ra_deg, dec_deg))


def fusion_scanner(card_path: Path, how: Mapping[str, ScanSettings]) -> FusionScanner:
    """Load a network of several surveys and return its scanner."""
    from clusterscan.networks.card import load_model
    from clusterscan.networks.fusion import FusionNetwork
    from clusterscan.scan.fast.memory import keep_freed_memory
    from clusterscan.scan.fast.scan_copy import scan_copy
    from clusterscan.scan.fusion_scan import SurveyTile, scan_fusion_tile

    network, card = load_model(card_path.parent)
    if not isinstance(network, FusionNetwork):
        raise ModelError(f"{card_path}: a network of one survey, not a fusion; train it again")
    settings = [how[survey] for survey in network.surveys]
    for i, one in enumerate(settings):
        branch: Any = network.branches[i]
        network.branches[i] = scan_copy(branch, one.step_px, compile_it=one.compile_network)
    keep_freed_memory()

    def prepare(
        tiles: Mapping[str, TileImage], ra_deg: np.ndarray, dec_deg: np.ndarray
    ) -> list[SurveyTile | None]:
        return [
            SurveyTile(tile.image, tile.mask, *tile.to_pixel(ra_deg, dec_deg)) if tile else None
            for tile in map(tiles.get, network.surveys)
        ]

    return FusionScanner(prepare, lambda ready: scan_fusion_tile(network, card, ready, settings))


def filter_scanner(settings: FilterSettings) -> Scanner:
    """Return the scanner of the plain filter."""
    from clusterscan.scan.plain_filter import filter_tile

    def scan(ready: tuple[TileImage, np.ndarray, np.ndarray]) -> Values:
        tile, x, y = ready
        return filter_tile(tile.image, tile.mask, tile.pixel_scale_arcsec, x, y, settings)

    return Scanner(lambda *ready: ready, scan)


def open_scanner(
    card: Path | None, how: FilterSettings | ScanSettings | Mapping[str, ScanSettings]
) -> Scanner | FusionScanner:
    """Open the plain filter, a network, or a network of several surveys, as the settings say."""
    if isinstance(how, ScanSettings):
        assert card is not None
        return network_scanner(card, how)
    if isinstance(how, Mapping):
        assert card is not None
        return fusion_scanner(card, how)
    return filter_scanner(how)


def model_identity(card_path: Path) -> str:
    """Return a hash of everything in a model card that the network's maps depend on."""
    from clusterscan.networks.card import read_card  # brings torch, so only where needed

    card = read_card(card_path.parent)
    keys = ("weights", "network", "fusion", "views")
    return fingerprint({key: card[key] for key in keys if key in card})
