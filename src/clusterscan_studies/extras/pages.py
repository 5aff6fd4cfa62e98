"""The extra sections of a study's page: probability maps of places, and a real ROSAT field.

Each extra reads its inputs, computes, and draws its pictures and its table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from clusterscan.report import look
from clusterscan.report.document import Picture
from clusterscan.report.stretch import as_rgb
from clusterscan_studies.config.extras import ProbabilityMapSettings, RosatFieldSettings
from clusterscan_studies.config.study import RunDataset
from clusterscan_studies.examples import read_dataset
from clusterscan_studies.extras import probability_maps, rosat_field
from clusterscan_studies.extras.probability_maps import Field
from clusterscan_studies.extras.rosat_field import RosatField
from clusterscan_studies.results import first_repeat
from clusterscan_studies.sources import base_config

Progress = Callable[[float, float, str], None]
Page = Callable[[Path, Mapping[str, Any], Progress], dict[str, Any]]
"""(study's folder, settings, progress) -> title, lead, pictures, header and rows of a table."""


def maps_part(root: Path, stage: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
    """Build the section with small probability maps around clusters, random fields and stars."""
    pictures = []
    for name, values in stage["settings"].items():
        settings = ProbabilityMapSettings(**values)
        dataset = RunDataset(**stage["datasets"][name])
        config, survey = base_config(dataset), dataset.surveys[0]
        examples = read_dataset(root, root / "examples" / f"{name}.json")
        fields = probability_maps.choose_fields(examples, settings, config.sky.tile_order)
        images = list(probability_maps.tile_images(config, survey, fields))
        networks = {stage["titles"][key]: first_repeat(root, key) for key in settings.experiments}
        found = probability_maps.map_fields(images, fields, networks, settings, progress)
        unit = config.surveys[survey].unit
        shown = (dataset.title, fields, found["images"], found["maps"], settings.side_arcmin, unit)
        pictures += map_pictures(*shown)
    return {
        "title": "Probability maps",
        "lead": "One crop for each position, of the first repeat's networks.",
        "pictures": [asdict(picture) for picture in pictures],
        "header": [],
        "rows": [],
    }


def rosat_part(root: Path, stage: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
    """Build the section on a real field, mapped by a network trained on simulated X-ray images."""
    settings = RosatFieldSettings.model_validate(stage["settings"])
    field = rosat_field.read_field(settings)
    progress(1, 4, "mapping the field")
    folder = first_repeat(root, settings.experiment)
    values = rosat_field.probability_map(field, folder, settings.step_px)
    known = rosat_field.known_clusters(field, settings)
    clusters = rosat_field.judged_clusters(field, values, known, settings)
    pixel_arcmin = field.image.pixel_scale_arcsec / 60.0
    found = rosat_field.with_partners(
        rosat_field.peaks(field, values, settings), clusters, pixel_arcmin, settings.match_arcmin
    )
    title = stage["titles"][settings.experiment]
    rows = field_rows(clusters)
    picture = field_picture(title, field, values, clusters, found)
    return {
        "title": "A real field",
        "lead": field_summary(clusters, found),
        "pictures": [asdict(picture)],
        "header": list(rows[0]) if rows else [],
        "rows": [list(row.values()) for row in rows],
    }


PAGES: dict[str, Page] = {"probability_maps": maps_part, "rosat_field": rosat_part}


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
        Title of the data set.
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
        with look.style():
            figure = _figure([images[r] for r in rows], unit, {k: v[rows] for k, v in maps.items()})
            caption = (
                f"{title}: {len(rows)} {plural} that no network was trained on. Top row: the "
                f"image; then each network's probability, from 0 (dark) to 1 (bright). Each field "
                f"is {side_arcmin:g}' wide, north up, east to the left; grey: no data."
            )
            alt = f"Probability maps of {len(maps)} networks around {plural}, {title}"
            pictures.append(look.png_picture(figure, alt, caption, dpi=100, wide=True))
    return pictures


def _figure(images: list[np.ndarray], unit: str, maps: dict[str, np.ndarray]) -> Figure:
    rows, columns = len(maps) + 1, len(images)
    size = (_LABEL_INCHES + columns * _PANEL_INCHES, rows * _PANEL_INCHES)
    figure = look.new_figure(*size)
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


_MARKS = ("o", "s", "D", "^")
_FOUND_RANK = 0.05


def field_picture(
    title: str, field: RosatField, values: np.ndarray, clusters: pd.DataFrame, found: pd.DataFrame
) -> Picture:
    """Draw the photons and the probability side by side, clusters and peaks marked.

    Parameters
    ----------
    title : str
        Title of the network.
    field : RosatField
        The field.
    values : float ndarray, shape (ny, nx)
        Probability; NaN: no data.
    clusters, found : DataFrame
        From `judged_clusters` and `peaks`.
    """
    with look.style():
        figure = look.new_figure(9.6, 4.7)
        left, right = figure.subplots(1, 2)
        seen = field.image.mask == 0
        photons = np.where(seen, np.sqrt(field.image.image[0]), np.nan)
        left.imshow(photons, origin="lower", cmap="magma", vmax=np.nanquantile(photons, 0.998))
        left.set_title("photons, 0.42-2.01 keV, smoothed", fontsize=9)
        shown = right.imshow(values, origin="lower", cmap=look.MAP_COLOURS, vmin=0, vmax=1)
        right.set_title(f"probability: {title}", fontsize=9)
        figure.colorbar(shown, ax=right, shrink=0.8)
        for axes in (left, right):
            axes.set(xticks=[], yticks=[], facecolor="#c8ccd1")
            axes.grid(visible=False)
            _mark(axes, clusters)
        right.plot(found["x"], found["y"], "+", color="#D55E00", ms=8, label="peak of the map")
        _legend(figure, left, right)
        caption = (
            "The real ROSAT field of Abell 3158 (128' wide, north up, east to the left) and what "
            "a network trained on simulated ROSAT images alone makes of it. Marked: "
            "clusters of published catalogues; most of the optical ones are too faint for the "
            "3 ks that ROSAT looked."
        )
        alt = "ROSAT photons and a network's probability around Abell 3158, known clusters marked"
        return look.png_picture(figure, alt, caption, dpi=110, wide=True)


def _mark(axes: Any, clusters: pd.DataFrame) -> None:
    for mark, (name, rows) in zip(_MARKS, clusters.groupby("catalogue"), strict=False):
        axes.plot(
            rows["x"], rows["y"], mark, mfc="none", mec="#56B4E9", ms=9, ls="none", label=str(name)
        )


def _legend(figure: Figure, left: Any, right: Any) -> None:
    handles, labels = right.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), fontsize=8)


def field_rows(clusters: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of the table as plain values, sorted by distance from the axis."""
    return [
        {
            "catalogue": row["catalogue"],
            "cluster": row["name"],
            "redshift": _plain(row["z"], 3),
            "off axis [arcmin]": _plain(row["off_axis_arcmin"], 1),
            "photons within 1.5'": _plain(row["counts"], 0),
            "probability": _plain(row["probability"], 2),
            "rank among random places": _plain(row["rank"], 3),
        }
        for row in clusters.sort_values("off_axis_arcmin").to_dict("records")
    ]


def _plain(value: float, digits: int) -> float | None:
    return round(float(value), digits) if np.isfinite(value) else None


def field_summary(clusters: pd.DataFrame, found: pd.DataFrame) -> str:
    """Return a summary of the map in words."""
    judged = clusters[clusters["rank"].notna()]
    good = int((judged["rank"] < _FOUND_RANK).sum())
    matched = int((found["cluster"] != "").sum())
    return (
        f"{good} of {len(judged)} listed clusters in the field are among the highest "
        f"{100 * _FOUND_RANK:g} % of random places (by chance "
        f"{_FOUND_RANK * len(judged):.1f}); of {len(found)} peaks "
        f"{matched} lie at a listed cluster."
    )
