"""The report's candidate gallery: images of each survey and maps around the best candidates.

All images have north up and east to the left, whatever the orientation of their tile.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

import numpy as np

from clusterscan.core import sky
from clusterscan.core.errors import ClusterscanError
from clusterscan.formats.catalogue_columns import FILTER
from clusterscan.formats.map_tile import read_map_tile, tile_path
from clusterscan.formats.tile_image import TileImage, read_tile
from clusterscan.publish.report_inputs import ReportInputs, Scores
from clusterscan.report import look
from clusterscan.report.document import Card, Group, Picture, Section
from clusterscan.report.stretch import DISPLAY, as_rgb, background, coloured, is_temperature

SIDE_PX = 112
SMOOTHING_PX = 1.5  # of microwave maps, in which single pixels show only noise
WIDTH_PX = 120  # survey pixels across an image, unless the configuration sets a width
LARGEST_WIDTH_ARCMIN = 24.0  # the default width stays within a tile's halo
BAR_ARCMIN = (1 / 30, 1 / 12, 1 / 6, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0)

T = TypeVar("T")


def gallery_section(inputs: ReportInputs, scores: Scores, count: int) -> Section:
    """Return the section with images of the best candidates of each kind.

    Parameters
    ----------
    inputs : ReportInputs
        Tile images and maps are read below its root.
    scores : Scores
        Gives the probability threshold of candidates.
    count : int
        Cards of each kind.
    """
    painter = _Painter(inputs)
    groups = [
        Group(title, lead, [painter.card(int(row)) for row in rows[:count]])
        for title, lead, rows in _kinds(inputs, scores)
        if rows.size
    ]
    return Section(
        "gallery",
        "Candidates",
        "The most probable candidates of each kind, with each band and map around them. North is "
        "up, east to the left; the cross hair marks the catalogue position, the white bar the "
        "length given. Infrared and optical brightness is asinh-stretched; microwave maps, "
        "slightly smoothed, are blue where colder and red where hotter than the mean. Grey: no "
        "data.",
        groups=groups,
        notes=[] if groups else ["No object reaches the probability threshold."],
    )


def _kinds(inputs: ReportInputs, scores: Scores) -> list[tuple[str, str, np.ndarray]]:
    """Return title, lead and catalogue rows (by falling probability) of each kind."""
    catalogue = inputs.catalogue
    above = catalogue["prob"] >= scores.threshold
    test = catalogue["split"] == scores.region
    # On other sky the networks have seen the answers, so it would show no failures.
    above &= test if test.any() else True
    known = catalogue["class"] != "new"
    where = f"on the {scores.region} region" if test.any() else "on the whole sky searched"
    if "truth_name" not in catalogue:
        kinds = [
            ("New candidates", "In no known catalogue", ~known),
            ("Known objects found", "In a known catalogue", known),
        ]
    else:
        true = catalogue["truth_name"] != ""
        kinds = [
            ("New clusters", "In no known catalogue, but true clusters of the simulation",
             ~known & true),
            ("Known clusters found again", "In a known catalogue", known),
            ("False candidates", "As probable as the others, but not simulated clusters",
             ~known & ~true),
        ]  # fmt: skip
    return [(title, f"{lead}; {where}.", np.flatnonzero(above & m)) for title, lead, m in kinds]


class _Painter:
    """Paints cards; tile images and maps are kept for the next cards of the same tile."""

    def __init__(self, inputs: ReportInputs):
        self.inputs = inputs
        self.order = inputs.release.tile_order
        # The best candidates of a kind often lie on the same tile. Caches belong to the instance,
        # so they end with the report.
        self._tile = lru_cache(maxsize=6)(self._read_tile)
        self._map = lru_cache(maxsize=64)(self._read_map)

    def card(self, row: int) -> Card:
        """Return the card of one row of the catalogue."""
        c = self.inputs.catalogue
        ra, dec = float(c["ra_deg"][row]), float(c["dec_deg"][row])
        name = str(c["name"][row])
        pictures: list[Picture] = []
        for survey in self.inputs.surveys:
            pictures.extend(self._images(survey, int(c["tile"][row]), ra, dec, name))
        for survey, model in self.inputs.models:
            if self.inputs.map_folder(survey, model).is_dir():
                pictures.append(self._map_image(survey, model, ra, dec, name))
        badges = [str(c["class"][row])]
        if "truth_name" in c:
            badges.append("true" if c["truth_name"][row] else "false")
        return Card(name, badges, self._facts(row), pictures)

    def _facts(self, row: int) -> str:
        def count(number: int, noun: str) -> str:
            return f"{number} {noun}{'' if number == 1 else 's'}"

        c = {name: values[row] for name, values in self.inputs.catalogue.items()}
        facts = [
            f"probability {c['prob']:.3f}",
            f"RA {c['ra_deg']:.4f}°",
            f"Dec {c['dec_deg']:+.4f}°",
            f"{count(c['n_models'], 'network')} in {count(c['n_surveys'], 'survey')}",
        ]
        if np.isfinite(c["snr_peak"]):
            facts.append(f"S/N {c['snr_peak']:.1f}")
        if np.isfinite(c["z"]):
            facts.append(f"z = {c['z']:.2f}" + (f" ({c['z_source']})" if c["z_source"] else ""))
        if np.isfinite(c["m500c_msun"]):
            facts.append(f"M500c = {c['m500c_msun'] / 1e14:.1f} × 10¹⁴ M☉")
        if c["known_name"]:
            apart = c["known_sep_arcsec"]
            digits = ".1f" if apart < 10 else ".0f"
            where = f" at {apart:{digits}}″" if np.isfinite(apart) else ""
            facts.append(f"{c['known_name']}{where}")
        if c.get("truth_name"):
            mass = c["truth_m500c_msun"] / 1e14
            facts.append(f"simulated: z = {c['truth_z']:.2f}, M500c = {mass:.1f} × 10¹⁴ M☉")
        return " · ".join(facts)

    def _images(self, survey: str, tile: int, ra: float, dec: float, name: str) -> list[Picture]:
        """Return one picture per band, or one in colour if the survey's images are in colour."""
        image = self._tile(survey, tile)
        if image is None:
            return []
        width = min(WIDTH_PX * image.pixel_scale_arcsec / 60, LARGEST_WIDTH_ARCMIN)
        sky_ra, sky_dec = north_up_grid(ra, dec, width)
        x, y = image.to_pixel(sky_ra.ravel(), sky_dec.ravel())
        covered = _sampled(image.covered.astype(np.float32), x, y, order=0) > 0.5

        def resampled(plane: np.ndarray) -> np.ndarray:
            values = np.where(covered, _sampled(plane, x, y, order=1), np.nan)
            return values.reshape(SIDE_PX, SIDE_PX)[::-1]  # `as_rgb` takes the first row as south

        if image.unit == DISPLAY and len(image.bands) == 3:
            rgb = as_rgb(np.array([resampled(plane) for plane in image.image]), image.unit)
            return [marked_picture(rgb, f"{survey} {', '.join(image.bands)}", width, name)]
        pictures = []
        for band, plane in zip(image.bands, image.image, strict=True):
            if is_temperature(image.unit):
                from scipy.ndimage import gaussian_filter

                plane = gaussian_filter(plane, SMOOTHING_PX)
            # The noise is that of the whole tile: a bright cluster may fill the small image.
            levels = [background(plane[image.covered])]
            rgb = as_rgb(resampled(plane)[None], image.unit, backgrounds=levels)
            pictures.append(marked_picture(rgb, f"{survey} {band}", width, name))
        return pictures

    def _map_image(self, survey: str, model: str, ra: float, dec: float, name: str) -> Picture:
        """Return the map of one model, 24 map pixels wide."""
        map_order = self.inputs.release.map_order
        width = float(24 * 60 * np.sqrt(sky.cell_area_deg2(map_order)))
        sky_ra, sky_dec = north_up_grid(ra, dec, width)
        cell = sky.owning_cell(sky_ra.ravel(), sky_dec.ravel(), map_order)
        tile = sky.ancestor(cell, map_order, self.order)
        values = np.full(cell.size, np.nan)
        for number in np.unique(tile):
            found = self._map(survey, model, int(number))
            if found is not None:
                rows = tile == number
                values[rows] = found[cell[rows] - number * found.size]
        top, label = (8.0, "S/N 0 to 8") if model == FILTER else (1.0, "probability")
        rgb = coloured(values.reshape(SIDE_PX, SIDE_PX) / top, look.MAP_COLOURS)
        return marked_picture(rgb, f"{survey} {model}: {label}", width, name)

    def _read_tile(self, survey: str, tile: int) -> TileImage | None:
        shard = sky.shard_path(tile, self.order, ".fits")
        return _if_readable(read_tile, self.inputs.root / "tiles" / survey / shard)

    def _read_map(self, survey: str, model: str, tile: int) -> np.ndarray | None:
        if tile not in self.inputs.tiles:  # its map may still lie there, of a larger footprint
            return None
        folder = self.inputs.map_folder(survey, model)
        return _if_readable(read_map_tile, tile_path(folder, tile, self.order))


def _if_readable(read: Callable[[Path], T], path: Path) -> T | None:
    """Read a file, or return None: a damaged image must not stop the report."""
    try:
        return read(path)
    except ClusterscanError:
        return None


def north_up_grid(
    ra_deg: float, dec_deg: float, width_arcmin: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the positions of a SIDE_PX square's pixels, first row north, first column east."""
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
    # Positions off the projection are moved far outside, where `cval` applies.
    at = np.array([np.nan_to_num(y, nan=-1e9), np.nan_to_num(x, nan=-1e9)])
    return map_coordinates(plane, at, order=order, cval=outside, prefilter=False)


def marked_picture(rgb: np.ndarray, title: str, width_arcmin: float, name: str) -> Picture:
    """Draw the cross hair and a bar of a round length on an image, and describe it."""

    def length(arcmin: float) -> str:
        return f"{arcmin:.3g}′" if arcmin >= 0.5 else f"{60 * arcmin:.3g}″"

    middle, gap, arm = SIDE_PX // 2, 9, 10
    # East and north of the position only, so that the other sides stay free.
    for rows, columns in (
        (slice(middle - 1, middle + 1), slice(middle - gap - arm, middle - gap)),
        (slice(middle - gap - arm, middle - gap), slice(middle - 1, middle + 1)),
    ):
        rgb[rows, columns] = (238, 130, 0)
    # The longest round length that fits in 40 % of the picture.
    bar = max((b for b in BAR_ARCMIN if b <= 0.4 * width_arcmin), default=BAR_ARCMIN[0])
    bar_px = max(round(bar / width_arcmin * SIDE_PX), 2)
    rgb[SIDE_PX - 10 : SIDE_PX - 5, 5 : bar_px + 7] = (20, 20, 20)
    rgb[SIDE_PX - 9 : SIDE_PX - 6, 6 : bar_px + 6] = (255, 255, 255)
    alt = f"{title} around {name}, {length(width_arcmin)} wide, north up, east left"
    return look.array_picture(rgb, alt, f"{title}, bar {length(bar)}")
