"""Where found clusters lie against where they are: core and tail, and what they depend on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from clusterscan import sky
from clusterscan.measure.offsets import FEWEST, core_and_tail, fit_offsets
from clusterscan.validate.recovery import Recovery

PARTS = 3  # bins of equal numbers: a few dozen clusters carry no more
HISTOGRAM_BINS = 20
_STEPS = 64  # points along each side of a tile


def position_report(
    found: Recovery,
    objects: pd.DataFrame,
    truth: pd.DataFrame,
    *,
    threshold: float,
    radius_arcmin: float,
    tile_order: int,
) -> dict[str, Any]:
    """Return the separations of real objects from their clusters, and in bins of other columns.

    Parameters
    ----------
    found : Recovery
        The region's objects judged.
    objects : DataFrame
        The merged objects that ``found`` was made from: pos_err_arcsec, snr_peak.
    truth : DataFrame
        The reference: z and m500c_msun, where it has them.
    threshold : float
        Lowest score of the objects looked at.
    radius_arcmin : float
        Largest separation of a match [arcmin].
    tile_order : int

    Returns
    -------
    dict
        ``fit`` (`clusterscan.measure.offsets.fit_offsets`), ``edges_arcsec``, ``counts``,
        ``core`` and ``tail`` (expected numbers in the bins), ``claimed_sigma_arcsec`` (median of
        the positions' own errors), and ``by``: of each column the fits in bins of equal numbers.
    """
    chosen = (found.score >= threshold) & found.is_true
    separation = found.sep_arcsec[chosen]
    radius = 60 * radius_arcmin
    edges = np.linspace(0, radius, HISTOGRAM_BINS + 1)
    fit = fit_offsets(separation, radius)
    core, tail = core_and_tail(edges, fit["sigma_arcsec"], fit["tail"])
    own = objects.iloc[found.rows[chosen]]
    claimed = own["pos_err_arcsec"].to_numpy(dtype=np.float64)
    columns = _columns(own, truth.iloc[found.match[chosen]], tile_order)
    return {
        "fit": fit,
        "edges_arcsec": edges.tolist(),
        "counts": np.histogram(separation, edges)[0].tolist(),
        "core": (separation.size * core).tolist(),
        "tail": (separation.size * tail).tolist(),
        "claimed_sigma_arcsec": float(np.median(claimed)) if claimed.size else float("nan"),
        "by": {name: offsets_by(separation, v, radius) for name, v in columns.items()},
    }


def offsets_by(
    separation_arcsec: np.ndarray, values: np.ndarray, radius_arcsec: float
) -> list[dict[str, Any]]:
    """Return the fit to separations in bins of equal numbers of another column.

    Parameters
    ----------
    separation_arcsec, values : float ndarray, shape (n,)
        NaN values are left out.
    radius_arcsec : float

    Returns
    -------
    list of dict
        low, high, middle (median) of the column, and the fit; fewer bins where there are too few
        objects, none where all values are one.
    """
    known = np.isfinite(values)
    separation, values = separation_arcsec[known], values[known]
    parts = min(PARTS, values.size // FEWEST)
    if parts < 1 or values.min() == values.max():
        return []
    order = np.lexsort((separation, values))
    return [
        {
            "low": float(values[rows].min()),
            "high": float(values[rows].max()),
            "middle": float(np.median(values[rows])),
            **fit_offsets(separation[rows], radius_arcsec),
        }
        for rows in np.array_split(order, parts)
    ]


def edge_distance_arcmin(ra_deg: np.ndarray, dec_deg: np.ndarray, tile_order: int) -> np.ndarray:
    """Return how far positions lie from the border of the tile that owns them [arcmin].

    From points along the border, so it is too large by at most a few arcsec at order 5.
    """
    if not len(ra_deg):
        return np.empty(0)
    tile = sky.owning_cell(ra_deg, dec_deg, tile_order)
    vectors = sky.unit_vectors(ra_deg, dec_deg)
    distance = np.empty(len(tile))
    for number in np.unique(tile):
        rows = tile == number
        border = sky.outline_vectors(int(number), tile_order, _STEPS)
        cosine = np.clip(vectors[rows] @ border.T, -1.0, 1.0)
        distance[rows] = np.degrees(np.arccos(cosine.max(axis=1))) * 60.0
    return distance


def _columns(own: pd.DataFrame, matched: pd.DataFrame, tile_order: int) -> Mapping[str, np.ndarray]:
    ra, dec = own["ra_deg"].to_numpy(), own["dec_deg"].to_numpy()
    columns = {
        name: matched[name].to_numpy(dtype=np.float64, na_value=np.nan)
        for name in ("z", "m500c_msun")
        if name in matched
    }
    latitude = np.abs(sky.galactic_latitude_deg(ra, dec)) if len(own) else np.empty(0)
    return columns | {
        "galactic_latitude_deg": latitude,
        "snr_peak": own["snr_peak"].to_numpy(dtype=np.float64),
        "edge_distance_arcmin": edge_distance_arcmin(ra, dec, tile_order),
    }
