"""Maps as HiPS: coarser orders, properties, and the MOC of the valid area.

NESTED ordering, ICRS. `clusterscan.formats.map_tile` owns the tiles themselves.

References
----------
Fernique et al. 2017, HiPS - Hierarchical Progressive Survey 1.0, IVOA Recommendation.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from clusterscan.core import sky
from clusterscan.core.atomic import atomic_path
from clusterscan.formats.map_tile import (
    Header,
    read_map_tile,
    tile_path,
    tiles_on_disk,
    write_map_tile,
)
from clusterscan.publish.release import Release

if TYPE_CHECKING:
    from mocpy import MOC


def parent_values(children: Mapping[int, np.ndarray]) -> np.ndarray:
    """Return a parent tile's values: means of 2 x 2 pixels of its children.

    Parameters
    ----------
    children : mapping of int to float ndarray, shape (W * W,)
        The existing children by position 0 to 3 within the parent, in nested order.

    Returns
    -------
    values : float32 ndarray, shape (W * W,)
        In nested order; means ignore NaN and are NaN only if all four pixels are.
    """
    size = next(iter(children.values())).size
    # A missing child is empty sky: its NaN do not enter the means.
    fine = np.full((4, size), np.nan)
    for position, values in children.items():
        fine[position] = values
    fours = fine.reshape(size, 4)  # in nested order the four children of a pixel are adjacent
    count = np.isfinite(fours).sum(axis=1)
    total = np.nansum(fours, axis=1)
    mean = np.divide(total, count, out=np.full(size, np.nan), where=count > 0)
    return mean.astype(np.float32)


def hips_tiles(tiles: Iterable[int], tile_order: int) -> dict[int, list[int]]:
    """Return the tiles of a HiPS by order, from 0 to ``tile_order``: the given ones and above."""
    found = {tile_order: sorted(set(tiles))}
    for order in range(tile_order - 1, -1, -1):
        found[order] = sorted({tile // 4 for tile in found[order + 1]})
    return dict(sorted(found.items()))


def hips_files(root: Path, tiles: Iterable[int], tile_order: int) -> Iterator[Path]:
    """Yield the files of a finished HiPS of these tiles, whatever else lies in its folder."""
    for order, present in hips_tiles(tiles, tile_order).items():
        for tile in present:
            yield tile_path(root, tile, order)
    yield Path(root) / "Moc.fits"
    yield Path(root) / "properties"


def write_lower_orders(
    root: Path, tiles: Iterable[int], tile_order: int, header: Header
) -> list[Path]:
    """Write the tiles of all coarser orders, down to 0, from the given ones of ``tile_order``.

    Tiles of a larger footprint stay on disk, so that going back to it computes nothing. Their
    pixels must not enter coarser tiles, and coarser tiles of them alone are removed.
    """
    by_order = hips_tiles(tiles, tile_order)
    written = []
    # From fine to coarse: each order is made from the one just written, so four tiles at a time
    # are in memory, whatever the size of the map.
    for order in range(tile_order - 1, -1, -1):
        # Viewers start at order 0 and go down: a coarse tile left from a larger footprint would
        # promise finer tiles that are not listed any more.
        for stale in set(tiles_on_disk(root, order)) - set(by_order[order]):
            tile_path(root, stale, order).unlink()
        for parent, family in groupby(by_order[order + 1], key=lambda tile: tile // 4):
            children = {t % 4: read_map_tile(tile_path(root, t, order + 1)) for t in family}
            values = parent_values(children)
            reason = np.where(np.isfinite(values), 0, 1).astype(np.uint8)
            path = tile_path(root, parent, order)
            write_map_tile(path, values, reason, {**header, "ORDER": order, "NPIX": parent})
            written.append(path)
    return written


def valid_cells(root: Path, tiles: Iterable[int], tile_order: int, map_order: int) -> np.ndarray:
    """Return the sorted map pixels of some tiles that have a value."""
    cells = [
        tile * 4 ** (map_order - tile_order)
        + np.flatnonzero(np.isfinite(read_map_tile(tile_path(root, tile, tile_order))))
        for tile in sorted(tiles)
    ]
    return np.concatenate(cells).astype(np.int64) if cells else np.zeros(0, dtype=np.int64)


def cells_moc(cells: np.ndarray, order: int) -> MOC:
    """Return the MOC of cells of one order (compacted to the largest cells that fit)."""
    from mocpy import MOC

    if not cells.size:
        return MOC.new_empty(order)
    return MOC.from_healpix_cells(
        np.sort(cells).astype(np.uint64), np.full(cells.size, order, dtype=np.uint8), order
    )


def write_moc(path: Path, cells: np.ndarray, order: int, release: Release) -> float:
    """Write the MOC of cells as FITS with checksums, and return its area [deg2]."""
    from astropy.io import fits

    area_deg2 = float(cells.size * sky.cell_area_deg2(order))
    keywords = {
        "CREATOR": "clusterscan",
        "MOCDATE": release.release_date,
        "CSVERS": release.version,
        "AREADEG2": round(area_deg2, 6),
        "SIMULATD": release.simulated,
    }
    with atomic_path(path) as temporary:
        cells_moc(cells, order).save(
            str(temporary), format="fits", overwrite=True, fits_keywords=keywords
        )
        with fits.open(temporary, memmap=False) as hdus:
            for hdu in hdus:
                hdu.add_checksum(when=release.release_date)  # astropy would write the clock's time
            hdus.writeto(temporary, output_verify="exception", overwrite=True)
    return area_deg2


@dataclass(frozen=True)
class MapTitle:
    """Survey and model of a HiPS map."""

    survey: str
    model: str
    is_filter: bool

    @property
    def text(self) -> str:
        """Title for display."""
        what = "Signal-to-noise ratio" if self.is_filter else "Cluster probability"
        return f"{what}: {self.model} on {self.survey}"

    @property
    def cut(self) -> str:
        """Display range of pixel values."""
        return "0 6" if self.is_filter else "0 1"


def properties_text(
    title: MapTitle, release: Release, width: int, publisher_did: str = "ivo://clusterscan"
) -> str:
    """Return the text of a HiPS ``properties`` file; its dates are those of the release.

    Parameters
    ----------
    title : MapTitle
        Survey and model of the map.
    release : Release
        Version, configuration, area, date.
    width : int
        Pixels along a tile's side.
    publisher_did : str
        IVOID of the publisher, the start of the map's identifier.
    """
    kind = "SIMULATED sky" if release.simulated else "observed sky"
    # Characters such as blanks would make the IVOID invalid.
    name = re.sub(r"[^A-Za-z0-9._~-]+", "-", release.plain_name).strip("-") or "run"
    entries = {
        "creator_did": f"{publisher_did}/{name}/{title.survey}/{title.model}",
        "obs_title": title.text,
        "obs_collection": f"clusterscan {release.plain_name}".rstrip(),
        "obs_description": f"{title.text} ({kind}, seed {release.seed}).",
        "obs_regime": "Simulation" if release.simulated else "",
        "hips_version": "1.4",
        "hips_builder": f"clusterscan {release.version}",
        "hips_release_date": release.release_date,
        "hips_creation_date": release.release_date,
        # Required words of the HiPS standard: this is the original, and mirrors may copy it once.
        "hips_status": "public master clonableOnce",
        "hips_frame": "equatorial",
        "hips_order": str(release.tile_order),
        "hips_order_min": "0",
        "hips_tile_width": str(width),
        "hips_tile_format": "fits",
        "hips_pixel_bitpix": "-32",
        "hips_pixel_cut": title.cut,
        "hips_pixel_scale": f"{np.sqrt(sky.cell_area_deg2(release.map_order)):.6g}",
        "dataproduct_type": "image",
        "moc_sky_fraction": f"{release.area_deg2 / (12 * sky.cell_area_deg2(0)):.6g}",
        "data_ucd": "stat.snr" if title.is_filter else "stat.probability",
    }
    return "".join(f"{key:<20} = {value}\n" for key, value in entries.items() if value)


def finish_hips(
    root: Path,
    tiles: Collection[int],
    title: MapTitle,
    release: Release,
    publisher_did: str = "ivo://clusterscan",
) -> np.ndarray:
    """Complete a folder of map tiles to a HiPS: coarser orders, ``Moc.fits``, ``properties``.

    Parameters
    ----------
    root : Path
        Folder of the map, such as ``results/maps/unwise/resnet18``.
    tiles : collection of int
        The tiles of the run's footprint that have a map, as the scan's manifests name them. The
        folder may hold others, of a larger footprint: they are left alone and left out.
    title, release, publisher_did
        See `properties_text`; the area written is the map's own.

    Returns
    -------
    cells : int64 ndarray
        The map pixels (at ``release.map_order``) that have a value.
    """
    width = 2 ** (release.map_order - release.tile_order)
    cells = valid_cells(root, tiles, release.tile_order, release.map_order)
    header = {"CREATOR": "clusterscan", "SIMULATD": release.simulated}
    write_lower_orders(root, tiles, release.tile_order, header)
    area_deg2 = write_moc(Path(root) / "Moc.fits", cells, release.map_order, release)
    text = properties_text(title, replace(release, area_deg2=area_deg2), width, publisher_did)
    with atomic_path(Path(root) / "properties") as temporary:
        temporary.write_text(text, encoding="utf-8")
    return cells
