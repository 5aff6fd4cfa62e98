"""Which parts of a tile's grid are computed at once.

A tile is a diamond in its image, so that bands of rows, each as wide as the diamond is there,
leave its corners out; but each has a context around it. The cheapest number of bands is taken.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

Chunk = tuple[slice, slice]


def chunks(outline: np.ndarray, around: int, most: float) -> list[Chunk]:
    """Return rows and columns that cover an outline at the least cost, no two overlapping.

    Parameters
    ----------
    outline : bool ndarray, shape (my, mx)
        Which cells of the grid may be wanted.
    around : int
        Cells of context that a chunk has in each direction, both sides together.
    most : float
        Most cells that are computed at once, context counted; a chunk of half its context always
        may.
    """
    # Chunks smaller than half their context would compute it over and over.
    least = max(around // 2, 1)
    most = max(most, (least + around) ** 2)
    counts = range(1, -(-outline.shape[0] // least) + 1)
    covers = (_cover(outline, count, around, most) for count in counts)
    return min((c for c in covers if c is not None), key=lambda cover: _cost(cover, around))


def _cover(outline: np.ndarray, bands: int, around: int, most: float) -> list[Chunk] | None:
    """Return chunks in so many bands of rows; None where they would be too high to be computed."""
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


def _cost(cover: list[Chunk], around: int) -> int:
    sides = ([part.stop - part.start + around for part in chunk] for chunk in cover)
    return sum(height * width for height, width in sides)


def _parts(start: int, stop: int, count: int) -> list[slice]:
    edges = np.linspace(start, stop, count + 1).round().astype(int)
    return [slice(int(a), int(b)) for a, b in pairwise(edges)]
