"""The report's views of the sky: the searched area, and the map of every model."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.colors import to_rgb
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from clusterscan.formats.catalogue_columns import FILTER
from clusterscan.formats.map_tile import read_map_tile, tile_path
from clusterscan.publish.report_inputs import ReportInputs, Scores
from clusterscan.report import look
from clusterscan.report.document import Picture, Section
from clusterscan.report.sky_frame import (
    SkyFrame,
    frame_covered,
    frame_regions,
    frame_values,
    sky_figure,
    sky_frames,
)

REGION_COLOURS = {"train": "#d6dee8", "validation": "#f3d9a4", "test": "#a9dcc8"}
FRAME_ORDERS = 4  # frames are fitted to cells this many orders finer than tiles
UNSEARCHED = "#9aa3ad"
MOST_MARKS = 1500  # of one kind in a picture
MOST_SQUARES = 100  # more known objects are not drawn on maps
UNCROWDED = 100  # more marks are drawn smaller
MOST_TRUTH = 60  # true clusters drawn on maps


class SkyViews:
    """Draws all views on the same frames with the same marks."""

    def __init__(self, inputs: ReportInputs, scores: Scores):
        self.inputs = inputs
        self.threshold = scores.threshold
        self.order = inputs.release.tile_order
        self.frames = sky_frames(*self._seen_cells())
        self.truth = select_truth(inputs)
        self.known = None if inputs.known is None else inputs.in_footprint(inputs.known)
        # Each map is drawn twice, in the coverage picture and by itself, but read once.
        self._values: dict[tuple[int, str, str], np.ndarray] = {}

    def _map_values(self, frame: SkyFrame, survey: str, model: str) -> np.ndarray | None:
        """Return a map on a frame, read only once, or None if there is no map."""
        folder = self.inputs.map_folder(survey, model)
        if not folder.is_dir():
            return None
        key = (self.frames.index(frame), survey, model)
        if key not in self._values:
            tiles = self.inputs.map_tiles(survey, model)
            self._values[key] = frame_values(frame, folder, tiles, self.order)
        return self._values[key]

    def _seen_cells(self) -> tuple[np.ndarray, int]:
        """Return the cells with a map value and their order, or the footprint without maps."""
        inputs = self.inputs
        # On a large footprint the tiles themselves are fine enough for a frame; reading every map
        # would take long.
        if len(inputs.tiles) > 300:
            return np.asarray(inputs.tiles), self.order
        found: list[np.ndarray] = []
        fine = 4**FRAME_ORDERS
        for survey, model in inputs.models:
            folder = inputs.map_folder(survey, model)
            for tile in inputs.map_tiles(survey, model):
                valid = np.isfinite(read_map_tile(tile_path(folder, tile, self.order)))
                # In nested order the pixels of each finer cell are consecutive, so a reshape groups
                # them.
                cells = np.flatnonzero(valid.reshape(fine, -1).any(axis=1))
                found.append(tile * fine + cells)
        if not found or not any(cells.size for cells in found):
            return np.asarray(inputs.tiles, dtype=np.int64), self.order
        return np.unique(np.concatenate(found)), self.order + FRAME_ORDERS

    def coverage_section(self) -> Section:
        """Return the section on the searched sky."""
        if not self.frames:
            return Section("sky", "Sky coverage", notes=["No tile of the footprint has a map."])
        return Section(
            "sky",
            "Sky coverage",
            f"{self.inputs.release.area_deg2:.2f} deg² on {len(self.inputs.tiles)} tiles were "
            "searched. Networks are trained on the training region. The validation region decides "
            "when training stops and how models are combined. Every measure in this report comes "
            "from the test region alone.",
            [self._coverage(frame, n) for n, frame in enumerate(self.frames)],
        )

    def maps_section(self) -> Section:
        """Return the section with the map of every model."""
        models = self.inputs.models
        crosses = (
            ""
            if self.truth is None
            else f"; orange crosses: the {MOST_TRUTH} most massive true clusters of the simulation"
        )
        drawn = [self._map(f, survey, model) for survey, model in models for f in self.frames]
        notes = [
            f"There is no map of {model} on {survey}."
            for survey, model in models
            if not self.inputs.map_folder(survey, model).is_dir()
        ]
        return Section(
            "maps",
            "Maps",
            f"One map for each model. The map of a network is its probability of a "
            f"{self.inputs.noun} at the centre of the window, that of a filter its "
            "signal-to-noise ratio. Each drawn pixel shows the largest value in it; sky that was "
            "not searched is white. White circles: candidates; blue squares: known "
            f"{self.inputs.noun}s, if there are at most {MOST_SQUARES}{crosses}.",
            [picture for picture in drawn if picture is not None],
            notes=notes,
        )

    def _coverage(self, frame: SkyFrame, number: int) -> Picture:
        with look.style():
            figure, axes = sky_figure(frame, wide=True)
            rgb = self._region_image(frame)
            axes.imshow(rgb, origin="lower", interpolation="nearest")
            handles: list[Any] = [*self._marks(axes, frame, dark_background=False)]
            if self.inputs.region_of is not None:
                handles += [
                    Patch(color=colour, label=f"{name} region")
                    for name, colour in REGION_COLOURS.items()
                ]
            handles.append(Patch(color=UNSEARCHED, label="no map"))
            figure.legend(handles=handles, loc="outside lower center", ncols=2, fontsize=8.5)
            return look.png_picture(
                figure,
                f"Map of the searched sky, patch {number + 1}, with regions and candidates",
                wide=True,
            )

    def _region_image(self, frame: SkyFrame) -> np.ndarray:
        covered = frame_covered(frame, self.inputs.tiles, self.order)
        rgb = np.ones((*frame.shape, 3))
        rgb[covered] = to_rgb(REGION_COLOURS["train"])
        if self.inputs.region_of is not None:
            names = frame_regions(frame, self.inputs.region_of)
            for name, colour in REGION_COLOURS.items():
                rgb[covered & (names == name)] = to_rgb(colour)
        maps = [self._map_values(frame, *each) for each in self.inputs.models]
        valid = [np.isfinite(values) for values in maps if values is not None]
        if valid:
            rgb[covered & ~np.any(valid, axis=0)] = to_rgb(UNSEARCHED)
        return rgb

    def _map(self, frame: SkyFrame, survey: str, model: str) -> Picture | None:
        values = self._map_values(frame, survey, model)
        if values is None:
            return None
        is_filter = model == FILTER
        top = filter_top(values) if is_filter else 1.0
        with look.style():
            figure, axes = sky_figure(frame)
            image = axes.imshow(
                np.clip(values, 0, top),
                origin="lower",
                cmap=look.MAP_COLOURS,
                vmin=0,
                vmax=top,
                interpolation="nearest",
            )
            label = "Signal-to-noise ratio" if is_filter else "Probability"
            figure.colorbar(image, ax=axes, label=label, shrink=0.75, pad=0.02)
            self._marks(axes, frame, dark_background=True)
            title = f"{model} on {survey}"
            return look.png_picture(figure, f"Map of {label.lower()} by {title}", title, dpi=150)

    def _marks(self, axes: Any, frame: SkyFrame, *, dark_background: bool) -> list[Line2D]:
        catalogue = self.inputs.catalogue
        best = catalogue["prob"] >= self.threshold
        above = f"candidate, probability ≥ {self.threshold:.2g}"
        candidate = "#ffffff" if dark_background else look.COLOURS[0]
        known = "#56B4E9" if dark_background else look.COLOURS[1]
        truth = self.truth
        if dark_background and truth is not None:  # all of them would hide the map
            truth = truth.sort_values(["m500c_msun", "ra_deg"], ascending=False)[:MOST_TRUTH]
        known_label = "known cluster" if self.truth is not None else "known object"
        layers = [
            (above, "o", candidate, catalogue["ra_deg"][best], catalogue["dec_deg"][best], 6),
            (known_label, "s", known, *_positions(self.known), 9),
            ("true cluster", "x", "#D55E00" if dark_background else "#1d2733",
             *_positions(truth), 3.5),
        ]  # fmt: skip
        handles = []
        for label, marker, colour, ra, dec, size in layers:
            inside = frame.contains(ra, dec)
            ra, dec = ra[inside][:MOST_MARKS], dec[inside][:MOST_MARKS]
            if not ra.size or (dark_background and ra.size > MOST_SQUARES and marker == "s"):
                continue
            # Many marks are drawn smaller, so that they do not hide each other and the map.
            size = max(size * min(1.0, np.sqrt(UNCROWDED / ra.size)), 2.0)
            x, y = frame.wcs.world_to_pixel_values(ra, dec)
            style: dict[str, Any] = {
                "marker": marker,
                "markersize": size if not dark_background else 0.7 * size,
                "markerfacecolor": "none",
                "markeredgecolor": colour,
                "markeredgewidth": 0.9 if not dark_background else 0.7,
                "linestyle": "none",
            }
            axes.plot(x, y, **style)
            shown = {**style, "markersize": 7, "markeredgewidth": 1.4}
            handles.append(Line2D([], [], label=label, **shown))
        ny, nx = frame.shape
        axes.set(xlim=(-0.5, nx - 0.5), ylim=(-0.5, ny - 0.5))
        return handles


def select_truth(inputs: ReportInputs) -> pd.DataFrame | None:
    """Return the true clusters within the completeness cut of the validation."""
    truth = inputs.truth
    if truth is None:
        return None
    cuts = inputs.config.get("validate", {}).get("completeness_cut", {})
    keep = np.ones(len(truth), dtype=bool)
    for column, (low, high) in cuts.items():
        if column in truth:
            values = truth[column].to_numpy(dtype=float)
            keep &= values >= (-np.inf if low is None else low)
            keep &= values <= (np.inf if high is None else high)
    return inputs.in_footprint(truth[keep])


def filter_top(values: np.ndarray) -> float:
    """Return the S/N at the upper end of a filter map's colours."""
    good = values[np.isfinite(values)]
    # At least 5, so that a map of pure noise looks like noise; at most 12, so that one bright
    # cluster does not hide the others.
    return float(np.clip(np.percentile(good, 99.9), 5.0, 12.0)) if good.size else 5.0


def _positions(table: pd.DataFrame | None) -> tuple[np.ndarray, np.ndarray]:
    if table is None:
        return np.zeros(0), np.zeros(0)
    return table["ra_deg"].to_numpy(dtype=float), table["dec_deg"].to_numpy(dtype=float)
