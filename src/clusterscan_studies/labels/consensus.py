"""From many votes to one class a subject, and how far each volunteer is trusted.

A volunteer's weight is the fraction of their votes, on subjects that experts classified too,
that agree with the experts (Kosiba et al. 2020 weight volunteers by that agreement; how they
treat volunteers without a common subject is not told, so it is a setting here).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from clusterscan_studies.labels.zooniverse import Votes, choices_by_class


def volunteer_agreement(votes: Votes, experts: Mapping[str, int]) -> pd.DataFrame:
    """Return how often each volunteer agrees with the experts.

    Parameters
    ----------
    votes : Votes
        What volunteers said.
    experts : mapping of subject to class
        What experts said, as numbers of ``votes.classes``.

    Returns
    -------
    DataFrame
        Index volunteer: n_votes, n_common (votes on the experts' subjects), n_agree, and
        agreement = n_agree / n_common (NaN without a common subject).
    """
    common, agree = _against(votes, experts)
    table = pd.DataFrame(
        {"volunteer": votes.table["volunteer"], "n_common": common, "n_agree": agree}
    )
    grouped = table.groupby("volunteer")
    found = grouped[["n_common", "n_agree"]].sum().astype(np.int64)
    found.insert(0, "n_votes", grouped.size())
    with np.errstate(invalid="ignore"):
        found["agreement"] = found["n_agree"] / found["n_common"].where(found["n_common"] > 0)
    return found


def vote_weights(
    votes: Votes,
    experts: Mapping[str, int],
    *,
    least_common: int = 1,
    unmeasured: float | None = None,
    leave_one_out: bool = True,
) -> np.ndarray:
    """Return the weight of each vote: its volunteer's agreement with the experts.

    Parameters
    ----------
    votes : Votes
        What volunteers said.
    experts : mapping of subject to class
        What experts said.
    least_common : int
        Volunteers with fewer common subjects have the weight ``unmeasured``.
    unmeasured : float, optional
        None: the agreement of all votes together.
    leave_one_out : bool
        Measure the weight of a vote on the volunteer's other subjects. Otherwise the experts'
        answer on a subject raises the weight of those who gave it there.

    Returns
    -------
    float64 ndarray, shape (votes,)

    References
    ----------
    Kosiba et al. 2020, MNRAS 496, 4141.
    """
    common, agree = _against(votes, experts)
    volunteer, _ = pd.factorize(votes.table["volunteer"])
    n_common = np.bincount(volunteer, weights=common)[volunteer]
    n_agree = np.bincount(volunteer, weights=agree)[volunteer]
    if unmeasured is None:
        unmeasured = float(agree.sum() / common.sum()) if common.any() else 1.0
    if leave_one_out:
        n_common, n_agree = n_common - common, n_agree - agree
    measured = n_common >= least_common
    ratio = np.divide(n_agree, n_common, out=np.zeros(len(n_agree)), where=n_common > 0)
    return np.where(measured, ratio, unmeasured)


def _against(votes: Votes, experts: Mapping[str, int]) -> tuple[np.ndarray, np.ndarray]:
    """Return 0/1 arrays: votes on experts' subjects, and those among them that agree."""
    said = votes.table["subject"].map(experts).to_numpy(dtype=float, na_value=np.nan)
    common = np.isfinite(said)
    agree = common & (said == votes.table["choice"].to_numpy())
    return common.astype(np.int64), agree.astype(np.int64)


def consensus(
    votes: Votes, weight: np.ndarray | None = None, *, threshold: float = 0.5, min_votes: int = 1
) -> pd.DataFrame:
    """Return each subject's class by vote.

    Parameters
    ----------
    votes : Votes
        What volunteers said.
    weight : float ndarray, shape (votes,), optional
        Weight of each vote; None: all alike.
    threshold : float
        Of two classes, the second needs at least this fraction; of more, the largest wins.
    min_votes : int
        Subjects with fewer votes get no class.

    Returns
    -------
    DataFrame
        Index subject, sorted: n_votes, ``fraction_<class>`` of the weighted votes (NaN where all
        weigh nothing), label (int64; -1: too few votes, no weight, or a tie of three classes
        and more).
    """
    weight = np.ones(len(votes.table)) if weight is None else weight
    names, subject = np.unique(votes.table["subject"].to_numpy(dtype=str), return_inverse=True)
    sums = np.zeros((len(names), len(votes.classes)))
    np.add.at(sums, subject, choices_by_class(votes) * weight[:, None])
    total = sums.sum(axis=1, keepdims=True)
    fraction = np.divide(sums, total, out=np.full(sums.shape, np.nan), where=total > 0)
    n_votes = np.bincount(subject, minlength=len(names))
    found = pd.DataFrame({"n_votes": n_votes}, index=pd.Index(names, name="subject"))
    for number, name in enumerate(votes.classes):
        found[f"fraction_{name}"] = fraction[:, number]
    label = _decide(fraction, threshold)
    found["label"] = np.where((n_votes >= min_votes) & (total[:, 0] > 0), label, -1)
    return found


def _decide(fraction: np.ndarray, threshold: float) -> np.ndarray:
    # Sums of weights carry rounding: 0.1 + 0.2 against 0.3 is a tie.
    close = 1e-9
    if fraction.shape[1] == 2:
        return (fraction[:, 1] >= threshold - close).astype(np.int64)
    filled = np.nan_to_num(fraction, nan=-1.0)
    best = filled.max(axis=1, keepdims=True)
    alone = (filled >= best - close).sum(axis=1) == 1
    return np.where(alone, filled.argmax(axis=1), -1)
