"""The catalogue in memory: from merged objects to its rows, checked and sorted.

`catalogue_rows` adds matches, regions and (simulated) truth to the merged objects;
`build_catalogue` adds the columns that follow from the position and checks every column against
the specification. The forced measurements get their published columns here too.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from scipy.spatial import cKDTree

from clusterscan.catalogs.matching import chance_probability, local_density, match_by_score, passes
from clusterscan.config.validation import Range
from clusterscan.core import sky
from clusterscan.core.errors import CatalogueError
from clusterscan.formats.catalogue_columns import (
    FILTER,
    NULL_INTEGER,
    Column,
    column_part,
)
from clusterscan.measure.reliability import expected_purity, purest_sample
from clusterscan.publish.names import DEFAULT_FORMAT, GUARD_DEG, iau_names

Arrays = dict[str, np.ndarray]

#: Columns computed from the position alone.
DERIVED = ("name", "RADeg", "decDeg", "glon_deg", "glat_deg", "healpix29", "tile")


def build_catalogue(
    objects: pd.DataFrame | Mapping[str, np.ndarray],
    columns: Sequence[Column],
    *,
    tile_order: int,
    acronym: str = "CSCAN",
    name_format: str = DEFAULT_FORMAT,
    guard_deg: float = GUARD_DEG,
) -> Arrays:
    """Return the catalogue's columns, rows sorted by descending ``prob``, then name.

    Parameters
    ----------
    objects : DataFrame or mapping of str to array, n rows
        The merged objects, with ``ra_deg`` and ``dec_deg`` (ICRS). Missing columns of the
        specification become null; other columns are left out.
    columns : sequence of Column
        The specification.
    tile_order : int
        Order of the tiles that own objects.
    acronym, name_format, guard_deg
        See `clusterscan.publish.names.iau_names`.

    Returns
    -------
    catalogue : dict of str to array of shape (n,)
        In the specification's order; text is ASCII ``str`` in object arrays.

    Raises
    ------
    CatalogueError
        If a position is not on the sky, a column holds values of a wrong type, or a value is
        missing from a column that has no null.
    """
    table = _columns_of(objects)
    for needed in ("ra_deg", "dec_deg"):
        if needed not in table:
            raise CatalogueError(f"the merged objects have no column {needed!r}; run merge again")
    ra = np.asarray(table["ra_deg"], dtype=np.float64)
    dec = np.asarray(table["dec_deg"], dtype=np.float64)
    try:
        names = iau_names(ra, dec, acronym, name_format=name_format, guard_deg=guard_deg)
    except ValueError as error:
        raise CatalogueError(f"merged objects: {error}") from error
    ra = ra % 360.0
    ra = np.where(ra < 360.0, ra, 0.0)  # -1e-17 % 360 is 360 in floating point
    table |= _position_columns(ra, dec, tile_order) | {"ra_deg": ra, "dec_deg": dec}
    table["name"] = np.array(names, dtype=object)
    found = as_columns(table, columns)
    order = _row_order(found)
    return {name: values[order] for name, values in found.items()}


def as_columns(table: pd.DataFrame | Mapping[str, np.ndarray], columns: Sequence[Column]) -> Arrays:
    """Return the columns of a table in the types and the order of a specification.

    Raises
    ------
    CatalogueError
        As for `build_catalogue`.
    """
    given = _columns_of(table)
    rows = len(next(iter(given.values()), ()))
    return {c.name: _as_column(given.get(c.name), c, rows) for c in columns}


def clean_text(value: object) -> str:
    """Return text as printable ASCII, which FITS requires; '' for null.

    Control characters become blanks, letters lose their accents, other characters become '?'.
    Markup is kept: the writer of each format escapes it.
    """
    if value is None or value is pd.NA or (isinstance(value, float) and np.isnan(value)):
        return ""
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    # NFKD splits a letter from its accent, which is then dropped: Chéreau becomes Chereau, not
    # Ch?reau.
    text = unicodedata.normalize("NFKD", text)
    text = "".join(c for c in text if not unicodedata.combining(c))
    text = re.sub(r"[\x00-\x20\x7f-\x9f]+", " ", text).strip()
    return text.encode("ascii", "replace").decode("ascii")


def _columns_of(objects: pd.DataFrame | Mapping[str, np.ndarray]) -> dict[str, Any]:
    if isinstance(objects, pd.DataFrame):
        return {str(name): objects[name] for name in objects.columns}
    return dict(objects)


def _position_columns(ra: np.ndarray, dec: np.ndarray, tile_order: int) -> Arrays:
    from astropy import units as u
    from astropy.coordinates import SkyCoord

    galactic = SkyCoord(ra * u.deg, dec * u.deg, frame="icrs").galactic
    if ra.size:
        healpix29 = sky.owning_cell(ra, dec, sky.MAX_ORDER)
        # From the position itself, so that it never disagrees with the cell of order 29.
        tile = sky.owning_cell(ra, dec, tile_order)
    else:
        healpix29 = tile = np.zeros(0, dtype=np.int64)
    return {
        "RADeg": ra,
        "decDeg": dec,
        "glon_deg": np.asarray(galactic.l.deg),
        "glat_deg": np.asarray(galactic.b.deg),
        "healpix29": healpix29,
        "tile": tile,
    }


def _as_column(values, column: Column, rows: int) -> np.ndarray:
    if values is None:
        return _nulls(column, rows)
    raw = values.to_numpy() if isinstance(values, pd.Series) else np.asarray(values)
    try:
        if column.dtype == "str":
            return np.array([clean_text(v) for v in raw], dtype=object)
        if column.dtype.startswith("int"):
            return _integers(raw, column)
        number = pd.to_numeric(pd.Series(raw), errors="raise").astype("float64").to_numpy()
    except (ValueError, TypeError, OverflowError) as error:
        raise CatalogueError(
            f"column {column.name!r} of the merged objects is not {column.dtype}: {error}"
        ) from error
    if not column.null and np.isnan(number).any():
        row = int(np.flatnonzero(np.isnan(number))[0])
        raise CatalogueError(
            f"column {column.name!r} has no value at row {row}; every row needs one"
        )
    return number.astype(column.dtype)


def _integers(raw: np.ndarray, column: Column) -> np.ndarray:
    if raw.dtype.kind in "iub":
        return raw.astype(column.dtype)
    number = pd.to_numeric(pd.Series(raw), errors="raise").astype("float64").to_numpy()
    missing = np.isnan(number)
    if missing.any() and not column.null:
        row = int(np.flatnonzero(missing)[0])
        raise CatalogueError(f"column {column.name!r} has no value at row {row}; it must have one")
    # Pandas turns integers with gaps into floats; they are turned back, and a fraction is an error
    # rather than rounded.
    whole = np.where(missing, NULL_INTEGER, number)
    if (whole != np.trunc(whole)).any():
        raise ValueError("it holds fractions")
    return whole.astype(column.dtype)


def _nulls(column: Column, rows: int) -> np.ndarray:
    if column.dtype == "str":
        return np.full(rows, "", dtype=object)
    if column.dtype.startswith("int"):
        return np.full(rows, NULL_INTEGER if column.null else 0, dtype=column.dtype)
    if not column.null and rows:
        raise CatalogueError(
            f"the merged objects have no column {column.name!r}, which every object must have; "
            "run merge again"
        )
    return np.full(rows, np.nan, dtype=column.dtype)


def _row_order(catalogue: Arrays) -> np.ndarray:
    if "prob" not in catalogue:
        return np.arange(len(catalogue["name"]))
    # Names are unique, so the order is the same for equal probabilities too.
    return np.lexsort((catalogue["name"].astype(str), -catalogue["prob"]))


@dataclass(frozen=True)
class Truth:
    """The true clusters of a simulated sky, and which of them an object may be matched with.

    Attributes
    ----------
    clusters : DataFrame
    radius_arcmin : float
        Largest separation of an object from its true cluster [arcmin].
    cut : mapping of column to (least, most)
        Cut on the clusters, as the validation's ``purity_cut``: small halos are so numerous that
        every position has one nearby.
    """

    clusters: pd.DataFrame
    radius_arcmin: float = 2.5
    cut: Mapping[str, Range] = field(default_factory=dict)


def catalogue_rows(
    objects: pd.DataFrame,
    known: pd.DataFrame,
    known_names: Sequence[str],
    *,
    purities: Sequence[float] = (),
    truth: Truth | None = None,
    filter_snr: Mapping[str, np.ndarray] | None = None,
    quality: tuple[np.ndarray, np.ndarray] | None = None,
    models: Sequence[tuple[str, str]] = (),
) -> pd.DataFrame:
    """Return the merged objects under the catalogue's column names.

    Parameters
    ----------
    objects : DataFrame, n rows
        From the merge: positions, scores, ``split``, and the row ``known_row`` in ``known``.
    known : DataFrame
        The united known clusters.
    known_names : sequence of str
        The catalogues united in ``known``.
    purities : sequence of float
        Expected purities of the sub-samples in ``purity_sample``, rising.
    truth : Truth, optional
        The true clusters of a simulated sky.
    filter_snr : mapping of survey to float ndarray, shape (n,), optional
        S/N of the plain filters at the objects.
    quality : pair of arrays, each of shape (n,), optional
        Image flags, which are added to those of the objects, and masked fractions, from
        `clusterscan.publish.quality.image_quality`.
    models : sequence of (survey, model)
        The networks and filters of the run; the networks of a survey are averaged.
    """
    rows = objects.rename(columns=_published_name)
    prob = objects["prob"].to_numpy()
    # Expected purity of all objects at least as probable: the mean of their probabilities.
    rows["purity"] = expected_purity(prob)
    rows["purity_sample"] = purest_sample(prob, purities)
    is_known = objects["known_row"].to_numpy() >= 0
    rows["class"] = classes(is_known, objects["split"].to_numpy())
    rows = rows.assign(**survey_means(rows, models))
    if quality is not None:
        rows["flags"] = objects["flags"].to_numpy() | quality[0]
        rows["masked_fraction"] = quality[1]
    rows = rows.assign(**_known_columns(objects, known, known_names))
    for survey, values in (filter_snr or {}).items():
        rows[f"snr_{column_part(survey)}_{FILTER}"] = values
    if truth is not None:
        rows = rows.assign(**_truth_columns(objects, truth))
    return rows


def classes(is_known: np.ndarray, split: np.ndarray) -> np.ndarray:
    """Return the class of each object: 'known', 'recovered' (known, in the test region), 'new'."""
    # Networks were trained on known clusters outside the test region, so finding those again proves
    # little; only "recovered" ones are a test.
    return np.where(is_known, np.where(split == "test", "recovered", "known"), "new")


def survey_means(rows: pd.DataFrame, models: Sequence[tuple[str, str]]) -> dict[str, np.ndarray]:
    """Return the means over the networks of each survey, NaN if none has a value."""
    means = {}
    for survey in dict.fromkeys(survey for survey, _ in models):
        tails = [
            f"{column_part(s)}_{column_part(m)}" for s, m in models if s == survey and m != FILTER
        ]
        for kind in ("prob", "pcal"):
            # `mean` skips NaN: a network that is masked at an object does not lower the survey's
            # mean.
            columns = [f"{kind}_{tail}" for tail in tails if f"{kind}_{tail}" in rows]
            if columns:
                means[f"{kind}_{column_part(survey)}"] = rows[columns].mean(axis=1).to_numpy()
    return means


def _known_columns(
    objects: pd.DataFrame, known: pd.DataFrame, names: Sequence[str]
) -> dict[str, np.ndarray]:
    """Return the columns copied from known clusters, and separations from their entries."""
    row = objects["known_row"].to_numpy()
    conflicts = known["conflicts"].to_numpy()[np.maximum(row, 0)] if len(known) else 0
    found = {"known_conflicts": np.where(row >= 0, conflicts, -1)}
    for name in names:
        part = column_part(name)
        found[f"{part}_name"] = _values_at(known[f"{name}_name"], row)
        near = _separations(objects, known, name)
        found[f"{part}_sep_arcsec"], found[f"{part}_p_chance"] = near
    found["known_catalogue"] = _values_at(known["catalogues"], row)
    for column in ("z", "z_type", "z_source", "m500c_msun", "m500c_source"):
        found[column] = _values_at(known[column], row)
    return found


def _truth_columns(objects: pd.DataFrame, truth: Truth) -> dict[str, np.ndarray]:
    """Match true clusters as the validation does: the best object takes the nearest free one."""
    scored = objects.assign(score=objects["prob"])
    real = truth.clusters[passes(truth.clusters, truth.cut)].reset_index(drop=True)
    match, separation_arcmin = match_by_score(scored, real, truth.radius_arcmin)
    found = {f"truth_{c}": _values_at(real[c], match) for c in ("name", "z", "m500c_msun")}
    return found | {"truth_sep_arcsec": 60 * separation_arcmin}


def _published_name(column: object) -> str:
    """Return the published name of a column of the merged objects; only models' columns change."""
    name = str(column)
    for ours, theirs in (("forced_", "prob_"), ("single_", "pcal_")):
        if name.startswith(ours):
            return name.replace(ours, theirs, 1)
    return name


def _separations(
    objects: pd.DataFrame, known: pd.DataFrame, name: str
) -> tuple[np.ndarray, np.ndarray]:
    """Return separations from one catalogue's entries [arcsec] and their chance probabilities.

    NaN for objects without a known cluster, or whose cluster the catalogue does not list.
    """
    row = objects["known_row"].to_numpy()
    places = [known[f"{name}_{c}"].to_numpy(dtype=np.float64) for c in ("ra_deg", "dec_deg")]
    listed = np.isfinite(places[0])
    separation, chance = np.full(row.size, np.nan), np.full(row.size, np.nan)
    # The appended False is what index -1 (no known cluster) reads.
    at = np.flatnonzero((row >= 0) & np.append(listed, False)[row])
    if at.size:
        ra, dec = (objects[c].to_numpy()[at] for c in ("ra_deg", "dec_deg"))
        separation[at] = 3600 * sky.separation_deg(ra, dec, *(p[row[at]] for p in places))
        tree = cKDTree(sky.unit_vectors(*(p[listed] for p in places)))
        density = local_density(sky.unit_vectors(ra, dec), tree, partners=True)
        chance[at] = chance_probability(separation[at] / 60, density)
    return separation, chance


def _values_at(column: pd.Series, row: np.ndarray) -> np.ndarray:
    """Return the values at rows, null ('' or NaN) where the row is -1."""
    values = column.to_numpy()
    null = np.nan if values.dtype.kind == "f" else ""
    taken = np.full(row.size, null, dtype=values.dtype if values.dtype.kind == "f" else object)
    taken[row >= 0] = values[row[row >= 0]]
    return taken


def forced_rows(measured: pd.DataFrame, catalogue: Mapping[str, np.ndarray]) -> pd.DataFrame:
    """Return the forced measurements under their published column names.

    Parameters
    ----------
    measured : DataFrame
        From `clusterscan.merge.forced_values.measure_list`.
    catalogue : mapping of str to array
        The published catalogue, which gives the names of the detected objects.
    """
    renamed = {
        str(c): str(c).replace("forced_", "prob_", 1).replace("single_", "pcal_", 1)
        for c in measured
        if str(c).startswith(("forced_", "single_"))
    }
    # The object id of the merge is the cell of order 29, which the catalogue publishes as
    # healpix29.
    names = pd.Series(np.asarray(catalogue["name"], dtype=object), catalogue["healpix29"])
    rows = measured.rename(columns=renamed | {"name": "listed_name"})
    return rows.assign(
        searched=measured["searched"].astype("int16"),
        object_name=measured["object_id"].map(names).fillna(""),
    )
