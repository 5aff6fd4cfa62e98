"""Examples from labelled stamps, and from the empty sky between them.

A network that slides over a mosaic meets mostly blank sky, stars and the outskirts of galaxies,
which no stamp shows at its centre. Examples of these are cut from the mosaic's own tiles.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import ndimage

from clusterscan.catalogs.checks import validate
from clusterscan.catalogs.layouts import Layout
from clusterscan.catalogs.reading import read_table
from clusterscan.config.sample import StampSampleSettings
from clusterscan.core.data_paths import expand_path
from clusterscan.core.errors import CatalogueError, ImageError
from clusterscan.fetch.stamp_files import Stamps
from clusterscan.flow.sky_split import SkySplit
from clusterscan.formats.examples import TileExamples, count_examples
from clusterscan.formats.tile_image import TileImage
from clusterscan.sample.crops import crop_start, to_half
from clusterscan.sample.positions import (
    near_tile,
    pixels_as_stars,
    random_positions,
    separation_arcmin,
)
from clusterscan.sample.tiles import cut_examples, offsets, owned, place

_STAR_SMOOTHING_PX = 1.0
_STAR_SPACING_PX = 15


def read_labels(settings: StampSampleSettings) -> pd.DataFrame:
    """Read the stamps' labels.

    Returns
    -------
    DataFrame
        object_id (str), ra_deg, dec_deg, class (int), member (str), label (int8: 1 positive,
        0 not, -1 ignored), then the further columns.

    Raises
    ------
    CatalogueError
        If the file is damaged, or an id, a position or a class is invalid.
    """
    path = expand_path(settings.labels)
    columns = {("name" if k == "object_id" else k): v for k, v in settings.columns.items()}
    raw = read_table(path, Layout("csv", columns))
    table = pd.DataFrame({ours: raw[theirs] for ours, theirs in columns.items()})
    labels = validate(table, str(path)).table.rename(columns={"name": "object_id"})
    if labels["object_id"].duplicated().any():
        twice = labels["object_id"][labels["object_id"].duplicated()].iloc[0]
        raise CatalogueError(f"{path}: object {twice} appears twice; each stamp needs its own id")
    classes = pd.to_numeric(labels["class"], errors="coerce")
    if classes.isna().any():
        row = int(np.flatnonzero(classes.isna())[0])
        raise CatalogueError(
            f"{path}: row {row + 1}, column {settings.columns['class']}: "
            f"{labels['class'].iloc[row]!r} is no class number; correct the file"
        )
    labels["class"] = classes.astype(int)
    label = np.where(labels["class"].isin(settings.positive), 1, 0)
    labels["label"] = np.where(labels["class"].isin(settings.ignored), -1, label).astype(np.int8)
    extras = [c for c in settings.columns if c not in ("object_id", "ra_deg", "dec_deg")]
    return labels[["object_id", "ra_deg", "dec_deg", "label", *extras]]


def sample_stamps(
    tile: int,
    tile_order: int,
    image: TileImage | None,
    labels: pd.DataFrame,
    stamps: Stamps,
    split: SkySplit,
    settings: StampSampleSettings,
    *,
    bands: tuple[str, ...],
    pixel_scale_arcsec: float,
    seed: int,
) -> TileExamples:
    """Make a tile's examples from the stamps that it owns and from its own image.

    Parameters
    ----------
    tile, tile_order : int
        The tile.
    image : TileImage or None
        Its image, for sky, star and offset examples; None if the tile has no coverage.
    labels : DataFrame
        From `read_labels`; may cover more sky than the tile.
    stamps : Stamps
        The stamps.
    split : SkySplit
        Training, validation and test sky.
    settings : StampSampleSettings
        Numbers and kinds of examples.
    bands, pixel_scale_arcsec : tuple of str, float
        Bands and pixel size of the examples, which are those of the tile images.
    seed : int
        The run's seed.
    """
    of_stamps = _stamp_examples(
        tile, tile_order, labels, stamps, split, settings, bands, pixel_scale_arcsec
    )
    if image is None:
        return of_stamps
    of_sky = _sky_examples(tile, tile_order, image, labels, split, settings, seed)
    extras = of_stamps.table.columns.difference(of_sky.table.columns, sort=False)
    sky_table = of_sky.table.assign(
        **{c: _missing(labels[c], len(of_sky.table)) for c in extras if c in labels}
    )
    # Sky examples get the stamps' further columns, so that all rows have the same ones.
    table = pd.concat([of_stamps.table, sky_table[of_stamps.table.columns]], ignore_index=True)
    images = np.concatenate([of_stamps.images, of_sky.images])
    counts = {
        key: of_stamps.counts.get(key, 0) + of_sky.counts.get(key, 0)
        for key in sorted({*of_stamps.counts, *of_sky.counts})
    }
    return TileExamples(table, images, bands, settings.size_px, pixel_scale_arcsec, counts)


def _missing(column: pd.Series, number: int):
    """Return unknown values of a column's type: NaN, -1 for whole numbers, '' for text."""
    if column.dtype.kind in "iu":
        return np.full(number, -1, dtype=column.dtype)
    if column.dtype.kind == "f":
        return np.full(number, np.nan)
    return np.full(number, "", dtype=object)


def _stamp_examples(
    tile: int,
    tile_order: int,
    labels: pd.DataFrame,
    stamps: Stamps,
    split: SkySplit,
    settings: StampSampleSettings,
    bands: tuple[str, ...],
    pixel_scale_arcsec: float,
) -> TileExamples:
    mine = owned(labels[labels["label"] >= 0], tile, tile_order)
    mine = mine.assign(
        example_id=[f"stamp-{name}" for name in mine["object_id"]],
        kind="stamp",
        host_ra=mine["ra_deg"],
        host_dec=mine["dec_deg"],
    )
    placed, dropped = place(mine, split, settings.size_px * pixel_scale_arcsec / 60.0)
    order = _band_order(stamps, bands)
    images = np.empty((len(placed), len(bands), settings.size_px, settings.size_px), np.float16)
    for target, member in zip(images, placed["member"], strict=True):
        reduced = reduce_stamp(
            stamps.read(member)[order], stamps.settings.pixel_scale_arcsec, pixel_scale_arcsec
        )
        target[:] = to_half(central_crop(reduced, settings.size_px))
    table = placed.drop(columns="member")
    counts = {"dropped_guard": dropped} | count_examples(table)
    return TileExamples(table, images, bands, settings.size_px, pixel_scale_arcsec, counts)


def _sky_examples(
    tile: int,
    tile_order: int,
    image: TileImage,
    labels: pd.DataFrame,
    split: SkySplit,
    settings: StampSampleSettings,
    seed: int,
) -> TileExamples:
    reach = max(settings.exclusion_arcmin, settings.offset_max_arcmin) + 1.0
    near = near_tile(labels, tile, tile_order, reach)
    # Ignored objects may be positives, so examples of label 0 keep away from them too.
    taboo = near[near["label"] != 0]
    free = random_positions(tile, tile_order, settings.random_per_deg2, seed, kind="sky")
    away = separation_arcmin(free, taboo) >= settings.exclusion_arcmin
    stars = _unlisted_stars(image, tile, tile_order, near, settings, seed)
    ring = offsets(near[near["label"] == 1], taboo, settings, seed)
    wanted = pd.concat([ring, free[away], stars], ignore_index=True)
    counts = {"dropped_near_known": int((~away).sum())}
    return cut_examples(wanted, tile, tile_order, image, split, settings, counts)


def _unlisted_stars(
    image: TileImage,
    tile: int,
    tile_order: int,
    listed: pd.DataFrame,
    settings: StampSampleSettings,
    seed: int,
) -> pd.DataFrame:
    """Find bright peaks that are in no list: these are stars if the list has all galaxies."""
    y, x = _bright_peaks(image, settings.star_min_value)
    stars = pixels_as_stars(image, x, y, tile, tile_order, settings.stars_per_deg2, seed)
    return stars[separation_arcmin(stars, listed) >= settings.exclusion_arcmin]


def _bright_peaks(image: TileImage, least: float | None) -> tuple[np.ndarray, np.ndarray]:
    """Return the pixels (y, x) of the image's peaks above a value; no peaks if it is None."""
    if least is None:
        return np.empty(0, int), np.empty(0, int)
    smooth = ndimage.gaussian_filter(image.image.mean(axis=0), _STAR_SMOOTHING_PX)
    # Smoothed first, or each noisy pixel of a bright star would be a peak; one peak per
    # neighbourhood.
    peak = smooth == ndimage.maximum_filter(smooth, size=_STAR_SPACING_PX)
    y, x = np.nonzero(peak & (smooth >= least) & image.covered)
    return y, x


def _band_order(stamps: Stamps, bands: tuple[str, ...]) -> list[int]:
    missing = [band for band in bands if band not in stamps.settings.bands]
    if missing:
        raise ImageError(
            f"{stamps.path}: stamps have bands {stamps.settings.bands}, but the survey needs "
            f"{', '.join(missing)}; correct sample.stamps.bands"
        )
    return [stamps.settings.bands.index(band) for band in bands]


def reduce_stamp(stamp: np.ndarray, scale_arcsec: float, wanted_arcsec: float) -> np.ndarray:
    """Average a stamp over whole pixels, down to a coarser scale.

    Raises
    ------
    ImageError
        If the wanted scale is no whole multiple of the stamp's, or does not divide the side.
    """
    factor = round(wanted_arcsec / scale_arcsec)
    side = stamp.shape[-1]
    if factor < 1 or abs(factor * scale_arcsec / wanted_arcsec - 1) > 1e-3 or side % factor:
        raise ImageError(
            f"stamps of {side} px at {scale_arcsec} arcsec cannot be averaged over whole pixels "
            f"to {wanted_arcsec} arcsec; correct sample.stamps.pixel_scale_arcsec"
        )
    n = side // factor
    return stamp.reshape(-1, n, factor, n, factor).mean(axis=(2, 4), dtype=np.float64)


def central_crop(image: np.ndarray, size_px: int) -> np.ndarray:
    """Return the central square of an image.

    Raises
    ------
    ImageError
        If the image is smaller.
    """
    side = image.shape[-1]
    if side < size_px:
        raise ImageError(
            f"stamps are {side} px at the survey's scale, smaller than sample.size_px = {size_px}; "
            "lower it"
        )
    start = int(crop_start((side - 1) / 2, size_px))
    return image[:, start : start + size_px, start : start + size_px]
