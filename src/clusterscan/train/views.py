"""Join surveys, stack or choose bands, and take rows of examples in memory."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from clusterscan.core.errors import ProductError
from clusterscan.train.examples import ARRAYS, Examples, View, check

log = logging.getLogger(__name__)


def join_views(surveys: Mapping[str, Examples]) -> Examples:
    """Unite the examples of several surveys, with one view for each survey.

    Parameters
    ----------
    surveys : mapping of str to Examples
        Examples of one view each. Rows with the same example_id are the same example; its
        position, weight and columns are those of the first survey that has it.

    Returns
    -------
    joined : Examples
        In the first survey's order, then the examples that only later surveys have. An image that
        a survey lacks is NaN and not ``present``.

    Raises
    ------
    ProductError
        If two surveys disagree about an example's label or split, or about the classes.
    """
    _refuse_other_classes(surveys)
    parts = list(surveys.values())
    first_part, first_row = _first_place(parts)
    for name, part in surveys.items():
        _refuse_disagreement(name, part, parts, first_part, first_row)
    # From each survey those examples that no survey before it has.
    rows_of = [
        np.array([row for name, row in first_row.items() if first_part[name] == i], dtype=int)
        for i in range(len(parts))
    ]
    arrays: dict[str, Any] = {
        key: np.concatenate([getattr(p, key)[r] for p, r in zip(parts, rows_of, strict=True)])
        for key in ARRAYS
    }
    views = tuple(_spread(name, part, list(first_part)) for name, part in surveys.items())
    columns = _joined_columns(parts, rows_of)
    joined = Examples(views=views, classes=parts[0].classes, columns=columns, **arrays)
    check(joined)
    return joined


def shown_by_all(examples: Examples) -> Examples:
    """Keep the examples that every survey has an image of.

    Raises
    ------
    ProductError
        If none is left, or none of a class in the train or validation split.
    """
    rows = np.flatnonzero(np.all([view.present for view in examples.views], axis=0))
    surveys = ", ".join(view.name for view in examples.views)
    remedy = (
        "sample the surveys with the same catalogues (surveys.*.sample.catalogues) and densities, "
        "or set examples: any"
    )
    if not rows.size:
        raise ProductError(f"no example is shown by all of {surveys}; {remedy}")
    common = take(examples, rows)
    for split in ("train", "validation"):
        for label, name in enumerate(examples.classes):
            before, left = (len(e.rows(split, label)) for e in (examples, common))
            log.info("%s: %d of %d examples of %s in all surveys", split, left, before, name)
            if before and not left:
                raise ProductError(
                    f"of {before} examples of class {name!r} in the {split} split none is shown "
                    f"by all of {surveys}; {remedy}"
                )
    return common


def take(examples: Examples, rows: np.ndarray) -> Examples:
    """Return the examples in ``rows`` (row numbers), in this order."""
    views = tuple(
        replace(view, images=view.images[rows], present=view.present[rows])
        for view in examples.views
    )
    arrays = {key: getattr(examples, key)[rows] for key in ARRAYS}
    columns = {name: values[rows] for name, values in examples.columns.items()}
    return replace(examples, views=views, columns=columns, **arrays)


def _first_place(parts: Sequence[Examples]) -> tuple[dict[str, int], dict[str, int]]:
    """Find the first part that has each example, and its row there, in order of appearance."""
    which: dict[str, int] = {}
    row: dict[str, int] = {}
    for i, part in enumerate(parts):
        for j, name in enumerate(part.example_id.tolist()):
            if name not in which:
                which[name], row[name] = i, j
    return which, row


def _refuse_other_classes(surveys: Mapping[str, Examples]) -> None:
    names = list(surveys)
    for name in names[1:]:
        if surveys[name].classes != surveys[names[0]].classes:
            raise ProductError(
                f"survey {name} has the classes {surveys[name].classes}, but {names[0]} "
                f"{surveys[names[0]].classes}; label both in the same way"
            )


def _refuse_disagreement(
    name: str,
    part: Examples,
    parts: Sequence[Examples],
    first_part: dict[str, int],
    first_row: dict[str, int],
) -> None:
    for j, example in enumerate(part.example_id.tolist()):
        other, i = parts[first_part[example]], first_row[example]
        for key in ("label", "split"):
            mine, theirs = getattr(part, key)[j], getattr(other, key)[i]
            if mine != theirs:
                raise ProductError(
                    f"example {example!r} has {key} {str(mine)!r} in survey {name}, but "
                    f"{str(theirs)!r} in another; sample both surveys with the same catalogues "
                    "and regions"
                )


def _spread(name: str, part: Examples, order: Sequence[str]) -> View:
    """Spread a survey's view over the rows of all examples."""
    (view,) = part.views
    row_of = {example: j for j, example in enumerate(part.example_id.tolist())}
    rows = np.array([row_of.get(example, -1) for example in order])
    has = rows >= 0
    images = np.full((len(order), *view.images.shape[1:]), np.nan, dtype=view.images.dtype)
    images[has] = view.images[rows[has]]
    present = np.zeros(len(order), dtype=bool)
    present[has] = view.present[rows[has]]
    return replace(view, name=name, images=images, present=present)


def _joined_columns(
    parts: Sequence[Examples], rows_of: Sequence[np.ndarray]
) -> dict[str, np.ndarray]:
    names = list(dict.fromkeys(name for part in parts for name in part.columns))
    out = {}
    for name in names:
        # A column that is text in one survey is text in all, or numpy could not join the pieces.
        text = any(p.columns[name].dtype.kind == "U" for p in parts if name in p.columns)
        pieces = []
        for part, rows in zip(parts, rows_of, strict=True):
            if name in part.columns:
                piece = part.columns[name][rows]
                pieces.append(piece.astype(str) if text else piece)
            else:
                pieces.append(np.full(len(rows), "" if text else np.nan))
        out[name] = np.concatenate([piece for piece in pieces if len(piece)])
    return out


def stack_views(examples: Examples) -> Examples:
    """Stack the bands of all views into one image; bands that a survey lacks are NaN.

    Raises
    ------
    ProductError
        If the views differ in size or scale.
    """
    first = examples.views[0]
    for view in examples.views[1:]:
        mine = (view.size_px, view.pixel_scale_arcsec)
        if mine != (first.size_px, first.pixel_scale_arcsec):
            raise ProductError(
                f"survey {view.name} has images of {mine[0]} px at {mine[1]} arcsec, but "
                f"{first.name} {first.size_px} px at {first.pixel_scale_arcsec}; sample both "
                "with the same size_px and pixel scale, or train a fusion network on them"
            )
    bands = [(view.name, band) for view in examples.views for band in view.bands]
    # Surveys may use the same names of bands; they then get the survey's name in front.
    unique = len({band for _, band in bands}) == len(bands)
    units = list(dict.fromkeys(view.unit for view in examples.views))
    stacked = View(
        name="+".join(view.name for view in examples.views),
        images=np.concatenate([view.images for view in examples.views], axis=1),
        bands=tuple(band if unique else f"{survey}_{band}" for survey, band in bands),
        pixel_scale_arcsec=first.pixel_scale_arcsec,
        unit=", ".join(units),
        present=np.any([view.present for view in examples.views], axis=0),
    )
    return replace(examples, views=(stacked,))


def select_bands(examples: Examples, names: Sequence[str]) -> Examples:
    """Keep these bands alone, in this order; views without any of them are left out.

    Raises
    ------
    ProductError
        If there is no such band.
    """
    known = [band for view in examples.views for band in view.bands]
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        raise ProductError(
            f"there is no band {', '.join(map(repr, unknown)) or 'chosen'}; the examples have "
            f"{', '.join(known)}"
        )
    views = []
    for view in examples.views:
        chosen = [view.bands.index(name) for name in names if name in view.bands]
        if chosen:
            bands = tuple(view.bands[i] for i in chosen)
            views.append(replace(view, images=view.images[:, chosen], bands=bands))
    return replace(examples, views=tuple(views))


def grey(examples: Examples) -> Examples:
    """Replace the bands of each view by their mean.

    A pixel that some bands lack is the mean of the others; one that all bands lack stays NaN.
    """
    return replace(examples, views=tuple(_grey(view) for view in examples.views))


def _grey(view: View) -> View:
    images = np.empty((len(view.images), 1, *view.images.shape[2:]), dtype=view.images.dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a pixel without any value stays NaN
        for start in range(0, len(images), 256):
            block = slice(start, start + 256)
            images[block, 0] = np.nanmean(view.images[block].astype(np.float32), axis=1)
    return replace(view, images=images, bands=("grey",))
