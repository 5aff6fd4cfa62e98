"""The tiles and blocks that a run searches: cells, a cone, a MOC, a mask, or a catalogue's sky.

HEALPix cells are NESTED, ICRS. Each process reads a file once and keeps its tiles by path, size and
time.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np

from clusterscan.config.searched_sky import (
    AnyFootprint,
    CatalogueCells,
    MaskFile,
    MocFile,
    Overlap,
    SkySettings,
    geometric_tiles,
)
from clusterscan.core import sky
from clusterscan.core.data_paths import expand_path
from clusterscan.core.errors import SourceError
from clusterscan.formats.moc import read_moc

_MOC_ORDER = 29
_FIRST_ORDER = 5  # the sky is first looked at in tiles of 1.8 degrees
_CELLS_AT_ONCE = 4096  # a million points; files are opened anew for each
_POINT_ORDERS = 4  # 4^4 = 256 points a tile


def run_tiles(sky_settings: SkySettings) -> list[int]:
    """Return the sorted tiles of a run's footprint.

    Raises
    ------
    SourceError
        See `footprint_tiles`.
    """
    return footprint_tiles(sky_settings.footprint, sky_settings.tile_order)


def run_blocks(sky_settings: SkySettings) -> list[int]:
    """Return the sorted blocks that hold tiles of a run's footprint."""
    order, block_order = sky_settings.tile_order, sky_settings.block_order
    return sorted({int(sky.ancestor(t, order, block_order)) for t in run_tiles(sky_settings)})


def footprint_tiles(footprint: AnyFootprint, order: int) -> list[int]:
    """Return the sorted tiles of a footprint at an order.

    Raises
    ------
    SourceError
        If a file that it names is missing or of another kind, or its parts share no tile.
    """
    if isinstance(footprint, Overlap):
        shared = set.intersection(*(set(footprint_tiles(part, order)) for part in footprint.of))
        if not shared:
            raise SourceError(
                "sky.footprint: its parts share no tile; correct one of the footprints in `of`"
            )
        return sorted(shared)
    if isinstance(footprint, MocFile | MaskFile | CatalogueCells):
        return tiles_of_file(footprint, order)
    return geometric_tiles(footprint, order)


def tiles_of_file(footprint: MocFile | MaskFile | CatalogueCells, order: int) -> list[int]:
    """Return the sorted tiles of a footprint that is defined by a file.

    Raises
    ------
    SourceError
        If the file is missing or of another kind, or leaves no tile.
    """
    path = expand_path(footprint.path)
    state = path.stat()
    # Size and time belong to the cache's key, so a replaced file is read again.
    found = _tiles(footprint, order, path, state.st_size, state.st_mtime_ns)
    if not found:
        raise SourceError(f"sky.footprint: {path} leaves no tile; {_why_none(footprint)}")
    return list(found)


def _why_none(footprint: MocFile | MaskFile | CatalogueCells) -> str:
    if isinstance(footprint, CatalogueCells):
        return f"no cell of order {footprint.order} holds min_objects = {footprint.min_objects}"
    covered = f"covered to min_fraction = {footprint.min_fraction:g}"
    if isinstance(footprint, MocFile):
        return f"it is empty, or no tile is {covered}"
    return (
        f"no value above {footprint.above:g} was seen, or no tile is {covered}; islands below "
        "0.1 degrees may be missed (look at above, column, min_fraction)"
    )


@lru_cache(maxsize=16)
def _tiles(
    footprint: MocFile | MaskFile | CatalogueCells, order: int, path: Path, size: int, mtime_ns: int
) -> tuple[int, ...]:
    if isinstance(footprint, MocFile):
        cells = moc_tiles(path, order, footprint.min_fraction)
    elif isinstance(footprint, MaskFile):
        cells = mask_tiles(footprint, path, order)
    else:
        cells = _catalogue_tiles(footprint, order)
    return tuple(int(cell) for cell in cells)


def moc_tiles(path: Path, order: int, min_fraction: float) -> np.ndarray:
    """Return the tiles that a MOC covers at least in part, by exact areas.

    Raises
    ------
    SourceError
        If the file is no MOC.
    """
    try:
        ranges = np.asarray(read_moc(path).to_depth29_ranges, dtype=np.int64).reshape(-1, 2)
    except SourceError as error:
        raise SourceError(f"{error}, or correct sky.footprint.path") from error
    # A MOC is a list of ranges of the finest cells. Counting the covered cells below each tile's
    # edge and differencing gives areas as whole numbers, without testing any point.
    edges = np.arange(12 * 4**order + 1, dtype=np.int64) << (2 * (_MOC_ORDER - order))
    before = _covered_before(ranges, edges)
    # edges[1] is the number of finest cells in one tile.
    fraction = np.diff(before) / float(edges[1])
    return np.flatnonzero((fraction > 0) & (fraction >= min_fraction))


def _covered_before(ranges: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Return the number of covered cells (of the finest order) below each edge.

    ``ranges`` are sorted and do not overlap.
    """
    starts, stops = ranges.T
    # All ranges that begin below an edge, less what the last of them reaches beyond it.
    sums = np.concatenate([[0], np.cumsum(stops - starts)])
    index = np.searchsorted(starts, edges, "left")  # ranges that begin below the edge
    last = np.maximum(index - 1, 0)
    over = np.where(index > 0, np.maximum(stops[last] - edges, 0), 0) if len(starts) else 0
    return sums[index] - over


def mask_tiles(mask: MaskFile, path: Path, order: int) -> np.ndarray:
    """Return the tiles that a mask covers, judged by a grid of points.

    Each tile is looked at in 256 points; tiles finer than 1.8 degrees only where one of 256 points
    of the 1.8 degrees around them is inside, so islands below 0.1 degrees may be missed.

    Raises
    ------
    SourceError
        If the file holds no such mask.
    """
    from clusterscan.flow.mask_file import REACH_ORDER, open_mask

    inside, reach = open_mask(mask, path)
    # 256 look-ups for each fine tile of the sky would take hours. So the sky is looked at coarsely
    # first, and only coarse cells that show anything are looked at again in fine tiles.
    least = max(mask.min_fraction, 1e-9)
    first = min(order, _FIRST_ORDER)
    if first <= REACH_ORDER:
        some = np.unique(sky.ancestor(reach, REACH_ORDER, first))
    else:
        # Only cells that the mask's image can touch; outside of it every point is known to be off.
        some = np.concatenate([sky.descendants(int(c), REACH_ORDER, first) for c in reach])
    if order <= _FIRST_ORDER:
        return np.sort(some[_fractions(inside, some, first) >= least])
    coarse = some[_fractions(inside, some, first) > 0]
    tiles = np.concatenate([some[:0], *(sky.descendants(int(c), first, order) for c in coarse)])
    return np.sort(tiles[_fractions(inside, tiles, order) >= least])


def _fractions(inside, cells: np.ndarray, order: int) -> np.ndarray:
    """Return the fraction of each cell's points that lie inside, shape (n,)."""
    parts = []
    count = 4**_POINT_ORDERS
    for some in np.array_split(cells, max(1, cells.size // _CELLS_AT_ONCE)):
        # Centres of the cells four orders finer, which lie evenly in a cell of any shape.
        points = (some[:, None] * count + np.arange(count)).ravel()
        ra, dec = sky.cell_centres(points, order + _POINT_ORDERS)
        parts.append(inside(ra, dec).reshape(-1, count).mean(axis=1))
    return np.concatenate(parts) if parts else np.zeros(0)


def _catalogue_tiles(footprint: CatalogueCells, order: int) -> np.ndarray:
    from clusterscan.catalogs.reading import read_catalogue
    from clusterscan.config.catalogs import PublishedCatalogue

    settings = PublishedCatalogue(kind=footprint.layout, name="footprint", path=footprint.path)
    table = read_catalogue(settings).table
    owners = sky.owning_cell(
        table["ra_deg"].to_numpy(), table["dec_deg"].to_numpy(), footprint.order
    )
    cells, counts = np.unique(owners, return_counts=True)
    cells = cells[counts >= footprint.min_objects]
    if order <= footprint.order:
        return np.unique(sky.ancestor(cells, footprint.order, order))
    tiles = [sky.descendants(int(cell), footprint.order, order) for cell in cells]
    return np.sort(np.concatenate(tiles)) if tiles else cells
