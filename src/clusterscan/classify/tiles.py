"""What a view of a model sees of a run's tile images at given positions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from clusterscan.classify.rows import OK
from clusterscan.core import sky
from clusterscan.core.errors import ImageError, ProductError
from clusterscan.formats.mask_planes import BAD_PLANES
from clusterscan.formats.tile_image import TileImage, read_tile
from clusterscan.networks.card import check_fits
from clusterscan.sample.crops import crop_start, cut_crops, to_half
from clusterscan.sample.stamp_fit import mean_of_bands

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
        """Return a tile's image, None where the run has none; the last one is kept.

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
    """Crops for one view: of one survey, or of several whose bands were stacked (``a+b``).

    Parameters
    ----------
    root : Path
        The run's output folder.
    card : dict
        The model's card.
    index : int
        Which view.
    size_px : int
        Side of its crops.
    min_valid_fraction : float
        Crops with a smaller fraction of good pixels are refused.
    survey : str, optional
        The survey whose tiles are read; None: the one that the card names.
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
        """Refuse tile images of another scale, or, once all surveys are there, without a band."""
        there = [(name, band) for name, tile in tiles.items() for band in tile.bands]
        lacking = [b for b in self._bands if not any(_is_band(b, *known) for known in there)]
        wrong = lacking and self._bands != _GREY and len(tiles) == len(self.parts)
        for tile in tiles.values():
            bands = [band for _, band in there] if wrong else self._bands
            check_fits(self._card, self._index, bands, tile.pixel_scale_arcsec)

    def _in_bands(self, crops: dict[str, np.ndarray], tiles: dict[str, TileImage]) -> np.ndarray:
        """Return the view's bands; those of a survey that has no image there are missing."""
        planes = [
            (name, band, plane)
            for name, crop in crops.items()
            for band, plane in zip(tiles[name].bands, crop, strict=True)
        ]
        if self._bands == _GREY:
            return to_half(mean_of_bands(np.stack([plane for *_, plane in planes])))
        missing = np.full((self._size, self._size), np.nan, np.float16)
        return np.stack(
            [
                next((plane for *known, plane in planes if _is_band(wanted, *known)), missing)
                for wanted in self._bands
            ]
        )


def _is_band(wanted: str, survey: str, band: str) -> bool:
    # Stacked bands that two surveys share carry the survey's name.
    return wanted in (band, f"{survey}_{band}")


def _why_not(
    tile: TileImage, survey: str, ra: np.ndarray, dec: np.ndarray, size: int, least: float
) -> tuple[str, str]:
    x, y = tile.to_pixel(ra, dec)
    x0, y0 = int(crop_start(x, size)[0]), int(crop_start(y, size)[0])
    ny, nx = tile.mask.shape
    if x0 < 0 or y0 < 0 or x0 + size > nx or y0 + size > ny:
        return "outside", f"the crop of {size} px leaves the image of {survey}"
    good = (tile.mask[y0 : y0 + size, x0 : x0 + size] & BAD_PLANES) == 0
    return "no_coverage", f"{good.mean():.0%} of the pixels of {survey} are good, not {least:.0%}"
