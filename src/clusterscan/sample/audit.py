"""Prove that no object and no sky is seen in two parts of the split."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
from scipy.spatial import cKDTree

from clusterscan.core import sky
from clusterscan.core.errors import ProductError

_SHOWN = 5


@dataclass(frozen=True)
class Leakage:
    """What two parts share.

    Attributes
    ----------
    objects : tuple of str
        Object ids that stand in two parts.
    close_pairs : tuple of (str, str)
        Examples of two parts closer than the radius: the same object under two names.
    same_images : tuple of (str, str)
        Examples of two parts whose images are the same to the byte.
    """

    objects: tuple[str, ...]
    close_pairs: tuple[tuple[str, str], ...]
    same_images: tuple[tuple[str, str], ...] = ()

    def __bool__(self) -> bool:
        """Whether anything leaks."""
        return bool(self.objects or self.close_pairs or self.same_images)


def find_leakage(
    table: pd.DataFrame, radius_arcmin: float, image_sha256: Sequence[str] | None = None
) -> Leakage:
    """Look for objects, sky, or images in two parts.

    Parameters
    ----------
    table : DataFrame
        All examples of a survey: example_id, object_id, ra_deg, dec_deg (NaN: not known), split.
    radius_arcmin : float
        Examples of different parts must be farther apart: the radius within which catalogue
        entries are one object, or a crop's diagonal to prove that no sky is shared [arcmin].
    image_sha256 : sequence of str, optional
        Checksum of each example's image.
    """
    parts = table.groupby("object_id")["split"].nunique()
    objects = tuple(sorted(str(name) for name in parts.index[parts > 1]))
    if len(table) < 2 or table["split"].nunique() < 2:
        return Leakage(objects, ())
    images = () if image_sha256 is None else _same_images(table, image_sha256)
    known = table["ra_deg"].notna() & table["dec_deg"].notna()
    return Leakage(objects, _close_pairs(table[known], radius_arcmin), images)


def _same_images(table: pd.DataFrame, image_sha256: Sequence[str]) -> tuple[tuple[str, str], ...]:
    marked = table.assign(image=np.asarray(image_sha256, dtype=object))
    return tuple(sorted(pair for _, rows in marked.groupby("image") for pair in _pairs(rows)))


def _pairs(rows: pd.DataFrame) -> Iterator[tuple[str, str]]:
    if rows["split"].nunique() > 1:
        listed = list(zip(rows["example_id"], rows["split"], strict=True))
        for (one, part), (other, another) in combinations(listed, 2):
            if part != another:
                yield str(one), str(other)


def _close_pairs(table: pd.DataFrame, radius_arcmin: float) -> tuple[tuple[str, str], ...]:
    if table.empty:
        return ()
    vectors = sky.unit_vectors(table["ra_deg"].to_numpy(), table["dec_deg"].to_numpy())
    code, _ = pd.factorize(table["split"])
    name = table["example_id"].to_numpy()
    pairs: list[tuple[str, str]] = []
    # Trees of one part each: pairs within a part are many and of no interest.
    trees = [(np.flatnonzero(code == c), cKDTree(vectors[code == c])) for c in np.unique(code)]
    for first, (index_a, tree_a) in enumerate(trees):
        for index_b, tree_b in trees[first + 1 :]:
            found = tree_a.query_ball_tree(tree_b, sky.chord(radius_arcmin / 60.0))
            pairs += [
                (str(name[index_a[a]]), str(name[index_b[b]]))
                for a, near in enumerate(found)
                for b in near
            ]
    return tuple(sorted(pairs))


def assert_no_leakage(
    table: pd.DataFrame,
    radius_arcmin: float,
    where: str,
    image_sha256: Sequence[str] | None = None,
    *,
    mending: str = "raise regions.guard_arcmin, or unite the catalogues with a larger radius",
) -> None:
    """Stop where an object, sky or an image is seen in two parts.

    Raises
    ------
    ProductError
        Naming the first offenders.
    """
    leak = find_leakage(table, radius_arcmin, image_sha256)
    if leak:
        faults = (
            (leak.objects, "objects"),
            (leak.close_pairs, f"pairs of examples within {radius_arcmin:.4g} arcmin"),
            (leak.same_images, "pairs of examples with the same image"),
        )
        told = "; ".join(
            f"{len(found)} {what}: {', '.join(_text(one) for one in found[:_SHOWN])}"
            + (", ..." if len(found) > _SHOWN else "")
            for found, what in faults
            if found
        )
        raise ProductError(f"{where}: in two parts of the split there are {told}; {mending}")


def _text(one: str | tuple[str, str]) -> str:
    return one if isinstance(one, str) else " = ".join(one)
