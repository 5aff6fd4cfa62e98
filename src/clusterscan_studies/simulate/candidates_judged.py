"""The X-ray survey's candidates with the labels of (simulated) experts and volunteers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from clusterscan.config.simulation import SimulationSettings
from clusterscan_studies.labels.consensus import consensus, vote_weights
from clusterscan_studies.labels.zooniverse import Votes
from clusterscan_studies.simulate.candidates import candidates_of_cell
from clusterscan_studies.simulate.volunteers import CLUSTER_ANSWERS, is_common, votes

VOTE_CLASSES = ("other", "cluster")


def judged_candidates(
    tiles: Sequence[int], tile_order: int, *, seed: int, settings: SimulationSettings
) -> pd.DataFrame:
    """Return the candidates of some tiles and how they are judged.

    Parameters
    ----------
    tiles, tile_order : sequence of int, int
        The footprint.
    seed : int
        The sky's seed, >= 0.
    settings : SimulationSettings
        The sky's settings.

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
    """Return candidates with the labels that votes give them."""
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
