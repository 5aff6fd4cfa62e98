"""Compare the positions of found clusters with the true ones: core, tail, and dependences."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import ndtri

from clusterscan.catalogs.pairs import checked_vectors, pairs_within
from clusterscan.core import sky
from clusterscan.measure.offsets import FEWEST, MEDIAN_OF_RAYLEIGH, core_and_tail, fit_offsets
from clusterscan.validate.recovery import Recovery

PARTS = 3  # bins of equal numbers; a few dozen clusters do not allow more
HISTOGRAM_BINS = 20
_STEPS = 64  # points along each side of a tile
# WISE scans along ecliptic meridians: its depth grows with ecliptic latitude.
_ECLIPTIC_POLE = (270.0, 66.56071)  # ICRS, to an arcsec (IAU 2006 obliquity at J2000)
_MAD_OF_NORMAL = float(ndtri(0.75))


def position_report(
    found: Recovery,
    objects: pd.DataFrame,
    truth: pd.DataFrame,
    *,
    threshold: float,
    radius_arcmin: float,
    tile_order: int,
    noise: Mapping[str, Mapping[int, float]] | None = None,
    peaks: Mapping[str, pd.DataFrame] | None = None,
) -> dict[str, Any]:
    """Describe the separations of real objects from their clusters, also in bins of other columns.

    Parameters
    ----------
    found : Recovery
        The judged objects of the region.
    objects : DataFrame
        The merged objects that ``found`` was made from: pos_err_arcsec, snr_peak.
    truth : DataFrame
        The reference: z and m500c_msun, where it has them.
    threshold : float
        Lowest score of the objects that count.
    radius_arcmin : float
        Largest separation of a match [arcmin].
    tile_order : int
    noise : mapping of survey to mapping of tile to float, optional
        Pixel noise of tile images (`pixel_noise`): a survey's depth, tile by tile.
    peaks : mapping of name to DataFrame, optional
        Each network's own candidates: ra_deg, dec_deg.

    Returns
    -------
    dict
        ``fit`` (`clusterscan.measure.offsets.fit_offsets`), ``edges_arcsec``, ``counts``,
        ``core`` and ``tail`` (expected numbers in the bins), ``claimed_sigma_arcsec`` (median of
        the positions' own errors), ``by``: of each column the fits in bins of equal numbers, and
        ``networks``: the distance between two networks' positions (`network_scatter`).
    """
    chosen = (found.score >= threshold) & found.is_true
    separation = found.sep_arcsec[chosen]
    radius = 60 * radius_arcmin
    edges = np.linspace(0, radius, HISTOGRAM_BINS + 1)
    fit = fit_offsets(separation, radius)
    core, tail = core_and_tail(edges, fit["sigma_arcsec"], fit["tail"])
    own = objects.iloc[found.rows[chosen]]
    claimed = own["pos_err_arcsec"].to_numpy(dtype=np.float64)
    columns = _columns(own, truth.iloc[found.match[chosen]], tile_order, noise or {})
    return {
        "fit": fit,
        "edges_arcsec": edges.tolist(),
        "counts": np.histogram(separation, edges)[0].tolist(),
        "core": (separation.size * core).tolist(),
        "tail": (separation.size * tail).tolist(),
        "claimed_sigma_arcsec": float(np.median(claimed)) if claimed.size else float("nan"),
        "by": {name: offsets_by(separation, v, radius) for name, v in columns.items()},
        "networks": network_scatter(own, peaks or {}, radius_arcmin),
    }


def offsets_by(
    separation_arcsec: np.ndarray, values: np.ndarray, radius_arcsec: float
) -> list[dict[str, Any]]:
    """Fit the separations in bins of another column that hold equal numbers.

    Parameters
    ----------
    separation_arcsec, values : float ndarray, shape (n,)
        Rows whose value is NaN are left out.
    radius_arcsec : float

    Returns
    -------
    list of dict
        low, high, middle (median) of the column, and the fit; fewer bins if there are few objects,
        none if all values are equal.
    """
    known = np.isfinite(values)
    separation, values = separation_arcsec[known], values[known]
    parts = min(PARTS, values.size // FEWEST)
    if parts < 1 or values.min() == values.max():
        return []
    # Bins of equal numbers: their errors are alike, and no bin is empty.
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
    """Return the distance of positions from the border of the tile that owns them [arcmin].

    It is measured to points along the border, so it is up to a few arcsec too large at order 5.
    """
    if not len(ra_deg):
        return np.empty(0)
    tile = sky.owning_cell(ra_deg, dec_deg, tile_order)
    vectors = sky.unit_vectors(ra_deg, dec_deg)
    distance = np.empty(len(tile))
    for number in np.unique(tile):
        rows = tile == number
        border = sky.outline_vectors(int(number), tile_order, _STEPS)
        # The largest cosine belongs to the nearest point of the border; clipped, because rounding
        # may exceed 1.
        cosine = np.clip(vectors[rows] @ border.T, -1.0, 1.0)
        distance[rows] = np.degrees(np.arccos(cosine.max(axis=1))) * 60.0
    return distance


def network_scatter(
    objects: pd.DataFrame, peaks: Mapping[str, pd.DataFrame], radius_arcmin: float
) -> list[dict[str, Any]]:
    """Measure the distance between the positions that pairs of networks give the same objects.

    Two networks of one survey look at the same pixels, so they differ only by architecture and
    training. Networks of two surveys have nothing in common but the cluster.

    Parameters
    ----------
    objects : DataFrame, n rows
        ra_deg, dec_deg.
    peaks : mapping of name to DataFrame
        Each network's candidates: ra_deg, dec_deg.
    radius_arcmin : float
        A network sees an object if it has a peak within this distance [arcmin].

    Returns
    -------
    list of dict
        first, second, n (objects that both see), median_arcsec, and sigma_arcsec: the standard
        deviation of the difference along one axis, from the median. Pairs with fewer than five
        common objects are left out.
    """
    seen = {name: _nearest_peak(objects, table, radius_arcmin) for name, table in peaks.items()}
    rows = []
    for first, second in combinations(sorted(seen), 2):
        a, b = seen[first], seen[second]
        both = np.isfinite(a).all(axis=0) & np.isfinite(b).all(axis=0)
        if both.sum() < FEWEST:
            continue
        apart = 3600 * sky.separation_deg(*a[:, both], *b[:, both])
        median = float(np.median(apart))
        rows.append(
            {
                "first": first,
                "second": second,
                "n": int(both.sum()),
                "median_arcsec": median,
                "sigma_arcsec": median / MEDIAN_OF_RAYLEIGH,
            }
        )
    return rows


def _nearest_peak(objects: pd.DataFrame, peaks: pd.DataFrame, radius_arcmin: float) -> np.ndarray:
    """Return the position of the peak nearest to each object, (2, n) [deg]; NaN: none nearby."""
    place = np.full((2, len(objects)), np.nan)
    i, j, separation = pairs_within(
        checked_vectors(objects["ra_deg"], objects["dec_deg"], "objects"),
        checked_vectors(peaks["ra_deg"], peaks["dec_deg"], "peaks"),
        radius_arcmin,
    )
    order = np.lexsort((j, separation, i))
    rows, first = np.unique(i[order], return_index=True)
    nearest = peaks.iloc[j[order][first]]
    place[:, rows] = nearest["ra_deg"].to_numpy(), nearest["dec_deg"].to_numpy()
    return place


def pixel_noise(image: np.ndarray, covered: np.ndarray) -> float:
    """Estimate the noise of a pixel from the differences of neighbours; NaN without any.

    The estimate is robust against stars and clusters. It does not contain noise that neighbouring
    pixels have in common.

    Parameters
    ----------
    image : float ndarray, shape (ny, nx)
    covered : bool ndarray, shape (ny, nx)
        Pixels with data.
    """
    # Differences of neighbours cancel everything smooth: background, CMB, halos of stars.
    step = (image[:, 1:] - image[:, :-1])[covered[:, 1:] & covered[:, :-1]]
    if not step.size:
        return float("nan")
    # A difference of two pixels has sqrt(2) times the noise of one.
    return float(np.median(np.abs(step - np.median(step))) / (_MAD_OF_NORMAL * np.sqrt(2)))


def _columns(
    own: pd.DataFrame,
    matched: pd.DataFrame,
    tile_order: int,
    noise: Mapping[str, Mapping[int, float]],
) -> Mapping[str, np.ndarray]:
    ra, dec = own["ra_deg"].to_numpy(), own["dec_deg"].to_numpy()
    columns = {
        name: matched[name].to_numpy(dtype=np.float64, na_value=np.nan)
        for name in ("z", "m500c_msun")
        if name in matched
    }
    some = len(own) > 0
    tile = sky.owning_cell(ra, dec, tile_order) if some else np.empty(0, dtype=np.int64)
    columns |= {
        "galactic_latitude_deg": np.abs(sky.galactic_latitude_deg(ra, dec)) if some else ra,
        "ecliptic_latitude_deg": 90.0 - sky.separation_deg(ra, dec, *_ECLIPTIC_POLE)
        if some
        else ra,
        "edge_distance_arcmin": edge_distance_arcmin(ra, dec, tile_order),
    }
    columns |= {
        name: own[name].to_numpy(dtype=np.float64)
        for name in ("snr_peak", "prob_scatter")
        if name in own
    }
    return columns | {
        f"noise_{survey}": np.array([by_tile.get(int(t), np.nan) for t in tile])
        for survey, by_tile in noise.items()
    }
