"""Report the results of the probes: completeness, mass limits, and candidates of null skies.

A probe's candidates, objects and probabilities are made in the same way as those of the run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from clusterscan.catalogs.matching import match_by_score
from clusterscan.catalogs.pairs import checked_vectors, pairs_within
from clusterscan.config.merge import MergeSettings
from clusterscan.config.scan import DetectSettings
from clusterscan.config.validation import SelectionSettings
from clusterscan.core import sky
from clusterscan.detect.peaks import find_peaks
from clusterscan.measure.offsets import fit_offsets
from clusterscan.merge.calibrate import ProbabilityModel, calibrated
from clusterscan.merge.forced_values import forced
from clusterscan.merge.objects import Model, features_of, merge_candidates, model_tag
from clusterscan.selection.completeness import (
    binned,
    fit_completeness,
    for_the_report,
    limits,
    resampled_fits,
    tile_limits,
)

TileMap = Callable[[int], np.ndarray | None]


def candidates_of(
    maps: Mapping[int, np.ndarray], tile_order: int, map_order: int, settings: DetectSettings
) -> pd.DataFrame:
    """Find the peaks of one network's maps; each tile sees the maps of its neighbours.

    Parameters
    ----------
    maps : mapping of tile to float ndarray
        Probabilities in nested order, NaN where invalid.
    tile_order, map_order : int
    settings : DetectSettings
        The run's own.
    """
    tables = []
    for tile in sorted(maps):
        around = sorted({tile, *(int(t) for t in sky.neighbours(tile, tile_order))} & set(maps))
        places = [sky.map_pixels(t, tile_order, map_order) for t in around]
        ipix = np.concatenate([sky.descendants(t, tile_order, map_order) for t in around])
        tables.append(
            find_peaks(
                np.concatenate([maps[t] for t in around]),
                np.concatenate([ra for ra, _ in places]),
                np.concatenate([dec for _, dec in places]),
                ipix,
                sky.ancestor(ipix, map_order, tile_order) == tile,
                map_order=map_order,
                settings=settings,
            )
        )
    # Concatenation with empty tables would change column types; one is kept if all are empty.
    filled = [t for t in tables if len(t)] or tables[:1]
    return pd.concat(filled, ignore_index=True)


def objects_of(
    candidates: Mapping[Model, pd.DataFrame],
    map_of: Mapping[Model, TileMap],
    record: Mapping[str, Any],
    tile_order: int,
    map_order: int,
    settings: MergeSettings,
) -> pd.DataFrame:
    """Merge a probe's candidates and give the objects the run's probability.

    Parameters
    ----------
    candidates : mapping of (survey, model) to DataFrame
        Candidates of all networks in the run's combination.
    map_of : mapping of (survey, model) to callable
        Each network's map of a tile, or None.
    record : mapping
        The run's fit of the probability; nothing is fitted here.
    tile_order, map_order : int
    settings : MergeSettings
    """
    objects = merge_candidates(candidates, radius_arcmin=settings.radius_arcmin)
    ra, dec = objects["ra_deg"].to_numpy(), objects["dec_deg"].to_numpy()
    values = [
        forced(
            map_of[m], ra, dec, tile_order, map_order, radius_arcmin=settings.forced_radius_arcmin
        )
        for m in sorted(candidates)
    ]
    features = features_of(np.stack(values, axis=1), "probability")
    return objects.assign(prob=ProbabilityModel.from_dict(record).probability(features))


def alone(candidates: pd.DataFrame, model: Model, record: Mapping[str, Any]) -> np.ndarray:
    """Return the calibrated probabilities of one network's peaks; NaN without a calibration."""
    how = (record.get("singles") or {}).get(model_tag(model))
    if how is None:
        return np.full(len(candidates), np.nan)
    peak = candidates["value"].to_numpy(dtype=np.float64)
    return calibrated(how, features_of(peak, "probability"))


_KEY = 41
THRESHOLDS = tuple(round(0.1 * k, 1) for k in range(1, 10))


def recovered(
    clusters: pd.DataFrame,
    objects: pd.DataFrame,
    real: pd.DataFrame,
    *,
    threshold: float,
    radius_arcmin: float,
) -> pd.DataFrame:
    """Look up each injected cluster in the objects.

    Parameters
    ----------
    clusters : DataFrame, n rows
        From `clusterscan.selection.probe.injected_in`.
    objects : DataFrame
        Objects of the sky with the clusters in it: ra_deg, dec_deg, prob.
    real : DataFrame
        Objects of the run itself, likewise.
    threshold : float
        Lowest probability of the sample.
    radius_arcmin : float
        Largest separation of an object and its cluster [arcmin].

    Returns
    -------
    DataFrame
        With ``prob`` (of the object matched by score, 0: none), ``sep_arcsec`` (NaN), ``found``
        (prob reaches the threshold), and ``there_before``: the run itself has an object of the
        sample within the radius, so a detection here does not prove that the injected one is found.
    """
    row, separation = match_by_score(objects.assign(score=objects["prob"]), clusters, radius_arcmin)
    prob, apart = np.zeros(len(clusters)), np.full(len(clusters), np.nan)
    matched = row >= 0
    prob[row[matched]] = objects["prob"].to_numpy()[matched]
    apart[row[matched]] = 60 * separation[matched]
    # A real object of the sample near an injected cluster would be counted as its detection,
    # however faint the injected one is. Such places are left out, and their share is the rate of
    # chance matches.
    above = real[real["prob"].to_numpy() >= threshold]
    near, _, _ = pairs_within(
        checked_vectors(clusters["ra_deg"], clusters["dec_deg"], "injected clusters"),
        checked_vectors(above["ra_deg"], above["dec_deg"], "objects"),
        radius_arcmin,
    )
    before = np.zeros(len(clusters), dtype=bool)
    before[near] = True
    return clusters.assign(
        prob=prob, sep_arcsec=apart, found=prob >= threshold, there_before=before
    )


def injection_report(
    clusters: pd.DataFrame,
    *,
    threshold: float,
    settings: SelectionSettings,
    radius_arcmin: float,
    confidence: float,
    tile_order: int,
    seed: int,
    footprint: Sequence[int] = (),
) -> tuple[dict[str, Any], pd.DataFrame]:
    """Measure completeness in bins, its fit, mass limits and the recovered positions.

    Parameters
    ----------
    clusters : DataFrame
        From `recovered`.
    threshold, radius_arcmin : float
        As there.
    settings : SelectionSettings
    confidence : float
        Probability content of the intervals.
    tile_order, seed : int
    footprint : sequence of int
        Further tiles that get a mass limit.

    Returns
    -------
    report : dict
        n_injected, n_there_before, chance_rate, n, n_found, threshold, bins, fit, limits (of
        the footprint), tiles (mass limits of each probed one), mass_map (of all), offsets. Without
        a usable cluster only threshold (None) and a reason: a fit would only show its prior.
    tiles : DataFrame
        From `clusterscan.selection.completeness.tile_limits`; empty without a usable cluster.
    """
    chance = float(clusters["there_before"].mean()) if len(clusters) else 0.0
    used = clusters[~clusters["there_before"].to_numpy(dtype=bool)]
    if used.empty:
        reason = f"none of {len(clusters)} clusters lies away from the run's own objects"
        return {"threshold": None, "reason": reason, "tiles": []}, pd.DataFrame()
    columns = {c: used[c].to_numpy() for c in ("m500c_msun", "z", "found")}
    fit = fit_completeness(**columns)
    # An injection cell holds one cluster; its ancestors hold clusters with common noise and depth.
    drawn = resampled_fits(
        columns,
        sky.owning_cell(used["ra_deg"].to_numpy(), used["dec_deg"].to_numpy(), tile_order + 1),
        n_bootstrap=settings.n_bootstrap,
        rng=np.random.default_rng([seed, _KEY]),
    )
    found = used[used["found"]]
    probed = {int(t) for t in used["tile"]}
    everywhere = sorted(probed.union(footprint))
    tiles = tile_limits(used, fit, drawn, everywhere, settings.grid, confidence)
    report = {
        "threshold": threshold,
        "n_injected": len(clusters),
        "n_there_before": int(clusters["there_before"].sum()),
        "chance_rate": chance,
        "n": len(used),
        "n_found": len(found),
        "bins": binned(
            used["mass_bin"].to_numpy(), used["z_bin"].to_numpy(), columns["found"],
            settings.grid, confidence,
        ),
        "fit": fit.to_dict(),
        "limits": limits(fit, drawn, settings.grid),
        "tiles": tiles[tiles["probed"]].to_dict("records"),
        "mass_map": for_the_report(tiles, tile_order),
        "offsets": fit_offsets(found["sep_arcsec"].to_numpy(), 60 * radius_arcmin),
    }  # fmt: skip
    return report, tiles


def null_report(
    found: Mapping[str, np.ndarray],
    real: Mapping[str, np.ndarray],
    area_deg2: float,
    limits_at: tuple[float, ...] = THRESHOLDS,
) -> dict[str, Any]:
    """Compare the candidates per square degree of a null sky with those of the real sky.

    Parameters
    ----------
    found, real : mapping of name to float ndarray
        Probabilities of the null sky's and the real sky's candidates on the same tiles, of each
        network alone ("survey/model") and of all ("networks").
    area_deg2 : float
        Area of the searched sky.

    Returns
    -------
    dict
        area_deg2, thresholds, and of each name ``null`` and ``real``: counts at or above each
        threshold, ``null_per_deg2`` and ``real_per_deg2``, and ``told_on``: at some threshold
        of 0.5 or higher with at least five real candidates, the null sky yields half as many.
    """
    # At low thresholds noise gives candidates on any sky. A network that is confident on a null sky
    # has learnt something other than clusters.
    sure = np.array(limits_at) >= 0.5
    rows = {}
    for name in sorted(found):
        null, true = (
            np.array([int((values[name] >= t).sum()) for t in limits_at])
            for values in (found, real)
        )
        rows[name] = {
            "null": null.tolist(),
            "real": true.tolist(),
            "null_per_deg2": (null / area_deg2).tolist(),
            "real_per_deg2": (true / area_deg2).tolist(),
            "told_on": bool(((true >= 5) & (2 * null >= true))[sure].any()),
        }
    return {"area_deg2": area_deg2, "thresholds": list(limits_at), "finders": rows}
