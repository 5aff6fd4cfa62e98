"""One tile of a probe: the survey's image changed, then scanned by the run's own networks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pydantic import TypeAdapter

from clusterscan.config.image_sources import SimulatedSource
from clusterscan.config.preprocess import PreprocessSettings
from clusterscan.config.simulation import HaloSettings, SimulationSettings
from clusterscan.config.validation import INJECTED, InjectionGrid, Signal
from clusterscan.core import sky
from clusterscan.core.errors import ConfigError
from clusterscan.fetch.simulated import Simulated
from clusterscan.fetch.source import ImageSpec
from clusterscan.formats.mask_planes import EXCLUDED, FLAGGED, NO_COVERAGE, SATURATED
from clusterscan.formats.tile_image import TileImage
from clusterscan.preprocess.stage import preprocess_tile
from clusterscan.scan.scanners import FusionScanner, Scanner
from clusterscan.selection import nulls
from clusterscan.selection.injected import as_halos, injected_in
from clusterscan.selection.signals import add_signal

_KEY = 31


def changed_tile(
    probe: str,
    survey: str,
    tile: int,
    tile_order: int,
    image: TileImage,
    settings: Mapping[str, Any],
    scratch: Path,
) -> TileImage:
    """Return a survey's tile image as a probe changes it.

    Parameters
    ----------
    probe : str
        "injected" or the name of a null sky.
    survey : str
    tile, tile_order : int
    image : TileImage
        The run's own.
    settings : mapping
        The probe's settings as `clusterscan.flow.stage_settings.StageSettings.probe` writes them.
    scratch : Path
        A file that may be written for a moment.

    Raises
    ------
    ConfigError
        If there is no such probe.
    """
    own = settings["surveys"][survey]
    seed = settings["seed"]
    if probe == INJECTED:
        around = {tile, *(int(t) for t in sky.neighbours(tile, tile_order))}
        clusters = injected_in(around, tile_order, InjectionGrid(**settings["grid"]), seed)
        if own["signal"] is None:
            return image
        return add_signal(
            image,
            as_halos(clusters, HaloSettings(**settings["halos"])),
            TypeAdapter(Signal).validate_python(own["signal"]),
            PreprocessSettings(**own["preprocess"]),
            seed,
        )
    if probe == "empty":
        return _with_masks(_empty_tile(tile, own, scratch), image.mask)
    if probe == "scrambled":
        rng = np.random.default_rng([seed, _KEY, tile_order, tile, *survey.encode()])
        plane = nulls.scrambled(image.image, rng)
    elif probe == "inverted":
        plane = nulls.inverted(image.image)
    elif probe == "shuffled":
        plane = nulls.shuffled(image.image)
    else:
        raise ConfigError(f"selection.nulls: there is no probe {probe!r}")
    return TileImage(plane, image.mask, image.wcs, image.unit, image.bands)


def _with_masks(tile: TileImage, mask: np.ndarray) -> TileImage:
    """Return a tile with what masks of tables and files say of the run's own image."""
    if not (mask & (FLAGGED | EXCLUDED)).any():
        return tile
    return replace(tile, mask=tile.mask | (mask & ~(NO_COVERAGE | SATURATED)))


def _empty_tile(tile: int, own: Mapping[str, Any], scratch: Path) -> TileImage:
    """Return a tile of the simulated sky rendered without halos."""
    spec = ImageSpec(**{**own["spec"], "bands": tuple(own["spec"]["bands"])})
    simulation = nulls.without_halos(SimulationSettings(**own["simulation"]))
    source = Simulated(SimulatedSource(**own["source"]), spec, simulation, own["seed"])
    source.fetch_tile(tile, scratch)
    try:
        return preprocess_tile(scratch, PreprocessSettings(**own["preprocess"]), spec)
    finally:
        scratch.unlink(missing_ok=True)


def scanned_maps(
    tiles: Mapping[str, TileImage],
    scanners: Mapping[str, Scanner | FusionScanner],
    number: int,
    tile_order: int,
    map_order: int,
) -> pd.DataFrame:
    """Return every network's map of one tile.

    Parameters
    ----------
    tiles : mapping of survey to TileImage
    scanners : mapping of "survey/model" to Scanner or FusionScanner
    number, tile_order, map_order : int
        The tile, and the orders.

    Returns
    -------
    DataFrame, 4 ** (map_order - tile_order) rows in nested order
        A float32 column for each scanner, NaN where invalid; all NaN without an image.
    """
    ra, dec = sky.map_pixels(number, tile_order, map_order)
    columns = {}
    for key, scan in scanners.items():
        image = tiles.get(key.partition("/")[0])
        if isinstance(scan, FusionScanner) and tiles:
            columns[key] = scan(tiles, ra, dec)[0]
        elif isinstance(scan, FusionScanner) or image is None:
            columns[key] = np.full(ra.size, np.nan, dtype=np.float32)
        else:
            columns[key] = scan(image, *image.to_pixel(ra, dec))[0]
    return pd.DataFrame(columns)
