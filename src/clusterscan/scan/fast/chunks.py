"""Which parts of a tile's grid are computed at once.

A HEALPix tile is a diamond in its square image. Bands of rows, each only as wide as the diamond is
there, leave the empty corners out; but every band also needs a context around it, which is computed
twice where bands meet. More bands save corners and cost context, so all counts are tried and the
cheapest is taken.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

Chunk = tuple[slice, slice]


def chunks(outline: np.ndarray, around: int, most: float) -> list[Chunk]:
    """Return rectangles (rows, columns) that cover an outline at the least cost, without overlap.

    Parameters
    ----------
    outline : bool ndarray, shape (my, mx)
        Cells of the grid that may be wanted.
    around : int
        Cells of context of a chunk in each direction, both sides together.
    most : float
        Most cells that are computed at once, context counted. A chunk as large as half its context
        is always allowed, since smaller ones would compute the same context over and over.
    """
    least = max(around // 2, 1)
    most = max(most, (least + around) ** 2)
    counts = range(1, -(-outline.shape[0] // least) + 1)
    covers = (_cover(outline, count, around, most) for count in counts)
    return min((c for c in covers if c is not None), key=lambda cover: _cells(cover, around))


def _cover(outline: np.ndarray, bands: int, around: int, most: float) -> list[Chunk] | None:
    """Return chunks in a number of bands of rows; None if bands that high exceed the memory."""
    found: list[Chunk] = []
    for rows in _parts(0, outline.shape[0], bands):
        widest = int(most // (rows.stop - rows.start + around)) - around
        if widest < 1:
            return None
        (columns,) = np.nonzero(outline[rows].any(axis=0))
        if len(columns):
            first, last = int(columns[0]), int(columns[-1]) + 1
            found += [(rows, part) for part in _parts(first, last, -(-(last - first) // widest))]
    return found


def _cells(cover: list[Chunk], around: int) -> int:
    """Return the number of cells that a cover computes, context counted."""
    sides = ([part.stop - part.start + around for part in chunk] for chunk in cover)
    return sum(height * width for height, width in sides)


def _parts(start: int, stop: int, count: int) -> list[slice]:
    """Divide a range into slices of equal length, to rounding."""
    edges = np.linspace(start, stop, count + 1).round().astype(int)
    return [slice(int(a), int(b)) for a, b in pairwise(edges)]
