"""Which objects are real, which clusters are found, and the curves that follow.

Matching goes by score (`clusterscan.catalogs.reference`). A second object on the same cluster
counts as false.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from clusterscan.catalogs.reference import match_by_score, passes
from clusterscan.config.validation import ValidateSettings
from clusterscan.core import sky
from clusterscan.core.errors import CatalogueError
from clusterscan.validate.intervals import wilson

Region = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Curve:
    """Counts and fractions of all objects at or above each score, best score first."""

    threshold: np.ndarray
    n: np.ndarray
    n_true: np.ndarray
    purity: np.ndarray
    n_found: np.ndarray
    n_truth: int
    completeness: np.ndarray

    def intervals(self, confidence: float) -> dict[str, np.ndarray]:
        """Return Wilson intervals of purity and completeness."""
        names = ("purity_low", "purity_high", "completeness_low", "completeness_high")
        truth = np.full(self.n_found.shape, self.n_truth)
        found = (*wilson(self.n_true, self.n, confidence), *wilson(self.n_found, truth, confidence))
        return dict(zip(names, found, strict=True))

    @property
    def average_precision(self) -> float:
        """Purity averaged over completeness, each step weighted by what it adds."""
        steps = np.diff(self.completeness, prepend=0.0)
        return float(np.sum(steps * self.purity))


@dataclass(frozen=True)
class Recovery:
    """Every object of the region judged, and every cluster of the region looked up.

    Attributes
    ----------
    rows : int ndarray, shape (n,)
        Rows of the region's objects in the input.
    score, is_true : ndarray, shape (n,)
        Their score, and whether they are a cluster of the purity cut.
    match : int ndarray, shape (n,)
        The truth row of each, or -1.
    sep_arcsec : float ndarray, shape (n,)
        Separation from it, or NaN.
    ra_deg, dec_deg : float ndarray, shape (n,)
    truth_rows : int ndarray, shape (m,)
        Truth rows of the completeness cut in the region.
    truth_score : float ndarray, shape (m,)
        Score of the object that found them, -inf if none did.
    truth_ra_deg, truth_dec_deg : float ndarray, shape (m,)
    """

    rows: np.ndarray
    score: np.ndarray
    is_true: np.ndarray
    match: np.ndarray
    sep_arcsec: np.ndarray
    ra_deg: np.ndarray
    dec_deg: np.ndarray
    truth_rows: np.ndarray
    truth_score: np.ndarray
    truth_ra_deg: np.ndarray
    truth_dec_deg: np.ndarray

    @cached_property
    def curve(self) -> Curve:
        """The curve over all thresholds."""
        order = np.argsort(-self.score, kind="stable")
        score = self.score[order]
        last = np.flatnonzero(np.diff(score, append=-np.inf) != 0)  # equal scores enter together
        n_true = np.cumsum(self.is_true[order])[last]
        n = last + 1
        found = np.sort(self.truth_score)
        n_found = found.size - np.searchsorted(found, score[last], side="left")
        return Curve(
            threshold=score[last],
            n=n,
            n_true=n_true,
            purity=n_true / n,
            n_found=n_found,
            n_truth=found.size,
            completeness=n_found / max(found.size, 1),
        )


def recovery(
    objects: pd.DataFrame,
    truth: pd.DataFrame,
    *,
    settings: ValidateSettings,
    in_region: Region,
) -> Recovery:
    """Judge a list of objects against a truth catalogue.

    Parameters
    ----------
    objects : DataFrame
        ra_deg, dec_deg and score (higher is better), of the region and a margin around it.
    truth : DataFrame
        ra_deg, dec_deg and the columns of the cuts; likewise. A NaN fails a cut.
    settings : ValidateSettings
        Radius and cuts.
    in_region : callable
        (ra_deg, dec_deg) -> bool ndarray. Objects and clusters are counted if they lie in it;
        they may be matched across its border.

    Returns
    -------
    Recovery

    Raises
    ------
    CatalogueError
        If a position is not on the sky, a score is NaN, or a cut's column is missing.
    """
    score = objects["score"].to_numpy(dtype=np.float64)
    if np.isnan(score).any():
        row = int(np.flatnonzero(np.isnan(score))[0])
        raise CatalogueError(f"objects: row {row} has no score; drop objects without one")
    ra, dec = (objects[c].to_numpy(dtype=np.float64) for c in ("ra_deg", "dec_deg"))
    radius = settings.radius_arcmin
    real = np.flatnonzero(passes(truth, settings.purity_cut))
    match, separation = match_by_score(objects, truth.iloc[real], radius)
    match = np.where(match >= 0, real[np.maximum(match, 0)] if real.size else -1, -1)
    wanted = np.flatnonzero(passes(truth, settings.completeness_cut))
    found_by, _ = match_by_score(objects, truth.iloc[wanted], radius)
    truth_score = np.full(wanted.size, -np.inf)
    truth_score[found_by[found_by >= 0]] = score[found_by >= 0]
    inside = in_region(ra, dec).astype(bool)
    truth_ra, truth_dec = (
        truth[c].to_numpy(dtype=np.float64)[wanted] for c in ("ra_deg", "dec_deg")
    )
    looked_up = in_region(truth_ra, truth_dec).astype(bool)
    return Recovery(
        rows=np.flatnonzero(inside),
        score=score[inside],
        is_true=(match >= 0)[inside],
        match=match[inside],
        sep_arcsec=60 * separation[inside],
        ra_deg=ra[inside],
        dec_deg=dec[inside],
        truth_rows=wanted[looked_up],
        truth_score=truth_score[looked_up],
        truth_ra_deg=truth_ra[looked_up],
        truth_dec_deg=truth_dec[looked_up],
    )


def completeness_at_purity(
    curve: Curve, purity: float, *, min_objects: int = 1
) -> dict[str, float | int | None]:
    """Return the best completeness of a threshold whose objects reach a purity.

    Completeness only grows as the threshold falls, so it is that of the lowest such threshold;
    dips of the purity on the way do not matter. Thresholds with fewer than ``min_objects``
    objects are left out: the purity of a handful is no measurement.

    Returns
    -------
    dict
        purity asked for, threshold, n, n_true, n_found, n_truth, completeness; where no
        threshold reaches the purity, threshold is None and the counts and completeness are 0.
    """
    reached = np.flatnonzero((curve.purity >= purity) & (curve.n >= min_objects))
    result: dict[str, float | int | None] = {"purity": purity, "n_truth": curve.n_truth}
    if not reached.size:
        return result | {"threshold": None, "n": 0, "n_true": 0, "n_found": 0, "completeness": 0.0}
    at = reached[-1]
    return result | {
        "threshold": float(curve.threshold[at]),
        "n": int(curve.n[at]),
        "n_true": int(curve.n_true[at]),
        "n_found": int(curve.n_found[at]),
        "completeness": float(curve.completeness[at]),
    }


def cells(found: Recovery, order: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the HEALPix cells of the region's objects and of its clusters."""
    return (
        sky.owning_cell(found.ra_deg, found.dec_deg, order),
        sky.owning_cell(found.truth_ra_deg, found.truth_dec_deg, order),
    )
