"""From merged objects to the rows of the catalogue: matches, regions, and (simulated) truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy.spatial import cKDTree

from clusterscan.catalogs.matching import chance_probability, local_density, match_by_score, passes
from clusterscan.config.validation import Range
from clusterscan.core import sky
from clusterscan.formats.catalogue_columns import FILTER, column_part
from clusterscan.measure.reliability import expected_purity, purest_sample


def catalogue_rows(
    objects: pd.DataFrame,
    known: pd.DataFrame,
    *,
    known_names: Sequence[str],
    catalogues: Mapping[str, pd.DataFrame] | None = None,
    purities: Sequence[float] = (),
    truth: pd.DataFrame | None = None,
    truth_radius_arcmin: float = 2.5,
    truth_cut: Mapping[str, Range] | None = None,
    filter_snr: Mapping[str, np.ndarray] | None = None,
    quality: tuple[np.ndarray, np.ndarray] | None = None,
    models: Sequence[tuple[str, str]] = (),
    version: str = "",
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
    catalogues : mapping of name to DataFrame, optional
        These catalogues, for the objects' separations from their entries.
    purities : sequence of float
        Expected purities of the sub-samples that are marked, rising.
    truth : DataFrame, optional
        The true clusters of a simulated sky.
    truth_radius_arcmin : float
        Largest separation of an object from its true cluster [arcmin].
    truth_cut : mapping of column to (least, most), optional
        Which of them count, as the validation's ``purity_cut``: small halos are so many that
        every position has one near.
    filter_snr : mapping of survey to float ndarray, shape (n,), optional
        The plain filters' S/N at the objects.
    quality : pair of arrays, each of shape (n,), optional
        Flags of the images, which join the objects', and masked fractions, from
        `clusterscan.publish.quality.image_quality`.
    models : sequence of (survey, model)
        The run's networks and filters; a survey's networks are averaged.
    version : str
        Version of clusterscan.
    """
    rows = objects.rename(columns=_published_name)
    prob = objects["prob"].to_numpy()
    rows["purity"] = expected_purity(prob)
    rows["purity_sample"] = purest_sample(prob, purities)
    is_known = objects["known_row"].to_numpy() >= 0
    rows["class"] = classes(is_known, objects["split"].to_numpy())
    rows = rows.assign(version=version, **survey_means(rows, models))
    if quality is not None:
        rows["flags"] = objects["flags"].to_numpy() | quality[0]
        rows["masked_fraction"] = quality[1]
    rows = rows.assign(**_of_known(objects, known, known_names, catalogues))
    for survey, values in (filter_snr or {}).items():
        rows[f"snr_{column_part(survey)}_{FILTER}"] = values
    if truth is not None:
        real = truth[passes(truth, truth_cut or {})].reset_index(drop=True)
        rows = rows.assign(**_of_truth(objects, real, truth_radius_arcmin))
    return rows


def classes(is_known: np.ndarray, split: np.ndarray) -> np.ndarray:
    """Return each object's class: 'known', 'recovered' (known, in the test region) or 'new'."""
    return np.where(is_known, np.where(split == "test", "recovered", "known"), "new")


def survey_means(rows: pd.DataFrame, models: Sequence[tuple[str, str]]) -> dict[str, np.ndarray]:
    """Return the means over each survey's networks, NaN where none of them has a value."""
    means = {}
    for survey in dict.fromkeys(survey for survey, _ in models):
        tails = [
            f"{column_part(s)}_{column_part(m)}" for s, m in models if s == survey and m != FILTER
        ]
        for kind in ("prob", "pcal"):
            columns = [f"{kind}_{tail}" for tail in tails if f"{kind}_{tail}" in rows]
            if columns:
                means[f"{kind}_{column_part(survey)}"] = rows[columns].mean(axis=1).to_numpy()
    return means


def _of_known(
    objects: pd.DataFrame,
    known: pd.DataFrame,
    names: Sequence[str],
    catalogues: Mapping[str, pd.DataFrame] | None,
) -> dict[str, np.ndarray]:
    """Return what the objects' known clusters say, and how far their entries lie."""
    row = objects["known_row"].to_numpy()
    conflicts = known["conflicts"].to_numpy()[np.maximum(row, 0)] if len(known) else 0
    found = {"known_conflicts": np.where(row >= 0, conflicts, -1)}
    for name in names:
        part = column_part(name)
        found[f"{part}_name"] = _taken(known[f"{name}_name"], row)
        if catalogues is not None:
            entry = _taken_integer(known[f"{name}_row"], row)
            near = _nearness(objects, catalogues[name], entry)
            found[f"{part}_sep_arcsec"], found[f"{part}_p_chance"] = near
    found["known_catalogue"] = _taken(known["catalogues"], row)
    for column in ("z", "z_type", "z_source", "m500c_msun", "m500c_source"):
        found[column] = _taken(known[column], row)
    return found


def _of_truth(
    objects: pd.DataFrame, real: pd.DataFrame, radius_arcmin: float
) -> dict[str, np.ndarray]:
    """Return the true clusters of the objects, as the validation matches them.

    The best object takes the nearest free cluster.
    """
    scored = objects.assign(score=objects["prob"])
    match, separation_arcmin = match_by_score(scored, real, radius_arcmin)
    found = {f"truth_{c}": _taken(real[c], match) for c in ("name", "z", "m500c_msun")}
    return found | {"truth_sep_arcsec": 60 * separation_arcmin}


def _published_name(column: object) -> str:
    """Return how a column of the merged objects is published: only models' own change."""
    name = str(column)
    for ours, theirs in (("forced_", "prob_"), ("single_", "pcal_")):
        if name.startswith(ours):
            return name.replace(ours, theirs, 1)
    return name


def _nearness(
    objects: pd.DataFrame, catalogue: pd.DataFrame, entry: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the objects' separation [arcsec] from entries, and its chance probability.

    NaN where the entry is -1.
    """
    separation, chance = np.full(entry.size, np.nan), np.full(entry.size, np.nan)
    at = np.flatnonzero(entry >= 0)
    if at.size:
        ra, dec = (objects[c].to_numpy()[at] for c in ("ra_deg", "dec_deg"))
        places = [catalogue[c].to_numpy(dtype=np.float64) for c in ("ra_deg", "dec_deg")]
        separation[at] = 3600 * sky.separation_deg(ra, dec, *(p[entry[at]] for p in places))
        tree = cKDTree(sky.unit_vectors(*places))
        density = local_density(sky.unit_vectors(ra, dec), tree, partners=True)
        chance[at] = chance_probability(separation[at] / 60, density)
    return separation, chance


def _taken_integer(column: pd.Series, row: np.ndarray) -> np.ndarray:
    """Return the values of rows, -1 where the row is -1."""
    values = np.append(column.to_numpy(), -1)
    return values[row]


def _taken(column: pd.Series, row: np.ndarray) -> np.ndarray:
    """Return the values of rows, null ('' or NaN) where the row is -1."""
    values = column.to_numpy()
    null = np.nan if values.dtype.kind == "f" else ""
    taken = np.full(row.size, null, dtype=values.dtype if values.dtype.kind == "f" else object)
    taken[row >= 0] = values[row[row >= 0]]
    return taken
