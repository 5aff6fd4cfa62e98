"""Which objects are real by a reference catalogue: cuts on its rows, and matching by score.

The best object takes the nearest free cluster within the radius, then the next best, so what is
matched at one threshold stays matched at all lower ones.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from clusterscan.catalogs.pairs import checked_vectors, one_to_one, pairs_within
from clusterscan.config.validation import Range
from clusterscan.core.errors import CatalogueError


def match_by_score(
    objects: pd.DataFrame, truth: pd.DataFrame, radius_arcmin: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return each object's truth row (-1: none) and separation [arcmin], the best object first."""
    ra, dec = objects["ra_deg"].to_numpy(), objects["dec_deg"].to_numpy()
    i, j, separation = pairs_within(
        checked_vectors(ra, dec, "objects"),
        checked_vectors(truth["ra_deg"], truth["dec_deg"], "truth"),
        radius_arcmin,
    )
    best_first = np.lexsort((ra, dec, -objects["score"].to_numpy(dtype=np.float64)))
    place = np.empty(len(objects), dtype=np.int64)
    place[best_first] = np.arange(len(objects))
    rank = np.empty(i.size)
    rank[np.lexsort((j, separation, place[i]))] = np.arange(i.size)
    kept = one_to_one(i, j, rank)
    row = np.full(len(objects), -1, dtype=np.int64)
    row[i[kept]] = j[kept]
    distance = np.full(len(objects), np.nan)
    distance[i[kept]] = separation[kept]
    return row, distance


def passes(table: pd.DataFrame, cut: Mapping[str, Range]) -> np.ndarray:
    """Return which rows lie in all ranges (both ends included); NaN does not.

    Raises
    ------
    CatalogueError
        If a column is missing.
    """
    good = np.ones(len(table), dtype=bool)
    for column, (low, high) in cut.items():
        if column not in table:
            raise CatalogueError(
                f"the truth catalogue has no column {column!r} to cut on; it has {list(table)}: "
                "mend validate.completeness_cut and validate.purity_cut"
            )
        values = table[column].to_numpy(dtype=np.float64, na_value=np.nan)
        good &= np.isfinite(values)
        good &= values >= (-np.inf if low is None else low)
        good &= values <= (np.inf if high is None else high)
    return good
