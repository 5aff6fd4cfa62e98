"""The catalogue for spreadsheets (CSV) and for image viewers (DS9 regions)."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from clusterscan.core.atomic import atomic_path
from clusterscan.formats.catalogue_columns import Arrays, Column
from clusterscan.publish.release import Release

#: Colour of each class in DS9; told apart by colour-blind eyes too, on dark and light images.
COLOURS = {"known": "#56B4E9", "recovered": "#F0E442", "new": "#D55E00"}


def write_csv(path: Path, catalogue: Arrays, columns: Sequence[Column]) -> None:
    """Write CSV (RFC 4180): a line of column names, then the rows; null is an empty cell.

    Numbers are the shortest text that reads back as the same number. There are no comments,
    which spreadsheets would show as rows: version and area are in the other files.
    """
    cells = [_cells(catalogue[c.name], c) for c in columns]
    with atomic_path(path) as temporary, temporary.open("w", encoding="ascii", newline="") as out:
        writer = csv.writer(out)
        writer.writerow([c.name for c in columns])
        writer.writerows(zip(*cells, strict=True))


def _cells(values: np.ndarray, column: Column) -> list[str]:
    # str() of a NumPy number of its own width: 0.1 stays 0.1 in float32, too.
    unknown = column.unknown(values)
    return ["" if null else str(v) for v, null in zip(values, unknown, strict=True)]


def write_regions(
    path: Path,
    catalogue: Arrays,
    release: Release,
    *,
    radius_arcmin: float,
    threshold: float,
) -> None:
    """Write DS9 regions: one circle an object, coloured by class, dashed below the threshold.

    Parameters
    ----------
    path : Path
        Replaced atomically.
    catalogue : mapping of str to array
        From `clusterscan.publish.catalogue.build_catalogue`.
    release : Release
        Goes into the comments at the top.
    radius_arcmin : float
        Radius of the circles [arcmin].
    threshold : float
        Least ``prob`` of a candidate.
    """
    lines = ["# Region file format: DS9 version 4.1"]
    lines += [f"# {key} = {_one_line(value)}" for key, (value, _) in release.cards().items()]
    lines += [
        f"# circles of {radius_arcmin:g} arcmin, dashed where prob is below {threshold:.6g}",
        f"# {', '.join(f'{name} {colour}' for name, colour in COLOURS.items())}",
        'global font="helvetica 10 normal roman" width=1',
        "icrs",
    ]
    keys = ("ra_deg", "dec_deg", "name", "class", "prob")
    for ra, dec, name, kind, prob in zip(*(catalogue[k] for k in keys), strict=True):
        dash = "" if prob >= threshold else " dash=1"
        lines.append(
            f'circle({ra:.7f},{dec:.7f},{60 * radius_arcmin:.3f}") # color={COLOURS[kind]}'
            f"{dash} text={{{name}}} tag={{{kind}}}"
        )
    with atomic_path(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="ascii")


def _one_line(value: object) -> str:
    """Return text that stays within its comment: in DS9 a semicolon, too, ends a line."""
    text = str(value).replace(";", ",").encode("ascii", "replace").decode("ascii")
    return " ".join(text.split())
