"""Prove that no object and no sky is seen in two parts of the split."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.spatial import cKDTree

from clusterscan import sky
from clusterscan.errors import ProductError


@dataclass(frozen=True)
class Leakage:
    """What two parts share.

    Attributes
    ----------
    objects : tuple of str
        Object ids that stand in two parts.
    close_pairs : tuple of (str, str)
        Examples of two parts closer than the radius: the same object under two names.
    """

    objects: tuple[str, ...]
    close_pairs: tuple[tuple[str, str], ...]

    def __bool__(self) -> bool:
        """Whether anything leaks."""
        return bool(self.objects or self.close_pairs)


def find_leakage(table: pd.DataFrame, radius_arcmin: float) -> Leakage:
    """Look for objects, or sky, in two parts.

    Parameters
    ----------
    table : DataFrame
        All examples of a survey: example_id, object_id, ra_deg, dec_deg, split.
    radius_arcmin : float
        Examples of different parts must be farther apart: the radius within which catalogue
        entries are one object, or a crop's diagonal to prove that no sky is shared [arcmin].
    """
    parts = table.groupby("object_id")["split"].nunique()
    objects = tuple(sorted(str(name) for name in parts.index[parts > 1]))
    if len(table) < 2 or table["split"].nunique() < 2:
        return Leakage(objects, ())
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
    return Leakage(objects, tuple(sorted(pairs)))


def assert_no_leakage(table: pd.DataFrame, radius_arcmin: float, where: str) -> None:
    """Stop where an object or sky is seen in two parts.

    Raises
    ------
    ProductError
        Naming the first offenders.
    """
    leak = find_leakage(table, radius_arcmin)
    if leak:
        raise ProductError(
            f"{where}: {len(leak.objects)} objects {leak.objects[:3]} and {len(leak.close_pairs)} "
            f"pairs of examples {leak.close_pairs[:3]} are in two parts of the split; raise "
            "regions.guard_arcmin, or unite the catalogues with a larger radius"
        )
