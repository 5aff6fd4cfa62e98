"""The picture and the table of a network's map of a real ROSAT field."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from clusterscan.publish import figures
from clusterscan.publish.inputs import Picture
from clusterscan_studies.extras.rosat_field import RosatField

_MARKS = ("o", "s", "D", "^")
_FOUND_RANK = 0.05


def field_picture(
    title: str, field: RosatField, values: np.ndarray, clusters: pd.DataFrame, found: pd.DataFrame
) -> Picture:
    """Draw the photons and the probability side by side, clusters and peaks marked.

    Parameters
    ----------
    title : str
        The network's.
    field : RosatField
        The field.
    values : float ndarray, shape (ny, nx)
        Probability; NaN: no data.
    clusters, found : DataFrame
        Of `judged_clusters` and `peaks`.
    """
    with figures.style():
        figure = figures.new_figure(9.6, 4.7)
        left, right = figure.subplots(1, 2)
        seen = field.image.mask == 0
        photons = np.where(seen, np.sqrt(field.image.image[0]), np.nan)
        left.imshow(photons, origin="lower", cmap="magma", vmax=np.nanquantile(photons, 0.998))
        left.set_title("photons, 0.42-2.01 keV, smoothed", fontsize=9)
        shown = right.imshow(values, origin="lower", cmap=figures.MAP_COLOURS, vmin=0, vmax=1)
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
            "a network makes of it that learnt from simulated ROSAT images alone. Marked: "
            "clusters of published catalogues; most of the optical ones are too faint for the "
            "3 ks that ROSAT looked."
        )
        alt = "ROSAT photons and a network's probability around Abell 3158, known clusters marked"
        return figures.png(figure, alt, caption, dpi=110, wide=True)


def _mark(axes: Any, clusters: pd.DataFrame) -> None:
    for mark, (name, rows) in zip(_MARKS, clusters.groupby("catalogue"), strict=False):
        axes.plot(
            rows["x"], rows["y"], mark, mfc="none", mec="#56B4E9", ms=9, ls="none", label=str(name)
        )


def _legend(figure: Figure, left: Any, right: Any) -> None:
    handles, labels = right.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), fontsize=8)


def field_rows(clusters: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the table's rows, as plain values: nearest to the axis first."""
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
    """Return in words what the map shows."""
    judged = clusters[clusters["rank"].notna()]
    good = int((judged["rank"] < _FOUND_RANK).sum())
    matched = int((found["cluster"] != "").sum())
    return (
        f"{good} of {len(judged)} listed clusters in the field stand among the highest "
        f"{100 * _FOUND_RANK:g} % of random places (by chance "
        f"{_FOUND_RANK * len(judged):.1f}); of {len(found)} peaks "
        f"{matched} lie at a listed cluster."
    )
