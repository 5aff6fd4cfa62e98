"""Galleries of the most confident correct and wrong predictions, with attribution maps."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from clusterscan.core.errors import ProductError
from clusterscan.measure.labelled import Labelled
from clusterscan.report import look
from clusterscan.report.stretch import as_rgb, on_image, overlaid

TRUE_POSITIVES, FALSE_POSITIVES = "true positives", "false positives"
FALSE_NEGATIVES, TRUE_NEGATIVES = "false negatives", "true negatives"
KINDS = (TRUE_POSITIVES, FALSE_POSITIVES, FALSE_NEGATIVES, TRUE_NEGATIVES)
_SIDE = 1.45  # of an image [inch]


@dataclass(frozen=True)
class Stamp:
    """One image of an example, ready to draw.

    Attributes
    ----------
    rgb : uint8 ndarray, shape (ny, nx, 3)
        First row on top.
    name : str
        Name of the survey if there are several.
    attribution : float ndarray, shape (h, w), or None
        From 0 to 1, first row at the bottom.
    width : str
        Width of the image on the sky, e.g. "20.0″ wide".
    """

    rgb: np.ndarray
    name: str = ""
    attribution: np.ndarray | None = None
    width: str = ""


@dataclass(frozen=True)
class Entry:
    """One example of the gallery: its name, a caption and its images."""

    name: str
    caption: str
    stamps: Sequence[Stamp] = field(default_factory=tuple)


def most_confident(
    data: Labelled, count: int, *, positive: int | None = None
) -> dict[str, np.ndarray]:
    """Choose the rows of the most confident correct and wrong predictions.

    Parameters
    ----------
    data : Labelled
        Only the most confident view of each object is chosen.
    count : int
        Largest number of each kind.
    positive : int, optional
        The class that counts as positive; by default that of ``data``.

    Returns
    -------
    dict of str to int64 ndarray
        Rows of each of ``KINDS``, the most confident first; ties by row.
    """
    c = data.positive if positive is None else positive
    is_true, is_said, chance = data.label == c, data.predicted == c, data.probability[:, c]
    kinds = {
        TRUE_POSITIVES: (is_true & is_said, -chance),
        FALSE_POSITIVES: (~is_true & is_said, -chance),
        FALSE_NEGATIVES: (is_true & ~is_said, chance),
        TRUE_NEGATIVES: (~is_true & ~is_said, chance),
    }
    found = {}
    for kind, (mask, order) in kinds.items():
        rows = np.flatnonzero(mask)
        rows = rows[np.argsort(order[rows], kind="stable")]
        # The rows are sorted by confidence, so the first row of each object is its most confident
        # view.
        _, first = np.unique(data.object[rows], return_index=True)
        found[kind] = rows[np.sort(first)[:count]]
    return found


def stamp(
    image: np.ndarray,
    unit: str = "",
    *,
    name: str = "",
    pixel_scale_arcsec: float | None = None,
    attribution: np.ndarray | None = None,
    rgb: tuple[int, int, int] | None = None,
) -> Stamp:
    """Convert an example's image to a `Stamp`.

    Parameters
    ----------
    image : float ndarray, shape (bands, ny, nx)
        See `clusterscan.report.stretch.as_rgb`, also for ``unit`` and ``rgb``.
    name : str
        Name of the survey.
    pixel_scale_arcsec : float, optional
        Size of a pixel [arcsec].
    attribution : float ndarray, shape (h, w), optional
        Importance of each part of the image, from 0 to 1.

    Raises
    ------
    ProductError
        If the image or the attribution has the wrong number of axes.
    """
    if np.ndim(image) != 3:
        raise ProductError(f"gallery: image {np.shape(image)} must be (bands, y, x)")
    if attribution is not None and np.ndim(attribution) != 2:
        raise ProductError(f"gallery: attribution {np.shape(attribution)} must be (y, x)")
    width = "" if pixel_scale_arcsec is None else _angle(np.shape(image)[2] * pixel_scale_arcsec)
    return Stamp(as_rgb(image, unit, rgb=rgb), name, attribution, width)


def caption(data: Labelled, row: int, *, positive: int | None = None) -> str:
    """Write the probability of a row and, if it is not the positive class, its true class."""
    c = data.positive if positive is None else positive
    text = f"p {_probability(data.probability[row, c])}"
    if len(data.classes) > 2 and data.label[row] != c:
        text += f" ({data.classes[data.label[row]]})"
    return text


def plot_gallery(
    groups: Mapping[str, Sequence[Entry]], path: Path, *, title: str = "", columns: int = 6
) -> None:
    """Draw a gallery: the examples of each group with all their images.

    Parameters
    ----------
    groups : mapping of str to sequence of Entry
        Examples by the title of their group; an empty group gets the line "none".
    path : Path
        PNG, SVG or PDF.
    title : str
        Title of the figure.
    columns : int
        Number of examples side by side.
    """
    strips = [s for name, entries in groups.items() for s in _strips(name, entries, columns)]
    used = max([columns if len(s.entries) >= columns else len(s.entries) for s in strips] or [1])
    heights = [strip.height for strip in strips] or [1.0]
    with look.style():
        figure = look.new_figure(max(used, 3) * (_SIDE + 0.12) + 0.3, sum(heights) + 0.5)
        figure.set_layout_engine("constrained", w_pad=0.02, h_pad=0.02, hspace=0.0, wspace=0.0)
        parts = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
        for part, strip in zip(parts, strips, strict=False):
            _draw_strip(part, strip, max(used, 3))
        if title:
            figure.suptitle(title, fontsize=11)
        look.save(figure, path)


@dataclass(frozen=True)
class _Strip:
    """Entries side by side, with one row per image and one per attribution map."""

    title: str
    entries: Sequence[Entry]

    @property
    def rows(self) -> list[tuple[int, bool]]:
        """Number of the image in each row, and True for its attribution map."""
        most = max((len(entry.stamps) for entry in self.entries), default=0)
        out = []
        for k in range(most):
            out.append((k, False))
            if any(len(e.stamps) > k and e.stamps[k].attribution is not None
                   for e in self.entries):  # fmt: skip
                out.append((k, True))
        return out

    @property
    def height(self) -> float:
        """Height of the strip [inches]."""
        title = 0.3 if self.title else 0.0
        return title + (0.34 + len(self.rows) * (_SIDE + 0.05) if self.entries else 0.1)


def _strips(name: str, entries: Sequence[Entry], columns: int) -> list[_Strip]:
    title = f"{name[:1].upper()}{name[1:]} ({len(entries)})"
    if not entries:
        return [_Strip(f"{name[:1].upper()}{name[1:]}: none", ())]
    pieces = [entries[i : i + columns] for i in range(0, len(entries), columns)]
    return [_Strip(title if n == 0 else "", piece) for n, piece in enumerate(pieces)]


def _draw_strip(part: Figure, strip: _Strip, columns: int) -> None:
    if strip.title:
        part.suptitle(strip.title, x=0.01, ha="left", fontsize=10.5, fontweight="bold")
    rows = strip.rows
    if not rows:
        return
    grid = part.subplots(len(rows), columns, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for column, entry in enumerate(strip.entries):
        for line, (which, with_attribution) in enumerate(rows):
            if which < len(entry.stamps):
                _draw(grid[line, column], entry.stamps[which], with_attribution, column == 0)
        text = "\n".join([*textwrap.wrap(entry.name, 22)[:2], entry.caption])
        grid[0, column].set_title(text, fontsize=7.5, pad=3)


def _draw(axes: Axes, shown: Stamp, with_attribution: bool, is_first: bool) -> None:
    rgb = shown.rgb
    if with_attribution:
        if shown.attribution is None:
            return
        rgb = overlaid(rgb, shown.attribution)
        weight = on_image(shown.attribution, rgb.shape[:2])
        if weight.min() < 0.5 < weight.max():
            axes.contour(weight, levels=[0.5], colors="white", linewidths=0.8)
    axes.set_axis_on()
    axes.imshow(rgb, interpolation="nearest")
    axes.set(xticks=[], yticks=[])
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    if is_first:
        what = [shown.name, "attribution" if with_attribution else shown.width]
        axes.set_ylabel(", ".join(w for w in what if w), fontsize=7.5)


def _probability(value: float) -> str:
    """Format a probability with enough digits to distinguish it from 0 and 1."""
    if 0.0005 <= value < 0.9995:
        return f"= {value:.3f}"
    return "> 0.999" if value > 0.5 else "< 0.001"


def _angle(arcsec: float) -> str:
    return f"{arcsec:.3g}″ wide" if arcsec < 120 else f"{arcsec / 60:.3g}′ wide"
