"""The report's candidate gallery: every survey's image and every map around the best candidates.

All images have north up and east to the left, whatever the frame of the tile they come from.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

import numpy as np

from clusterscan.core import sky
from clusterscan.core.errors import ClusterscanError
from clusterscan.formats.catalogue_columns import FILTER
from clusterscan.formats.map_tile import read_map_tile, tile_path
from clusterscan.formats.tile_image import TileImage, read_tile
from clusterscan.publish import figures
from clusterscan.publish.inputs import Card, Group, Picture, ReportInputs, Section
from clusterscan.publish.scores import Scores

SIDE_PX = 112
SMOOTHING_PX = 1.5  # of microwave maps, whose pixels are all noise to the eye
DEFAULT_WIDTH_PX = 120  # pixels of the survey across a gallery image, where the config says nothing
LARGEST_WIDTH_ARCMIN = 24.0  # ... but no more than this: halos of tiles end somewhere
BAR_ARCMIN = (1 / 30, 1 / 12, 1 / 6, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0)
DISPLAY = "display"  # unit of images that are stretched for the eye already, 0 to 255
NO_DATA = np.array([200, 204, 209], dtype=np.uint8)


T = TypeVar("T")


@dataclass(frozen=True)
class Kind:
    """A kind of candidates shown together, chosen by a mask on the catalogue."""

    title: str
    lead: str
    rows: np.ndarray


def gallery_section(inputs: ReportInputs, scores: Scores, count: int) -> Section:
    """Return the section with images of the best candidates of each kind.

    Parameters
    ----------
    inputs : ReportInputs
        Tile images and maps are read below its root.
    scores : Scores
        Gives the probability above which an object counts as a candidate.
    count : int
        Cards of each kind.
    """
    painter = _Painter(inputs)
    groups = [
        Group(kind.title, kind.lead, [painter.card(int(row)) for row in kind.rows[:count]])
        for kind in _kinds(inputs, scores)
        if kind.rows.size
    ]
    return Section(
        "gallery",
        "Candidates",
        "The most probable candidates of each kind, each band and map around them. North is up, "
        "east to the left; the cross hair marks the catalogue position, the white bar the length "
        "given. Infrared and optical brightness is asinh-stretched; microwave maps, "
        "slightly smoothed, are blue where colder and red where hotter than the mean. Grey: no "
        "data.",
        groups=groups,
        notes=[] if groups else ["No object reaches the probability threshold."],
    )


def _kinds(inputs: ReportInputs, scores: Scores) -> list[Kind]:
    """Return what the gallery shows; the catalogue is sorted by probability already."""
    catalogue = inputs.catalogue
    above = catalogue["prob"] >= scores.threshold
    test = catalogue["split"] == scores.region
    # Elsewhere the networks have seen the sky, so that there they cannot fail.
    above &= test if test.any() else True
    known = catalogue["class"] != "new"
    where = f"on the {scores.region} region" if test.any() else "on the whole sky searched"

    def rows(mask: np.ndarray) -> np.ndarray:
        return np.flatnonzero(above & mask)

    if "truth_name" not in catalogue:
        return [
            Kind("New candidates", f"Match no object of the known lists; {where}.", rows(~known)),
            Kind(
                "Known objects found", f"Match an object of the known lists; {where}.", rows(known)
            ),
        ]
    true = catalogue["truth_name"] != ""
    return [
        Kind(
            "New clusters",
            f"In no known catalogue, yet true clusters of the simulation; {where}.",
            rows(~known & true),
        ),
        Kind("Known clusters found again", f"Match a known cluster; {where}.", rows(known)),
        Kind(
            "False candidates",
            f"As probable as the others, but no simulated cluster is there; {where}.",
            rows(~known & ~true),
        ),
    ]


class _Painter:
    """Paints the cards; tile images and maps are kept while cards of one tile follow another."""

    def __init__(self, inputs: ReportInputs):
        self.inputs = inputs
        self.order = inputs.release.tile_order
        self.widths = dict(inputs.config.get("publish", {}).get("gallery_width_arcmin", {}))
        self._tile = lru_cache(maxsize=6)(self._read_tile)
        self._map = lru_cache(maxsize=64)(self._read_map)

    def card(self, row: int) -> Card:
        """Return the card of one row of the catalogue."""
        c = self.inputs.catalogue
        ra, dec = float(c["ra_deg"][row]), float(c["dec_deg"][row])
        tile = int(c["tile"][row])
        name = str(c["name"][row])
        pictures: list[Picture] = []
        for survey in self.inputs.surveys:
            pictures.extend(self._bands(survey, tile, ra, dec, name))
        for survey, model in self.inputs.models:
            if self.inputs.map_folder(survey, model).is_dir():
                pictures.append(self._map_picture(survey, model, ra, dec, name))
        badges = [str(c["class"][row])]
        if "truth_name" in c:
            badges.append("true" if c["truth_name"][row] else "false")
        return Card(name, badges, self._facts(row), pictures)

    def _facts(self, row: int) -> str:
        c = self.inputs.catalogue
        facts = [
            f"probability {c['prob'][row]:.3f}",
            f"RA {c['ra_deg'][row]:.4f}°",
            f"Dec {c['dec_deg'][row]:+.4f}°",
            f"{_count(c['n_models'][row], 'network')} in {_count(c['n_surveys'][row], 'survey')}",
        ]
        if np.isfinite(c["snr_peak"][row]):
            facts.append(f"S/N {c['snr_peak'][row]:.1f}")
        if np.isfinite(c["z"][row]):
            source = f" ({c['z_source'][row]})" if c["z_source"][row] else ""
            facts.append(f"z = {c['z'][row]:.2f}{source}")
        if np.isfinite(c["m500c_msun"][row]):
            facts.append(f"M500c = {c['m500c_msun'][row] / 1e14:.1f} × 10¹⁴ M☉")
        if c["known_name"][row]:
            apart = c["known_sep_arcsec"][row]
            digits = ".1f" if apart < 10 else ".0f"
            where = f" at {apart:{digits}}″" if np.isfinite(apart) else ""
            facts.append(f"{c['known_name'][row]}{where}")
        if "truth_name" in c and c["truth_name"][row]:
            facts.append(
                f"simulated: z = {c['truth_z'][row]:.2f}, "
                f"M500c = {c['truth_m500c_msun'][row] / 1e14:.1f} × 10¹⁴ M☉"
            )
        return " · ".join(facts)

    def _bands(self, survey: str, tile: int, ra: float, dec: float, name: str) -> list[Picture]:
        image = self._tile(survey, tile)
        if image is None:
            return []
        usual = min(DEFAULT_WIDTH_PX * image.pixel_scale_arcsec / 60, LARGEST_WIDTH_ARCMIN)
        width = float(self.widths.get(survey, usual))
        sky_ra, sky_dec = _grid(ra, dec, width)
        x, y = image.to_pixel(sky_ra.ravel(), sky_dec.ravel())
        covered = _sampled(image.covered.astype(np.float32), x, y, order=0) > 0.5
        if image.unit == DISPLAY and len(image.bands) == 3:
            rgb = np.stack([_sampled(plane, x, y, order=1) for plane in image.image], axis=-1)
            rgb[~covered] = np.nan
            title = f"{survey} {', '.join(image.bands)}"
            return [_finished(_displayed(rgb.reshape(SIDE_PX, SIDE_PX, 3)), title, width, name)]
        pictures = []
        for band, plane in zip(image.bands, image.image, strict=True):
            temperature = "K" in image.unit.split("_")[0]
            if temperature:
                plane = _smoothed(plane)
            level, noise = _level_and_noise(plane[image.covered])
            values = (_sampled(plane, x, y, order=1) - level) / noise
            values = np.where(covered, values, np.nan).reshape(SIDE_PX, SIDE_PX)
            rgb = _diverging(values) if temperature else _stretched(values)
            pictures.append(_finished(rgb, f"{survey} {band}", width, name))
        return pictures

    def _map_picture(self, survey: str, model: str, ra: float, dec: float, name: str) -> Picture:
        width = self._map_width()
        sky_ra, sky_dec = _grid(ra, dec, width)
        values = self._map_values(survey, model, sky_ra.ravel(), sky_dec.ravel())
        top = 8.0 if model == FILTER else 1.0
        rgb = _coloured(values.reshape(SIDE_PX, SIDE_PX) / top, figures.MAP_COLOURS)
        what = "S/N 0 to 8" if model == FILTER else "probability"
        return _finished(rgb, f"{survey} {model}: {what}", width, name)

    def _map_width(self) -> float:
        pixel = 60 * np.sqrt(sky.cell_area_deg2(self.inputs.release.map_order))
        return float(24 * pixel)

    def _map_values(self, survey: str, model: str, ra: np.ndarray, dec: np.ndarray) -> np.ndarray:
        map_order = self.inputs.release.map_order
        cell = sky.owning_cell(ra, dec, map_order)
        tile = sky.ancestor(cell, map_order, self.order)
        values = np.full(cell.size, np.nan)
        for number in np.unique(tile):
            found = self._map(survey, model, int(number))
            if found is not None:
                rows = tile == number
                values[rows] = found[cell[rows] - number * found.size]
        return values

    def _read_tile(self, survey: str, tile: int) -> TileImage | None:
        path = self.inputs.root / "tiles" / survey / sky.shard_path(tile, self.order, ".fits")
        return _or_none(read_tile, path)

    def _read_map(self, survey: str, model: str, tile: int) -> np.ndarray | None:
        folder = self.inputs.map_folder(survey, model)
        return _or_none(read_map_tile, tile_path(folder, tile, self.order))


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _or_none(read: Callable[[Path], T], path: Path) -> T | None:
    """Return what a file holds; a report without one image is better than no report."""
    try:
        return read(path)
    except ClusterscanError:
        return None


def _grid(ra_deg: float, dec_deg: float, width_arcmin: float) -> tuple[np.ndarray, np.ndarray]:
    """Return positions of a SIDE_PX square's pixels, north up (first row), east to the left."""
    half = (SIDE_PX - 1) / 2
    step = np.radians(width_arcmin / 60 / SIDE_PX)
    y, x = np.mgrid[0:SIDE_PX, 0:SIDE_PX]
    east, north = (half - x) * step, (half - y) * step
    ra0, dec0 = np.radians(ra_deg), np.radians(dec_deg)
    # Inverse gnomonic projection (Calabretta & Greisen 2002, A&A 395, 1077, section 5.1.3).
    depth = np.cos(dec0) - north * np.sin(dec0)
    ra = ra0 + np.arctan2(east, depth)
    dec = np.arctan2(np.sin(dec0) + north * np.cos(dec0), np.hypot(east, depth))
    return np.degrees(ra) % 360.0, np.degrees(dec)


def _sampled(plane: np.ndarray, x: np.ndarray, y: np.ndarray, *, order: int) -> np.ndarray:
    """Return an image at pixel positions, NaN (order 1) or 0 (order 0) outside."""
    from scipy.ndimage import map_coordinates

    outside = np.nan if order else 0.0
    at = np.array([np.nan_to_num(y, nan=-1e9), np.nan_to_num(x, nan=-1e9)])
    return map_coordinates(plane, at, order=order, cval=outside, prefilter=False)


def _smoothed(plane: np.ndarray) -> np.ndarray:
    from scipy.ndimage import gaussian_filter

    return gaussian_filter(plane, SMOOTHING_PX)


def _level_and_noise(values: np.ndarray) -> tuple[float, float]:
    if not values.size:
        return 0.0, 1.0
    level = float(np.median(values))
    noise = 1.4826 * float(np.median(np.abs(values - level)))
    return level, noise if noise > 0 else 1.0


def _stretched(values: np.ndarray) -> np.ndarray:
    """Return grey levels of values in units of the noise: asinh from -2 to the brightest."""
    top = max(float(np.nanpercentile(values, 99.7)), 20.0) if np.isfinite(values).any() else 20.0
    scaled = np.arcsinh((values + 2) / 3) / np.arcsinh((top + 2) / 3)
    return _coloured(scaled, "gray")


def _displayed(values: np.ndarray) -> np.ndarray:
    """Return colours (ny, nx, 3) of an image whose bands are red, green and blue already."""
    rgb = np.clip(np.rint(np.nan_to_num(values)), 0, 255).astype(np.uint8)
    rgb[~np.isfinite(values).all(axis=-1)] = NO_DATA
    return rgb


def _diverging(values: np.ndarray) -> np.ndarray:
    return _coloured((np.arcsinh(values / 2) / np.arcsinh(2.5) + 1) / 2, "RdBu_r")


def _coloured(scaled: np.ndarray, colours: str) -> np.ndarray:
    from matplotlib import colormaps

    rgb = colormaps[colours](np.clip(np.nan_to_num(scaled), 0, 1), bytes=True)[..., :3].copy()
    rgb[~np.isfinite(scaled)] = NO_DATA
    return rgb


def _finished(rgb: np.ndarray, title: str, width_arcmin: float, name: str) -> Picture:
    """Draw the cross hair and the bar, and describe the image."""
    middle, gap, arm = SIDE_PX // 2, 9, 10
    # East and north of the position only, so that nothing covers what lies on the other sides.
    for rows, columns in (
        (slice(middle - 1, middle + 1), slice(middle - gap - arm, middle - gap)),
        (slice(middle - gap - arm, middle - gap), slice(middle - 1, middle + 1)),
    ):
        rgb[rows, columns] = (238, 130, 0)
    bar = max((b for b in BAR_ARCMIN if b <= 0.4 * width_arcmin), default=BAR_ARCMIN[0])
    length = max(round(bar / width_arcmin * SIDE_PX), 2)
    rgb[SIDE_PX - 10 : SIDE_PX - 5, 5 : length + 7] = (20, 20, 20)
    rgb[SIDE_PX - 9 : SIDE_PX - 6, 6 : length + 6] = (255, 255, 255)
    alt = f"{title} around {name}, {_length(width_arcmin)} wide, north up, east left"
    return figures.image_png(rgb, alt, f"{title}, bar {_length(bar)}")


def _length(arcmin: float) -> str:
    return f"{arcmin:.3g}′" if arcmin >= 0.5 else f"{60 * arcmin:.3g}″"
