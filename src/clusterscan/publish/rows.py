"""From merged objects to the rows of the catalogue: matches, regions, and (simulated) truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from clusterscan.config.validate import Range
from clusterscan.publish.columns import FILTER, column_part
from clusterscan.validate.recovery import match_by_score, passes


def catalogue_rows(
    objects: pd.DataFrame,
    known: pd.DataFrame,
    *,
    known_names: Sequence[str],
    truth: pd.DataFrame | None = None,
    truth_radius_arcmin: float = 2.5,
    truth_cut: Mapping[str, Range] | None = None,
    filter_snr: Mapping[str, np.ndarray] | None = None,
) -> pd.DataFrame:
    """Return the merged objects under the catalogue's column names.

    Parameters
    ----------
    objects : DataFrame, n rows
        From the merge: positions, scores, ``split``, and the match ``known_row`` with ``known``.
    known : DataFrame
        The united known clusters.
    known_names : sequence of str
        The catalogues united in it.
    truth : DataFrame, optional
        The true clusters of a simulated sky.
    truth_radius_arcmin : float
        Largest separation of an object from its true cluster [arcmin].
    truth_cut : mapping of column to (least, most), optional
        Which of them count, as the validation's ``purity_cut``: small halos are so many that
        every position has one near.
    filter_snr : mapping of survey to float ndarray, shape (n,), optional
        The plain filters' S/N at the objects.
    """
    prob = {str(c): str(c).replace("forced_", "prob_", 1) for c in objects}
    rows = objects.rename(columns={c: new for c, new in prob.items() if c != new})
    row = objects["known_row"].to_numpy()
    rows["class"] = np.where(row >= 0, "known", "new")
    for ours, theirs in _known_columns(known_names).items():
        rows[ours] = _taken(known[theirs], row)
    rows["known_catalogue"] = _taken(known["catalogues"], row)
    for column in ("z", "z_source", "m500c_msun"):
        rows[column] = _taken(known[column], row)
    for survey, values in (filter_snr or {}).items():
        rows[f"snr_{column_part(survey)}_{FILTER}"] = values
    if truth is not None:
        real = truth[passes(truth, truth_cut or {})].reset_index(drop=True)
        # As the validation matches: the best object takes the nearest free cluster.
        scored = objects.assign(score=objects["prob"])
        match, separation_arcmin = match_by_score(scored, real, truth_radius_arcmin)
        for column in ("name", "z", "m500c_msun"):
            rows[f"truth_{column}"] = _taken(real[column], match)
        rows["truth_sep_arcsec"] = 60 * separation_arcmin
    return rows


def _known_columns(names: Sequence[str]) -> Mapping[str, str]:
    """Return our column -> the united table's, for each known catalogue's name and separation."""
    pairs = {}
    for name in names:
        for part in ("name", "sep_arcsec"):
            pairs[f"{column_part(name)}_{part}"] = f"{name}_{part}"
    return pairs


def _taken(column: pd.Series, row: np.ndarray) -> np.ndarray:
    """Return the values of rows, null ('' or NaN) where the row is -1."""
    values = column.to_numpy()
    null = np.nan if values.dtype.kind == "f" else ""
    taken = np.full(row.size, null, dtype=values.dtype if values.dtype.kind == "f" else object)
    taken[row >= 0] = values[row[row >= 0]]
    return taken
