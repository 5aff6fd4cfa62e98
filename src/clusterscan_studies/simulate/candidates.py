"""Cluster candidates of the X-ray survey: extended detections and their true classes.

As in X-CLASS (Clerc et al. 2012, MNRAS 423, 3561; Koulouridis et al. 2021, A&A 652, A12), a
candidate is a detection that is probably extended; many candidates are not clusters.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import pandas as pd

from clusterscan.config.simulation import SimulationSettings
from clusterscan.core import sky
from clusterscan.simulate.halos import halos_of_cell
from clusterscan_studies.labels.votes import Votes, consensus, vote_weights
from clusterscan_studies.simulate.candidate_detection import PIXEL_ARCSEC, Detections, detect
from clusterscan_studies.simulate.volunteers import CLUSTER_ANSWERS, is_common, votes
from clusterscan_studies.simulate.xray import expected_counts, sources_near
from clusterscan_studies.simulate.xray_sources import AGN, CLUSTER, GALAXY, XraySources, beta_part
from clusterscan_studies.simulate.xray_telescope import Pointing, pointing_of_cell, pointings_around

CLASSES = ("cluster", "nearby_galaxy", "agn", "blend", "artefact", "fluctuation")
"""Classes of candidates; `expert` is 1 for clusters alone."""

_DUPLICATE_ARCSEC = 60.0
_EXPLAINED = 0.4  # real sources give at least this part of the counts, or there is none
_BLEND = 0.25  # the second brightest point over the brightest


def candidates_of_cell(
    ipix: int, order: int, *, seed: int, settings: SimulationSettings
) -> pd.DataFrame:
    """Return the candidates that lie in a HEALPix cell.

    Parameters
    ----------
    ipix, order : int
        The cell (NESTED) at any order.
    seed : int
        The sky's seed, >= 0.
    settings : SimulationSettings
        The sky's settings.

    Returns
    -------
    pandas.DataFrame
        Columns: name; ra_deg, dec_deg (detected position); z, m500c_msun (of the cluster, NaN
        where there is none); class (of `CLASSES`), expert (1 for clusters, else 0); counts,
        snr, extent_arcsec, extent_likelihood, off_axis_arcmin, exposure_ks (as measured);
        cluster_counts (expected of the cluster in the aperture); truth_name (its halo, or "").
    """
    outline = sky.outline_vectors(ipix, order)
    ra, dec = (float(v) for v in sky.cell_centres(np.array(ipix), order))
    centre = sky.unit_vectors(np.array([ra]), np.array([dec]))[0]
    radius = float(np.degrees(np.arccos(np.clip(outline @ centre, -1, 1))).max())
    # A duplicate may lie across the border: look a little further.
    near = pointings_around(ra, dec, radius + _DUPLICATE_ARCSEC / 3600, seed, settings.xray)
    parts = [candidates_of_pointing(p.cell, seed, settings) for p in near]
    table = pd.concat(parts, ignore_index=True) if parts else candidates_table([])
    table = table[~_seen_better(table)]
    # Cells own positions, so each candidate is in the table of one cell. Duplicates are removed
    # before that, for they may lie in two cells.
    owner = sky.owning_cell(table["ra_deg"].to_numpy(), table["dec_deg"].to_numpy(), order)
    return table[owner == ipix].sort_values("name", ignore_index=True)


@lru_cache(maxsize=8192)
def candidates_of_pointing(cell: int, seed: int, settings: SimulationSettings) -> pd.DataFrame:
    """Return the candidates of one pointing (cached: do not change them)."""
    pointing = pointing_of_cell(cell, seed, settings.xray)
    found = detect(cell, seed, settings)
    rows = _extended(found, settings)
    sources = sources_near(pointing, seed, settings)
    x, y = pointing.to_detector(sky.unit_vectors(sources.ra_deg, sources.dec_deg))
    # Gaps between chips are left out here: the fit accounts for them, so its counts are corrected
    # too.
    counts = expected_counts(pointing, sources) * pointing.instrument.vignetting(np.hypot(x, y))
    truths = [_truth(found, row, sources, (x, y), counts, settings) for row in rows]
    return _table(pointing, found, rows, truths, sources, seed, settings)


def _extended(found: Detections, settings: SimulationSettings) -> np.ndarray:
    """Return the rows of extended detections, the most likely of close ones, brightest first."""
    limits = settings.candidates
    pixel = PIXEL_ARCSEC[settings.xray.instrument]
    fits = found.fits
    good = (
        (fits.likelihood >= limits.detection_likelihood)
        & (fits.extent_likelihood >= limits.extent_likelihood)
        & (fits.extent_px * pixel >= limits.extent_arcsec)
        & (np.hypot(found.x, found.y) <= limits.off_axis_arcmin)
    )
    rows = np.flatnonzero(good)
    rows = rows[np.argsort(-fits.likelihood[rows], kind="stable")]
    kept: list[int] = []
    for row in rows:
        # A bright extended source breaks into several detections. The most likely is kept, and its
        # reach grows with its extent.
        away = [np.hypot(found.x[row] - found.x[k], found.y[row] - found.y[k]) for k in kept]
        reach = [max(_DUPLICATE_ARCSEC, 2 * fits.extent_px[k] * pixel) / 60.0 for k in kept]
        if all(a > r for a, r in zip(away, reach, strict=True)):
            kept.append(int(row))
    return np.array(kept, dtype=np.int64)


def _truth(
    found: Detections,
    row: int,
    sources: XraySources,
    places: tuple[np.ndarray, np.ndarray],
    counts: np.ndarray,
    settings: SimulationSettings,
) -> tuple[str, int, float]:
    """Return a detection's class, the row of its cluster (-1: none) and the cluster's counts."""
    limits = settings.candidates
    aperture = limits.aperture_arcsec
    distance = 60 * np.hypot(places[0] - found.x[row], places[1] - found.y[row])
    inside = counts * part_inside(distance, sources.core_arcsec, aperture)
    total = inside.sum()
    extent = found.fits.extent_px[row] * PIXEL_ARCSEC[settings.xray.instrument]
    # The fit gives the counts of the whole beta model; the true sources are summed within the
    # aperture only. Both must refer to the same circle.
    measured = found.fits.counts[row] * beta_part(aperture / extent)
    if total < _EXPLAINED * measured:
        return ("artefact" if found.edge[row] else "fluctuation"), -1, 0.0
    # The classes exclude one another in this order: a cluster behind an AGN counts as a cluster if
    # its gas gives a large enough share of the counts, else the brightest source decides.
    gas = np.where(sources.kind == CLUSTER, inside, 0.0)
    best = int(gas.argmax())
    if gas[best] >= max(limits.cluster_part * total, limits.cluster_counts):
        return "cluster", best, float(gas[best])
    if sources.kind[inside.argmax()] == GALAXY:
        return "nearby_galaxy", -1, 0.0
    points = np.sort(np.where(sources.kind == AGN, inside, 0.0))[::-1]
    blended = len(points) > 1 and points[1] > _BLEND * points[0]
    return ("blend" if blended else "agn"), -1, 0.0


def part_inside(distance: np.ndarray, core: np.ndarray, radius: float) -> np.ndarray:
    """Return the part of sources' light within a circle, by their distance from its centre.

    A point source counts fully inside the circle and not at all outside. For a beta model the
    light within the near and the far edge of the circle is averaged; this is exact at the centre
    and far away.
    """
    safe = np.maximum(core, 1e-6)
    far = beta_part((radius + distance) / safe)
    near = beta_part(np.abs(radius - distance) / safe)
    gas = np.where(
        distance < radius, (far + near) / 2, (far - near) / 2 * radius / (2 * distance + 1e-9)
    )
    return np.where(core > 0, gas, distance < radius)


def _table(
    pointing: Pointing,
    found: Detections,
    rows: np.ndarray,
    truths: list[tuple[str, int, float]],
    sources: XraySources,
    seed: int,
    settings: SimulationSettings,
) -> pd.DataFrame:
    pixel = PIXEL_ARCSEC[settings.xray.instrument]
    ra, dec = pointing.to_sky(found.x[rows], found.y[rows])
    prefix = f"SIMX{seed}-{pointing.cell}"
    records = []
    for number, (row, (kind, source, gas)) in enumerate(zip(rows, truths, strict=True)):
        z, mass, truth = np.nan, np.nan, ""
        if source >= 0:
            cell, index = int(sources.cell[source]), int(sources.index[source])
            halos = halos_of_cell(cell, seed, settings.halos)
            z, mass = float(halos.z[index]), float(halos.m500c_msun[index])
            truth = f"SIM{seed}-{cell}-{index}"
        records.append(
            {
                "name": f"{prefix}-{number}",
                "ra_deg": ra[number],
                "dec_deg": dec[number],
                "z": z,
                "m500c_msun": mass,
                "class": kind,
                "expert": int(kind == "cluster"),
                "counts": found.fits.counts[row],
                "snr": found.snr[row],
                "extent_arcsec": found.fits.extent_px[row] * pixel,
                "extent_likelihood": found.fits.extent_likelihood[row],
                "off_axis_arcmin": float(np.hypot(found.x[row], found.y[row])),
                "exposure_ks": pointing.exposure_s * found.seen[row] / 1e3,
                "cluster_counts": gas,
                "truth_name": truth,
            }
        )
    return candidates_table(records)


def candidates_table(records: list[dict]) -> pd.DataFrame:
    """Build a table with fixed column types from records; there may be none."""
    text, whole = ("name", "class", "truth_name"), ("expert",)
    columns = (
        "name", "ra_deg", "dec_deg", "z", "m500c_msun", "class", "expert", "counts", "snr",
        "extent_arcsec", "extent_likelihood", "off_axis_arcmin", "exposure_ks",
        "cluster_counts", "truth_name",
    )  # fmt: skip
    table = pd.DataFrame(records, columns=list(columns))
    kinds = {c: "str" if c in text else "int64" if c in whole else "float64" for c in columns}
    return table.astype(kinds)


def _seen_better(table: pd.DataFrame) -> np.ndarray:
    """Return True for rows that another pointing shows with more exposure within 1 arcmin."""
    if len(table) < 2:
        return np.zeros(len(table), dtype=bool)
    from scipy.spatial import cKDTree

    vectors = sky.unit_vectors(table["ra_deg"].to_numpy(), table["dec_deg"].to_numpy())
    chord = sky.chord(_DUPLICATE_ARCSEC / 3600)
    pairs = cKDTree(vectors).query_pairs(chord, output_type="ndarray")
    exposure, name = table["exposure_ks"].to_numpy(), table["name"].to_numpy(dtype=object)
    worse = np.zeros(len(table), dtype=bool)
    for i, j in pairs:
        # The name breaks ties, so that one of two equal exposures loses, whatever their order.
        loser = i if (exposure[i], name[i]) < (exposure[j], name[j]) else j
        worse[loser] = True
    return worse


VOTE_CLASSES = ("other", "cluster")


def judged_candidates(
    tiles: Sequence[int], tile_order: int, *, seed: int, settings: SimulationSettings
) -> pd.DataFrame:
    """Return the candidates of some tiles with the votes of volunteers and experts.

    Returns
    -------
    DataFrame
        Columns of `candidates_of_cell` (`expert` is the truth), and
        volunteers : int64
            1 where at least half of the weighted votes are for a cluster; a volunteer's weight
            is the agreement with the experts on the common candidates (Kosiba et al. 2020).
        volunteers_unweighted : int64
            The same with equal weights.
        cluster_votes : float64
            The weighted fraction.
        common : int64
            1 where the experts' class weighs volunteers.
    """
    parts = [
        candidates_of_cell(int(t), tile_order, seed=seed, settings=settings) for t in sorted(tiles)
    ]
    table = pd.concat(parts, ignore_index=True)
    return with_votes(table, votes(table, seed=seed, settings=settings.volunteers), settings)


def with_votes(
    table: pd.DataFrame, said: pd.DataFrame, settings: SimulationSettings
) -> pd.DataFrame:
    """Add labels from votes to candidates."""
    common = is_common(table["name"], settings.volunteers.common_part)
    experts = dict(zip(table["name"][common], table["expert"][common].tolist(), strict=True))
    cast = Votes(
        pd.DataFrame(
            {
                "subject": said["subject"],
                "volunteer": said["volunteer"].astype(str),
                "anonymous": False,
                "choice": said["answer"].isin(CLUSTER_ANSWERS).astype("int64"),
            }
        ),
        VOTE_CLASSES,
    )
    plain = consensus(cast).reindex(table["name"])
    weighted = consensus(cast, vote_weights(cast, experts)).reindex(table["name"])
    return table.assign(
        volunteers=weighted["label"].to_numpy(np.int64),
        volunteers_unweighted=plain["label"].to_numpy(np.int64),
        cluster_votes=weighted["fraction_cluster"].to_numpy(float),
        common=common.astype(np.int64),
    )
