"""Positions of examples: known objects, places beside them, random places, bright stars.

The key of every random draw is its tile or object, never the number of draws before it. So
examples do not depend on the other tiles or objects that are sampled in the same job.
"""

from __future__ import annotations

import zlib

import numpy as np
import pandas as pd
from scipy import ndimage
from scipy.spatial import cKDTree

from clusterscan.config.sample import InjectionSettings, ListedSettings
from clusterscan.core import sky
from clusterscan.core.errors import CatalogueError
from clusterscan.flow.sky_split import offset_position
from clusterscan.formats.mask_planes import BRIGHT_STAR
from clusterscan.formats.tile_image import TileImage

# Part of each seed, so that the kinds draw independently; a new kind goes to the end.
_RANDOM_KEY, _STAR_KEY, _OFFSET_KEY, _JITTER_KEY, _INJECTION_KEY = range(5)


def random_positions(
    tile: int, tile_order: int, per_deg2: float, seed: int, kind: str = "random"
) -> pd.DataFrame:
    """Draw positions uniformly on a tile's sky; examples of label 0."""
    return _uniform(tile, tile_order, per_deg2, (seed, _RANDOM_KEY), 0, kind)


def injected_positions(
    tile: int, tile_order: int, settings: InjectionSettings | None, seed: int
) -> pd.DataFrame:
    """Draw positions for injected model clusters; examples of label 1."""
    per_deg2 = 0.0 if settings is None else settings.per_deg2
    return _uniform(tile, tile_order, per_deg2, (seed, _INJECTION_KEY), 1, "injected")


def _uniform(
    tile: int, tile_order: int, per_deg2: float, key: tuple[int, int], label: int, kind: str
) -> pd.DataFrame:
    # HEALPix cells have equal areas, so a random choice among the finest cells of the tile is
    # exactly uniform on the sky, at the poles too.
    rng = np.random.default_rng([*key, tile_order, tile])
    number = round(per_deg2 * sky.cell_area_deg2(tile_order))
    count = 4 ** (sky.MAX_ORDER - tile_order)
    fine = np.int64(tile) * count + rng.integers(0, count, number)
    ra, dec = sky.cell_centres(fine, sky.MAX_ORDER)
    names = [f"{kind}-o{tile_order}-{tile}-{index}" for index in range(number)]
    return _frame(names, names, ra, dec, label, kind)


def star_positions(
    image: TileImage, tile: int, tile_order: int, per_deg2: float, seed: int
) -> pd.DataFrame:
    """Return the centres of masked bright stars, a random choice if there are many."""
    labels, number = ndimage.label(image.mask & BRIGHT_STAR)
    centres = ndimage.center_of_mass(labels > 0, labels, np.arange(1, number + 1))
    y, x = np.array(centres, dtype=float).reshape(-1, 2).T
    return pixels_as_stars(image, x, y, tile, tile_order, per_deg2, seed)


def pixels_as_stars(
    image: TileImage,
    x: np.ndarray,
    y: np.ndarray,
    tile: int,
    tile_order: int,
    per_deg2: float,
    seed: int,
) -> pd.DataFrame:
    """Turn the pixel positions that the tile owns into star examples, at most ``per_deg2``."""
    ra, dec = image.wcs.pixel_to_world_values(x, y)
    ra, dec = np.atleast_1d(ra), np.atleast_1d(dec)
    own = sky.owning_cell(ra, dec, tile_order) == tile if ra.size else np.zeros(0, bool)
    ra, dec = ra[own], dec[own]
    # Seeded by the tile, so it draws the same whichever process computes it, and in whatever order.
    rng = np.random.default_rng([seed, _STAR_KEY, tile_order, tile])
    most = round(per_deg2 * sky.cell_area_deg2(tile_order))
    chosen = np.sort(rng.permutation(ra.size)[:most])
    names = [f"star-o{tile_order}-{tile}-{index}" for index in chosen]
    return _frame(names, names, ra[chosen], dec[chosen], 0, "star")


def known_positions(
    known: pd.DataFrame, copies: int, jitter_arcmin: float, seed: int
) -> pd.DataFrame:
    """Return the objects' own positions and shifted copies, drawn uniformly in a disc."""
    names = [f"known-{name}-0" for name in known["object_id"]]
    own = _frame(names, known["object_id"], *_radec(known), 1, "known")
    shifted = _around(known, copies - 1, (0.0, jitter_arcmin), (seed, _JITTER_KEY), 1, "known")
    return pd.concat([own, shifted], ignore_index=True)


def offset_positions(
    known: pd.DataFrame, copies: int, least_arcmin: float, most_arcmin: float, seed: int
) -> pd.DataFrame:
    """Draw positions uniformly in a ring around each object; examples of label 0.

    Without them a network gives the same answer anywhere near a cluster, and its peaks are badly
    placed.
    """
    ring = (least_arcmin, most_arcmin)
    return _around(known, copies, ring, (seed, _OFFSET_KEY), 0, "offset")


def _around(
    known: pd.DataFrame,
    copies: int,
    ring_arcmin: tuple[float, float],
    key: tuple[int, int],
    label: int,
    kind: str,
) -> pd.DataFrame:
    """Draw positions uniformly in a ring around each object, keyed by the object's name."""
    least, most = ring_arcmin
    draws = np.array([_object_rng(key, name).random((copies, 2)) for name in known["object_id"]])
    draws = draws.reshape(-1, 2)
    host = np.repeat(np.arange(len(known)), copies)
    ra, dec = (side[host] for side in _radec(known))
    # Uniform in area, not in radius: the square of the distance is uniform.
    distance = np.sqrt(least**2 + (most**2 - least**2) * draws[:, 0])
    objects = known["object_id"].to_numpy()[host]
    # The object itself is number 0 of its kind, so copies of positives count from 1 (its label).
    numbers = np.tile(np.arange(copies) + label, len(known))
    names = [f"{kind}-{name}-{number}" for name, number in zip(objects, numbers, strict=True)]
    at = offset_position(ra, dec, distance, 2 * np.pi * draws[:, 1])
    frame = _frame(names, objects, *at, label, kind)
    frame["host_ra"], frame["host_dec"] = ra, dec
    return frame


def listed_positions(listed: pd.DataFrame, settings: ListedSettings) -> pd.DataFrame:
    """Turn a catalogue's positions into examples, one for each of its labels.

    Parameters
    ----------
    listed : DataFrame
        object_id, ra_deg, dec_deg, redshift, and the catalogue's columns.
    settings : ListedSettings
        Names of the columns with labels and of those to keep.

    Returns
    -------
    DataFrame
        With redshift and the kept columns, numbers as float64.

    Raises
    ------
    CatalogueError
        If the catalogue lacks a column.
    """
    missing = [c for c in (*settings.labels.values(), *settings.columns) if c not in listed]
    if missing:
        raise CatalogueError(
            f"catalogue {settings.catalogue} lacks the columns {missing}; it has "
            f"{', '.join(map(str, listed.columns))}; correct sample.listed"
        )
    parts = []
    for kind, column in settings.labels.items():
        label = pd.to_numeric(listed[column], errors="coerce")
        rows = listed[label.isin([0, 1])]
        names = [f"{kind}-{name}" for name in rows["object_id"]]
        part = _frame(names, rows["object_id"], *_radec(rows), 0, kind)
        part["label"] = label[rows.index].to_numpy(np.int8)
        part["redshift"] = rows["redshift"].to_numpy(float)
        for extra in settings.columns:
            number = rows[extra].dtype.kind in "fiub"
            part[extra] = rows[extra].to_numpy(float if number else object)
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


def separation_arcmin(positions: pd.DataFrame, objects: pd.DataFrame) -> np.ndarray:
    """Return each position's distance to the nearest object [arcmin], inf without objects."""
    if positions.empty or objects.empty:
        return np.full(len(positions), np.inf)
    # Straight distances between unit vectors sort like angles, at the poles and across RA 0 too.
    tree = cKDTree(sky.unit_vectors(*_radec(objects)))
    chords, _ = tree.query(sky.unit_vectors(*_radec(positions)))
    return 60.0 * np.degrees(2.0 * np.arcsin(np.minimum(chords / 2.0, 1.0)))


def near_tile(objects: pd.DataFrame, tile: int, tile_order: int, margin_arcmin: float):
    """Return the objects in a tile's circumscribed circle, widened by a margin."""
    if objects.empty:
        return objects
    ra, dec = sky.cell_centres(np.array([tile]), tile_order)
    centre = sky.unit_vectors(ra, dec)[0]
    outline = sky.outline_vectors(tile, tile_order)
    radius = np.degrees(np.arccos(np.clip(outline @ centre, -1, 1))).max() + margin_arcmin / 60.0
    inside = sky.separation_deg(*_radec(objects), ra, dec) <= radius
    return objects[inside].reset_index(drop=True)


def _frame(names, objects, ra, dec, label: int, kind: str) -> pd.DataFrame:
    frame = pd.DataFrame({"example_id": list(names), "object_id": [str(o) for o in objects]})
    frame = frame.astype(object)
    frame["ra_deg"], frame["dec_deg"] = np.asarray(ra, float), np.asarray(dec, float)
    frame["label"], frame["kind"] = np.int8(label), kind
    frame["host_ra"], frame["host_dec"] = frame["ra_deg"], frame["dec_deg"]
    return frame


def _radec(frame: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    return frame["ra_deg"].to_numpy(float), frame["dec_deg"].to_numpy(float)


def _object_rng(key: tuple[int, int], object_id: str) -> np.random.Generator:
    # Keyed by name: an object's copies stay the same when the catalogue gains or loses others.
    # CRC-32, because Python's hash of a text differs from process to process.
    return np.random.default_rng([*key, zlib.crc32(str(object_id).encode())])
