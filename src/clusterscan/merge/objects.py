"""One row per object: candidates of all models joined, with each model's own measurements.

A *model* is a (survey, network) pair; its columns end in ``survey_network``. NaN means that the
model has no candidate in the object.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import logit

from clusterscan.catalogs.pairs import checked_vectors, group, mean_position
from clusterscan.config.merge import MergeSettings
from clusterscan.config.model import FUSION
from clusterscan.core import sky
from clusterscan.core.errors import CatalogueError
from clusterscan.detect.peaks import SATURATION, ra_dec
from clusterscan.merge.calibrate import IsReal, fit_scores

Model = tuple[str, str]

NEEDED = ("ra_deg", "dec_deg", "pos_err_arcmin", "value", "score", "snr", "area_px", "flags")


def model_tag(model: Model) -> str:
    """Return the suffix of a model's column names."""
    survey, network = model
    return f"{survey}_{network}".lower()


def merge_candidates(
    candidates: Mapping[Model, pd.DataFrame], *, radius_arcmin: float
) -> pd.DataFrame:
    """Join candidates of several models into objects.

    `clusterscan.catalogs.pairs` states the rule. An object lies at the mean of its models' best
    candidates, weighted by their inverse variances. Neither the order of models nor that of
    rows matters, to the last bit.

    Parameters
    ----------
    candidates : mapping of (survey, model) to DataFrame
        As `clusterscan.detect.find_peaks` returns them.
    radius_arcmin : float
        Candidates within this radius of an object's best one belong to it [arcmin].

    Returns
    -------
    objects : DataFrame
        Sorted by ``object_id``, the HEALPix cell of order 29 that owns the position. Of each
        model: ``value_*`` (probability or S/N at its peak), ``score_*``, ``snr_*``, and
        ``sep_arcsec_*``, how far from the object its best candidate lies. ``flags`` joins the
        flags of all candidates.

    Raises
    ------
    CatalogueError
        If a column is missing, or a position or position error is impossible.
    """
    models = sorted(candidates)
    _check_models(models)
    table = _stack(candidates, models)
    vectors = checked_vectors(table["ra_deg"], table["dec_deg"], "candidates")
    ra, dec, score = (table[c].to_numpy() for c in ("ra_deg", "dec_deg", "score"))
    leader = group(ra, dec, vectors, score, table["model"].to_numpy(), radius_arcmin)
    leaders, label = np.unique(leader, return_inverse=True)
    # Best first within an object, in an order that the input's order cannot change.
    order = np.lexsort((table["model"], ra, dec, -score, label))
    table, vectors, label = table.iloc[order], vectors[order], label[order]
    best = ~pd.DataFrame({"label": label, "model": table["model"]}).duplicated().to_numpy()
    count = leaders.size
    # Only the best candidate of each model enters the mean: a model with several peaks on one
    # extended cluster must not count several times.
    mean, error = mean_position(
        vectors[best], table["pos_err_arcmin"].to_numpy()[best], label[best], count
    )
    objects = _describe(table, label, best, models, mean, error)
    return _with_id(objects)


def score_objects(
    objects: pd.DataFrame,
    forced_values: Mapping[Model, np.ndarray],
    *,
    is_real: IsReal,
    is_listed: np.ndarray,
    in_validation: np.ndarray,
    settings: MergeSettings,
    scale: str = "probability",
    rates: Mapping[str, float] | None = None,
    seed: int = 0,
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Give each object one calibrated probability.

    Combination and calibration are chosen and fitted on the objects of the validation region.

    Parameters
    ----------
    objects : DataFrame, n rows
        From `merge_candidates`.
    forced_values : mapping of (survey, model) to float ndarray, shape (n,)
        Every model's map at every object (`clusterscan.merge.forced_values`), NaN where invalid.
    is_real : callable
        (n,) scores, higher is better -> (n,) bool: which objects are real by the reference. Of
        two objects on one cluster the better is real, so it depends on the scores.
    is_listed, in_validation : bool ndarray, shape (n,)
        True for objects that match a known cluster, and for those in the validation region.
    settings : MergeSettings
    scale : {"probability", "snr"}
        Type of the forced values: networks' probabilities or filters' S/N.
    rates : mapping of model tag to float, optional
        Share of positives in each network's training.
    seed : int
        Of folds and bootstrap.

    Returns
    -------
    objects : DataFrame
        With ``forced_*``, ``score`` (combined, a logit or S/N), ``prob_raw`` (its logistic
        function), ``prob`` (calibrated) and ``prob_err``, ``prob_listed`` (of being in a known
        catalogue), ``prob_scatter`` (standard deviation of the networks' forced probabilities;
        NaN for filters and for fewer than two), and the calibrated probabilities of every model
        alone, ``single_*``, and of the other combinations, ``by_*`` (both only where there was
        enough to fit).
    record : dict
        JSON-able: combiner, calibration, the compared alternatives, and the calibration of
        ``prob_listed``.
    """
    models = sorted(forced_values)
    values = np.stack([np.asarray(forced_values[m], float) for m in models], axis=1)
    if values.shape[0] != len(objects):
        raise CatalogueError(
            f"{values.shape[0]} forced values for {len(objects)} objects; measure all objects"
        )
    names = [model_tag(m) for m in models]
    features = features_of(values, scale)
    fitted = fit_scores(
        features, names, objects["ra_deg"].to_numpy(), objects["dec_deg"].to_numpy(),
        is_real=is_real, is_listed=np.asarray(is_listed), rows=np.asarray(in_validation),
        settings=settings, scale=scale, rates=rates or {}, seed=seed,
    )  # fmt: skip
    scored = objects.copy()
    for name, column in zip(names, values.T, strict=True):
        scored[f"forced_{name}"] = column.astype(np.float32)
    scored["prob_scatter"] = _scatter(values).astype(np.float32) if scale != "snr" else np.nan
    return scored.assign(**fitted.columns), fitted.record


def features_of(values: np.ndarray, scale: str) -> np.ndarray:
    """Convert map values to features: logits of probabilities, or S/N as it is; NaN stays NaN."""
    if scale != "probability":
        return values
    return logit(np.clip(values, SATURATION, 1 - SATURATION))


def _check_models(models: Sequence[Model]) -> None:
    tags = [model_tag(m) for m in models]
    if len(set(tags)) != len(tags):
        raise CatalogueError(f"models {models} share column names; rename a survey or model")


def _stack(candidates: Mapping[Model, pd.DataFrame], models: Sequence[Model]) -> pd.DataFrame:
    parts = []
    for number, model in enumerate(models):
        part = candidates[model]
        missing = [c for c in NEEDED if c not in part]
        if missing:
            raise CatalogueError(f"candidates of {model} lack {missing}; run detect again")
        part = part[list(NEEDED)].astype("float64")
        bad = ~(part["pos_err_arcmin"] > 0) | ~np.isfinite(part["score"])
        if bad.any():
            row = int(np.flatnonzero(bad)[0])
            raise CatalogueError(
                f"candidates of {model}, row {row}: pos_err_arcmin = "
                f"{part['pos_err_arcmin'].iloc[row]} must be positive and score = "
                f"{part['score'].iloc[row]} finite; run detect again"
            )
        parts.append(part.assign(model=number))
    if not parts:
        return pd.DataFrame({c: np.empty(0) for c in (*NEEDED, "model")}).astype({"model": int})
    return pd.concat(parts, ignore_index=True)


def _describe(
    table: pd.DataFrame,
    label: np.ndarray,
    best: np.ndarray,
    models: Sequence[Model],
    mean: np.ndarray,
    error_arcmin: np.ndarray,
) -> pd.DataFrame:
    count = len(mean)
    ra, dec = ra_dec(mean)
    number = table["model"].to_numpy()
    surveys = sorted({survey for survey, _ in models})
    survey_of_model = np.array([surveys.index(survey) for survey, _ in models], dtype=np.int64)
    seen = np.zeros((count, len(surveys)), dtype=bool)
    seen[label, survey_of_model[number]] = True
    # Each survey that sees the object counts once, however many networks it has.
    if FUSION in surveys:  # a network of several surveys is not another survey
        seen[:, surveys.index(FUSION)] = False
    flags = np.zeros(count, dtype=np.int32)
    np.bitwise_or.at(flags, label, table["flags"].to_numpy().astype(np.int32))
    # `fmax.at` with -inf as the start handles repeated labels, which plain indexing would not, and
    # ignores the NaN S/N of peaks without a background.
    snr_peak = np.full(count, -np.inf)
    np.fmax.at(snr_peak, label, table["snr"].to_numpy())
    first = np.unique(label, return_index=True)[1]  # the best candidate of each object
    columns = {
        "ra_deg": ra,
        "dec_deg": dec,
        "pos_err_arcsec": (60 * error_arcmin).astype(np.float32),
        "n_candidates": np.bincount(label, minlength=count).astype(np.int32),
        "n_models": np.bincount(label[best], minlength=count).astype(np.int32),
        "n_surveys": seen.sum(axis=1).astype(np.int32),
        "snr_peak": np.where(np.isfinite(snr_peak), snr_peak, np.nan).astype(np.float32),
        "area_pix": table["area_px"].to_numpy()[first].astype(np.int32),
        "flags": flags,
    }
    for index, model in enumerate(models):
        rows = np.flatnonzero(best & (number == index))
        columns |= _of_model(model_tag(model), table.iloc[rows], label[rows], ra, dec)
    return pd.DataFrame(columns)


def _of_model(
    tag: str, own: pd.DataFrame, at: np.ndarray, ra: np.ndarray, dec: np.ndarray
) -> dict[str, np.ndarray]:
    """Return a model's columns: its best candidate of each object, NaN without one.

    ``own`` holds these candidates and ``at`` the rows of their objects.
    """
    separation = sky.separation_deg(ra[at], dec[at], own["ra_deg"], own["dec_deg"])
    columns = {}
    for name, values in (
        ("value", own["value"]),
        ("score", own["score"]),
        ("snr", own["snr"]),
        ("sep_arcsec", separation * 3600),
    ):
        column = np.full(ra.size, np.nan, dtype=np.float32)
        column[at] = np.asarray(values)
        columns[f"{name}_{tag}"] = column
    return columns


def _with_id(objects: pd.DataFrame) -> pd.DataFrame:
    ra, dec = objects["ra_deg"].to_numpy(), objects["dec_deg"].to_numpy()
    # The id is a cell of 0.4 milliarcsec: it depends on the position alone, not on the number or
    # order of objects, so it survives a rerun with a larger footprint.
    cell = sky.owning_cell(ra, dec, sky.MAX_ORDER) if ra.size else np.empty(0, dtype=np.int64)
    objects.insert(0, "object_id", cell)
    objects = objects.sort_values(["object_id", "dec_deg", "ra_deg"], ignore_index=True)
    if objects["object_id"].duplicated().any():
        raise CatalogueError("two objects lie within 0.4 milliarcsec; enlarge merge.radius_arcmin")
    return objects


def _scatter(values: np.ndarray) -> np.ndarray:
    there = np.isfinite(values)
    count = there.sum(axis=1)
    mean = np.where(there, values, 0).sum(axis=1) / np.maximum(count, 1)
    square = np.where(there, (values - mean[:, None]) ** 2, 0).sum(axis=1)
    return np.where(count > 1, np.sqrt(square / np.maximum(count - 1, 1)), np.nan)
