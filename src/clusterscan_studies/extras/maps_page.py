"""The picture page of the probability maps: a column a place, a row a network."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from clusterscan.publish import figures
from clusterscan.publish.inputs import Picture
from clusterscan.report.stretch import as_rgb
from clusterscan_studies.extras.probability_maps import Field

TITLES = {"known": "clusters", "random": "random fields", "star": "bright stars"}
_COLOURS = "viridis"  # no grey in it, which is for missing data here
_PANEL_INCHES = 0.92
_LABEL_INCHES = 1.3


def map_pictures(
    title: str,
    fields: list[Field],
    images: list[np.ndarray],
    maps: dict[str, np.ndarray],
    side_arcmin: float,
    unit: str,
) -> list[Picture]:
    """Draw the maps, one figure for each kind of place.

    Parameters
    ----------
    title : str
        The data set's.
    fields : list of Field
        The places.
    images : list of float32 ndarray, shape (bands, n, n)
        Their images, first row south, first column east.
    maps : dict of str to float32 ndarray, shape (fields, cells, cells)
        Network's title -> probability; NaN: no data.
    side_arcmin : float
        Side of a map [arcmin].
    unit : str
        Unit of the images.
    """
    pictures = []
    for kind, plural in TITLES.items():
        rows = [number for number, field in enumerate(fields) if field.kind == kind]
        if not rows:
            continue
        with figures.style():
            figure = _figure([images[r] for r in rows], unit, {k: v[rows] for k, v in maps.items()})
            caption = (
                f"{title}: {len(rows)} {plural} that no network has learnt from. Top row: the "
                f"image; then each network's probability, from 0 (dark) to 1 (bright). Each field "
                f"is {side_arcmin:g}' wide, north up, east to the left; grey: no data."
            )
            alt = f"Probability maps of {len(maps)} networks around {plural}, {title}"
            pictures.append(figures.png(figure, alt, caption, dpi=100, wide=True))
    return pictures


def _figure(images: list[np.ndarray], unit: str, maps: dict[str, np.ndarray]) -> Figure:
    rows, columns = len(maps) + 1, len(images)
    size = (_LABEL_INCHES + columns * _PANEL_INCHES, rows * _PANEL_INCHES)
    figure = figures.new_figure(*size)
    axes = figure.subplots(rows, columns, squeeze=False)
    for panel in axes.ravel():
        panel.set(xticks=[], yticks=[], facecolor="#c8ccd1")
        panel.grid(visible=False)
    for column, image in enumerate(images):
        axes[0, column].imshow(as_rgb(image, unit))
    for row, values in enumerate(maps.values(), start=1):
        for column, value in enumerate(values):
            axes[row, column].imshow(value, origin="lower", cmap=_COLOURS, vmin=0, vmax=1)
    for row, title in enumerate(["image", *maps]):
        axes[row, 0].set_ylabel(title, rotation=0, ha="right", va="center", fontsize=8, labelpad=6)
    return figure
