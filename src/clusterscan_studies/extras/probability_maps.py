"""Make small probability maps of each network around clusters, random fields and bright stars.

Every cell of a map is one crop of the run's tile image, as in training (the windowed engine), so
the maps of all kinds of networks can be compared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from clusterscan.config.model import Config
from clusterscan.config.scan import ScanSettings
from clusterscan.core import sky
from clusterscan.formats.tile_image import TileImage, read_tile
from clusterscan.train.examples import Examples
from clusterscan_studies.config.extras import ProbabilityMapSettings

KINDS = {"known": "clusters", "random": "random", "star": "stars"}
"""Kind of example -> the setting that gives the number of its maps."""


@dataclass(frozen=True)
class Field:
    """A position to map.

    Attributes
    ----------
    kind : str
        ``known``, ``random`` or ``star``.
    name : str
        The object's or the example's name.
    ra_deg, dec_deg : float
        ICRS [deg].
    """

    kind: str
    name: str
    ra_deg: float
    dec_deg: float


def choose_fields(
    examples: Examples, settings: ProbabilityMapSettings, tile_order: int
) -> list[Field]:
    """Choose the positions to map: examples outside the training, those of the test part first.

    Among them, positions whose whole map lies in one tile come first, because a tile's image ends
    a little outside the tile.

    Parameters
    ----------
    examples : Examples
        The data set.
    settings : ProbabilityMapSettings
        The number of maps of each kind.
    tile_order : int
        HEALPix order of the tiles.
    """
    fields: list[Field] = []
    for which, (kind, number) in enumerate(KINDS.items()):
        rows = np.flatnonzero((examples.kind == kind) & (examples.split != "train"))
        rng = np.random.default_rng([settings.seed, which])
        # Sorted by id before the shuffle, so that the choice depends on the examples and the seed,
        # not on the order in which shards were read.
        rows = rows[np.argsort(examples.example_id[rows], kind="stable")]
        rows = rows[rng.permutation(len(rows))]
        inside = _lie_in_one_tile(examples, rows, settings.side_arcmin, tile_order)
        rows = rows[np.lexsort((~inside, examples.split[rows] != "test"))]
        seen: set[str] = set()
        for row in rows:
            name = str(examples.object_id[row]) or str(examples.example_id[row])
            if name not in seen and len(seen) < getattr(settings, number):
                seen.add(name)
                place = (float(examples.ra_deg[row]), float(examples.dec_deg[row]))
                fields.append(Field(kind, name, *place))
    return fields


def _lie_in_one_tile(
    examples: Examples, rows: np.ndarray, side_arcmin: float, tile_order: int
) -> np.ndarray:
    inside = np.zeros(len(rows), dtype=bool)
    for number, row in enumerate(rows):
        ra, dec = grid(float(examples.ra_deg[row]), float(examples.dec_deg[row]), side_arcmin, 3)
        inside[number] = len(set(sky.owning_cell(ra.ravel(), dec.ravel(), tile_order))) == 1
    return inside


def grid(
    ra_deg: float, dec_deg: float, side_arcmin: float, cells: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the positions of a map's cells: north up, east to the left, on the tangent plane.

    Returns
    -------
    ra_deg, dec_deg : float ndarray, shape (cells, cells)
        First row south; first column east.
    """
    from astropy.wcs import WCS

    wcs = WCS(naxis=2)
    step = side_arcmin / 60.0 / (cells - 1)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [ra_deg, dec_deg]
    wcs.wcs.crpix = [(cells + 1) / 2] * 2
    wcs.wcs.cdelt = [-step, step]
    y, x = np.mgrid[:cells, :cells]
    ra, dec = wcs.pixel_to_world_values(x, y)
    return np.asarray(ra), np.asarray(dec)


Scanner = Callable[[TileImage, np.ndarray, np.ndarray], np.ndarray]
"""(tile, x, y) -> probability, all of shape (n,)."""


def scanner(folder: Path) -> Scanner:
    """Load a network and return a function that gives its probability at pixels of a tile image."""
    from clusterscan.networks.card import load_model
    from clusterscan.scan.tile_scan import scan_tile

    network, card = load_model(folder)
    settings = ScanSettings(engine="windowed")

    def scan(tile: TileImage, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return scan_tile(network, card, tile.image, tile.mask, x, y, settings)[0]

    return scan


def probability_map(
    tile: TileImage, field: Field, scan: Scanner, settings: ProbabilityMapSettings
) -> np.ndarray:
    """Return the map of a field, float32, shape (cells, cells); NaN where the image ends."""
    ra, dec = grid(field.ra_deg, field.dec_deg, settings.side_arcmin, settings.cells)
    x, y = tile.to_pixel(ra.ravel(), dec.ravel())
    return scan(tile, x, y).astype(np.float32).reshape(ra.shape)


def picture(tile: TileImage, field: Field, side_arcmin: float, pixels: int = 84) -> np.ndarray:
    """Return the image of a field, float32, shape (bands, pixels, pixels); NaN: no data."""
    ra, dec = grid(field.ra_deg, field.dec_deg, side_arcmin, pixels)
    x, y = tile.to_pixel(ra, dec)
    column, row = np.rint(x).astype(int), np.rint(y).astype(int)
    ny, nx = tile.mask.shape
    inside = (column >= 0) & (column < nx) & (row >= 0) & (row < ny)
    out = np.full((len(tile.bands), pixels, pixels), np.nan, dtype=np.float32)
    at = (row[inside], column[inside])
    out[:, inside] = np.where(tile.covered[at], tile.image[:, *at], np.nan)
    return out


def tile_images(config: Config, survey: str, fields: list[Field]) -> Iterator[TileImage]:
    """Yield the image of the tile that holds each field, in order.

    Raises
    ------
    ImageError
        If one is missing.
    """
    order, held, image = config.sky.tile_order, None, None
    for field in fields:
        tile = int(sky.owning_cell(np.array([field.ra_deg]), np.array([field.dec_deg]), order)[0])
        if tile != held:
            place = Path(config.output, "tiles", survey, sky.shard_path(tile, order, ".fits"))
            held, image = tile, read_tile(place)
        assert image is not None  # just read
        yield image


def map_fields(
    images: list[TileImage],
    fields: list[Field],
    networks: dict[str, Path],
    settings: ProbabilityMapSettings,
    progress: Callable[[float, float, str], None],
) -> dict[str, Any]:
    """Map all fields with all networks.

    Parameters
    ----------
    images : list of TileImage
        The tile image of each field.
    fields : list of Field
        The places.
    networks : dict of str to Path
        Title of each network, and its model folder.
    settings : ProbabilityMapSettings
        Size of the maps.
    progress : callable
        Called with (done, total, text).

    Returns
    -------
    dict
        ``images``: float32 ndarrays by field; ``maps``: title -> float32 ndarray, shape
        (fields, cells, cells).
    """
    maps = {}
    for number, (title, folder) in enumerate(networks.items()):
        progress(number, len(networks), title)
        scan = scanner(folder)
        found = [
            probability_map(image, field, scan, settings)
            for image, field in zip(images, fields, strict=True)
        ]
        maps[title] = np.array(found, np.float32).reshape(-1, settings.cells, settings.cells)
    pairs = zip(images, fields, strict=True)
    return {"images": [picture(i, f, settings.side_arcmin) for i, f in pairs], "maps": maps}
