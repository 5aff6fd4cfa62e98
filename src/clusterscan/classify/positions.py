"""Positions of a catalogue as rows to classify, cut out of a run's tile images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from clusterscan.catalogs.checks import validate
from clusterscan.catalogs.layouts import Layout
from clusterscan.catalogs.reading import read_table
from clusterscan.classify.classifier import OK, Row
from clusterscan.config.catalogs import FileFormat
from clusterscan.core import sky
from clusterscan.core.errors import CatalogueError, ConfigError, ImageError, ProductError
from clusterscan.formats.mask_planes import BAD_PLANES
from clusterscan.formats.tile_image import TileImage, read_tile
from clusterscan.networks.card import check_fits
from clusterscan.sample.crops import crop_start, cut_crops, mean_of_bands, to_half

_ENDINGS: dict[str, tuple[FileFormat, str]] = {
    ".csv": ("csv", ","),
    ".csv.gz": ("csv", ","),
    ".tsv": ("csv", "\t"),
    ".fits": ("fits", ","),
    ".fit": ("fits", ","),
    ".fits.gz": ("fits", ","),
    ".parquet": ("parquet", ","),
    ".vot": ("votable", ","),
    ".xml": ("votable", ","),
    ".votable": ("votable", ","),
}
_USUAL = {
    "ra_deg": ("ra_deg", "ra", "raj2000", "_raj2000", "ra_j2000", "alpha_j2000", "radeg"),
    "dec_deg": ("dec_deg", "dec", "dej2000", "_dej2000", "dec_j2000", "delta_j2000", "dedeg"),
    "id": ("id", "object_id", "name", "source_id", "objid", "object"),
}


def read_positions(path: Path, columns: Mapping[str, str]) -> pd.DataFrame:
    """Read a catalogue's positions, impossible ones too.

    Parameters
    ----------
    path : Path
        csv, tsv, FITS, Parquet or VOTable, by the name's ending.
    columns : mapping
        ra_deg, dec_deg, id -> the file's columns; those left out go by their usual names.

    Returns
    -------
    DataFrame
        One row for each row of the file: id, source ("row 1", ...), ra_deg in [0, 360) and dec_deg
        (as in the file if impossible; NaN: not a number), possible (bool).

    Raises
    ------
    CatalogueError
        If it is not such a table, or a column is missing.
    """
    raw = _read(path, columns)
    found = {key: columns.get(key) or _usual(raw, key) for key in _USUAL}
    missing = [key for key in ("ra_deg", "dec_deg") if found[key] is None]
    if missing:
        raise CatalogueError(
            f"{path}: no column looks like {', '.join(missing)} (there are "
            f"{', '.join(map(str, raw.columns))}); name them, as in --columns ra_deg=RA,dec_deg=DE"
        )
    numbers = {
        key: pd.to_numeric(raw[found[key]], errors="coerce").to_numpy(float, na_value=np.nan)
        for key in ("ra_deg", "dec_deg")
    }
    row = [str(number) for number in range(len(raw))]
    # `validate` decides for the whole project which positions are possible, and brings RA to
    # [0, 360). Bad rows are kept here, so that every row of the catalogue gets an answer.
    gate = validate(pd.DataFrame({**numbers, "name": row}), str(path), bad_rows="drop").table
    good = gate.set_index(gate["name"].astype(int))
    table = pd.DataFrame({"source": [f"row {n + 1}" for n in range(len(raw))], **numbers})
    table.loc[good.index, ["ra_deg", "dec_deg"]] = good[["ra_deg", "dec_deg"]]
    table["possible"] = np.isin(np.arange(len(raw)), good.index)
    ids = table["source"] if found["id"] is None else raw[found["id"]].astype(str).str.strip()
    table.insert(0, "id", ids.to_numpy(dtype=object))
    return table


def _read(path: Path, columns: Mapping[str, str]) -> pd.DataFrame:
    unknown = sorted(set(columns) - set(_USUAL))
    if unknown:
        raise ConfigError(f"--columns names {unknown}; there are {', '.join(_USUAL)}")
    if not path.is_file():
        raise CatalogueError(f"{path}: there is no such file; give a catalogue by --positions")
    ending = max((e for e in _ENDINGS if path.name.lower().endswith(e)), key=len, default=None)
    if ending is None:
        raise CatalogueError(f"{path}: its name ends in none of {', '.join(_ENDINGS)}; rename it")
    form, delimiter = _ENDINGS[ending]
    table = read_table(path, Layout(form, dict(columns), delimiter=delimiter))
    if table.empty:
        raise CatalogueError(f"{path}: has no rows; give a catalogue with positions")
    return table.reset_index(drop=True)


def _usual(table: pd.DataFrame, key: str) -> str | None:
    """Return the column with a usual name, the first of equals."""
    by_name = {str(column).lower(): column for column in reversed(table.columns)}
    return next((by_name[name] for name in _USUAL[key] if name in by_name), None)


class PositionRows:
    """The positions of a catalogue, as rows for one model."""

    def __init__(self, table: pd.DataFrame, views: Sequence[ViewTiles]):
        self._table = table
        self._views = views

    def __len__(self) -> int:
        return len(self._table)

    def chunks(self, size: int) -> Iterator[tuple[np.ndarray, list[Row]]]:
        """Yield row numbers and rows, tile by tile, so that each image is read only once."""
        table = self._table
        possible = table["possible"].to_numpy()
        cell = np.full(len(table), -1, dtype=np.int64)
        ra, dec = table["ra_deg"].to_numpy(), table["dec_deg"].to_numpy()
        if possible.any():
            cell[possible] = self._views[0].cells(ra[possible], dec[possible])
        # Sorted by tile: a tile's image is read once and one image at a time is in memory. The
        # sort is stable, so rows of one tile keep the catalogue's order.
        order = np.argsort(cell, kind="stable")
        for start in range(0, len(order), size):
            numbers = order[start : start + size]
            yield numbers, [self._row(int(number)) for number in numbers]

    def _row(self, number: int) -> Row:
        place = self._table.iloc[number]
        ra, dec = float(place["ra_deg"]), float(place["dec_deg"])
        row = Row(str(place["id"]), str(place["source"]), ra, dec)
        if not place["possible"]:
            reason = f"ra_deg = {ra:g}, dec_deg = {dec:g}: not within -360 to 360 and -90 to 90 deg"
            return Row(row.id, row.source, ra, dec, "no_position", reason)
        images, faults = [], []
        for view in self._views:
            image, status, reason = view.crop(ra, dec)
            images.append(image)
            faults.append((status, reason))
        if all(image is None for image in images):
            status = next(s for s, _ in faults if s != OK)
            return Row(row.id, row.source, ra, dec, status, "; ".join(r for _, r in faults))
        return Row(row.id, row.source, ra, dec, images=tuple(images))


# --- crops of a run's tile images -------------------------------------------------------------


_GREY = ["grey"]


class SurveyTiles:
    """The tile images of one survey of a run.

    Raises
    ------
    ProductError
        If the run has no tile images of the survey.
    """

    def __init__(self, root: Path, survey: str):
        self.folder = root / "tiles" / survey
        folders = [path for path in self.folder.glob("Norder*") if path.is_dir()]
        orders = sorted(int(path.name.removeprefix("Norder")) for path in folders)
        if len(orders) != 1:
            found = sorted(p.name for p in (root / "tiles").glob("*")) or ["none"]
            raise ProductError(
                f"{self.folder}: no tile images of the survey {survey} (there are those of "
                f"{', '.join(found)}); give the output folder of a run of that survey by --tiles"
            )
        self.order = orders[0]
        self._last: tuple[int, TileImage | None] | None = None

    def cells(self, ra_deg: np.ndarray, dec_deg: np.ndarray) -> np.ndarray:
        """Return the tile that owns each position."""
        return sky.owning_cell(ra_deg, dec_deg, self.order)

    def read(self, tile: int) -> TileImage | None:
        """Return a tile's image, None if the run has none; the last one is kept in memory.

        Raises
        ------
        ImageError
            If it is damaged.
        """
        if self._last is None or self._last[0] != tile:
            path = self.folder / sky.shard_path(tile, self.order, ".fits")
            self._last = (tile, read_tile(path) if path.exists() else None)
        return self._last[1]


class ViewTiles:
    """Crops of one view of a model: from one survey, or from several stacked ones (``a+b``).

    Parameters
    ----------
    root : Path
        The run's output folder.
    card : dict
        The model's card.
    index : int
        Number of the view.
    size_px : int
        Side of its crops.
    min_valid_fraction : float
        Crops with a smaller fraction of good pixels are refused.
    survey : str, optional
        The survey whose tiles are read; default: the one that the card names.
    """

    def __init__(
        self,
        root: Path,
        card: dict[str, Any],
        index: int,
        size_px: int,
        min_valid_fraction: float,
        survey: str | None = None,
    ):
        self._card, self._index, self._size = card, index, size_px
        self._bands = list(card["views"][index]["bands"])
        self._least = min_valid_fraction
        self.survey = survey or str(card["views"][index]["survey"])
        self.parts = {name: SurveyTiles(root, name) for name in self.survey.split("+")}

    def cells(self, ra_deg: np.ndarray, dec_deg: np.ndarray) -> np.ndarray:
        """Return the tile that owns each position, in the first survey's tiling."""
        return next(iter(self.parts.values())).cells(ra_deg, dec_deg)

    def crop(self, ra_deg: float, dec_deg: float) -> tuple[np.ndarray | None, str, str]:
        """Return the crop at a position, float16 (bands, N, N), or None; status; and reason.

        Raises
        ------
        ModelError
            If the tile images are not what the model was trained on.
        """
        ra, dec = np.array([ra_deg]), np.array([dec_deg])
        crops: dict[str, np.ndarray] = {}
        tiles: dict[str, TileImage] = {}
        fault = ("outside", f"the run has no image of {self.survey} there")
        for name, part in self.parts.items():
            try:
                tile = part.read(int(part.cells(ra, dec)[0]))
            except ImageError as error:
                return None, "unreadable", str(error)
            if tile is None:
                continue
            tiles[name] = tile
            found, taken = cut_crops(tile, ra, dec, self._size, self._least)
            if taken[0]:
                crops[name] = found[0]
            else:
                fault = _why_not(tile, name, ra, dec, self._size, self._least)
        self._check(tiles)
        if not crops:
            return None, *fault
        return self._in_bands(crops, tiles), OK, ""

    def _check(self, tiles: dict[str, TileImage]) -> None:
        """Refuse tile images of another scale, or without a band if all surveys have an image."""
        there = [(name, band) for name, tile in tiles.items() for band in tile.bands]
        lacking = [b for b in self._bands if not any(_is_band(b, *known) for known in there)]
        wrong = lacking and self._bands != _GREY and len(tiles) == len(self.parts)
        for tile in tiles.values():
            bands = [band for _, band in there] if wrong else self._bands
            check_fits(self._card, self._index, bands, tile.pixel_scale_arcsec)

    def _in_bands(self, crops: dict[str, np.ndarray], tiles: dict[str, TileImage]) -> np.ndarray:
        """Return the view's bands; the bands of a survey without an image there are NaN."""
        planes = [
            (name, band, plane)
            for name, crop in crops.items()
            for band, plane in zip(tiles[name].bands, crop, strict=True)
        ]
        if self._bands == _GREY:
            return to_half(mean_of_bands(np.stack([plane for *_, plane in planes])))
        # The network takes missing pixels as background, as in training.
        missing = np.full((self._size, self._size), np.nan, np.float16)
        return np.stack(
            [
                next((plane for *known, plane in planes if _is_band(wanted, *known)), missing)
                for wanted in self._bands
            ]
        )


def _is_band(wanted: str, survey: str, band: str) -> bool:
    """Return True for a band's own name, or, if stacked surveys share it, survey_band."""
    return wanted in (band, f"{survey}_{band}")


def _why_not(
    tile: TileImage, survey: str, ra: np.ndarray, dec: np.ndarray, size: int, least: float
) -> tuple[str, str]:
    """Return the status and the reason of a crop that could not be cut."""
    x, y = tile.to_pixel(ra, dec)
    x0, y0 = int(crop_start(x, size)[0]), int(crop_start(y, size)[0])
    ny, nx = tile.mask.shape
    if x0 < 0 or y0 < 0 or x0 + size > nx or y0 + size > ny:
        return "outside", f"the crop of {size} px leaves the image of {survey}"
    good = (tile.mask[y0 : y0 + size, x0 : x0 + size] & BAD_PLANES) == 0
    return (
        "no_coverage",
        f"{good.mean():.0%} of the pixels of {survey} are good, fewer than {least:.0%}",
    )
