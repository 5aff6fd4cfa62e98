"""Simulated volunteers: their skills, their votes on cluster candidates, and the export.

A volunteer of skill t recognises a cluster of difficulty d with the chance 1 / (1 + exp(d - t))
(Rasch 1960, the one-parameter model of tests). Faint and distant clusters are difficult, and
other objects are rarely called clusters. So the volunteers' labels are pure and incomplete, as
those of Kosiba et al. 2020 (MNRAS 496, 4141, Table 1) were. No real person is behind them.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from clusterscan.config.simulation_xray import VolunteerSettings
from clusterscan.core.atomic import atomic_path
from clusterscan.simulate.sky_cells import Kind, generator

ANSWERS = (
    "no emission",
    "edge",
    "point",
    "nearby galaxy",
    "no optical image",
    "nearby galaxy cluster",
    "distant galaxy cluster",
)
"""Possible answers: a to g of the project's histogram."""

_NO, _EDGE, _POINT, _GALAXY, _NO_IMAGE, _NEAR, _FAR = range(7)
CLUSTER_ANSWERS = (_NEAR, _FAR)
NEARBY_Z = 0.3
"""Volunteers call a recognised cluster "nearby" below this redshift."""

_EASY_Z = 0.1
_ACTIVITY_SHAPE = 1.2  # of a Pareto law: a few volunteers classify much

# What is said where no cluster is recognised: parts by the candidate's class, in ANSWERS' order.
_OTHERWISE = {
    # A missed cluster is mostly taken for a point source: at low counts its extent is hard to see.
    "cluster": (0.30, 0.05, 0.48, 0.15, 0.02, 0.0, 0.0),
    "nearby_galaxy": (0.08, 0.02, 0.18, 0.70, 0.02, 0.0, 0.0),
    "agn": (0.13, 0.02, 0.78, 0.05, 0.02, 0.0, 0.0),
    "blend": (0.15, 0.03, 0.72, 0.08, 0.02, 0.0, 0.0),
    "artefact": (0.30, 0.55, 0.13, 0.0, 0.02, 0.0, 0.0),
    "fluctuation": (0.66, 0.07, 0.22, 0.03, 0.02, 0.0, 0.0),
}


@lru_cache(maxsize=4)
def volunteers(seed: int, settings: VolunteerSettings) -> tuple[np.ndarray, np.ndarray]:
    """Draw the volunteers' skills and the fraction of all votes that each gives, shape (n,)."""
    rng = generator(seed, Kind.VOLUNTEERS, 0)
    skill = settings.skill_mean + settings.skill_scatter * rng.standard_normal(settings.volunteers)
    # In citizen-science projects a few volunteers give most of the votes. So the weight of a
    # volunteer rests on many common candidates for some and on hardly any for most.
    activity = 1.0 + rng.pareto(_ACTIVITY_SHAPE, settings.volunteers)
    return skill, activity / activity.sum()


def difficulty(counts: np.ndarray, z: np.ndarray, settings: VolunteerSettings) -> np.ndarray:
    """Return the difficulty of clusters, on the scale of the skill.

    ``counts`` are X-ray counts; both arrays have shape (n,).
    """
    faint = np.log10(settings.counts_easy / np.maximum(counts, 1.0))
    return settings.counts_slope * faint + settings.redshift_slope * (np.asarray(z) - _EASY_Z)


def votes(candidates: pd.DataFrame, *, seed: int, settings: VolunteerSettings) -> pd.DataFrame:
    """Draw the volunteers' votes on candidates.

    The votes on a candidate depend on it and the seed alone, not on the others listed.

    Parameters
    ----------
    candidates : DataFrame
        name, class, cluster_counts, z.
    seed : int
        The sky's seed, >= 0.
    settings : VolunteerSettings
        The volunteers.

    Returns
    -------
    DataFrame
        One row a vote: subject (the candidate's name), volunteer (int64), answer (int64: of
        `ANSWERS`).
    """
    skill, activity = volunteers(seed, settings)
    hard = difficulty(candidates["cluster_counts"].to_numpy(), candidates["z"].to_numpy(), settings)
    parts = []
    for row, (name, kind, z) in enumerate(
        zip(candidates["name"], candidates["class"], candidates["z"], strict=True)
    ):
        # The stream depends on the candidate's name, so its votes are the same in any list.
        # Python's own hash() differs between processes.
        rng = generator(seed, Kind.VOLUNTEERS, 1, zlib.crc32(str(name).encode()))
        # A candidate is retired after a fixed number of votes, each by another volunteer; active
        # volunteers meet more candidates.
        who = rng.choice(len(skill), settings.votes_per_candidate, replace=False, p=activity)
        # The skill matters for clusters alone; everybody calls other objects a cluster equally
        # rarely.
        chance = np.full(len(who), settings.false_cluster)
        if kind == "cluster":
            chance = 1 / (1 + np.exp(hard[row] - skill[who]))
        recognised = rng.random(len(who)) < chance
        near = np.isfinite(z) and z < NEARBY_Z
        other = rng.choice(len(ANSWERS), len(who), p=_OTHERWISE[kind])
        answer = np.where(recognised, _NEAR if near else _FAR, other)
        parts.append(pd.DataFrame({"subject": str(name), "volunteer": who, "answer": answer}))
    if not parts:
        return pd.DataFrame({"subject": [], "volunteer": [], "answer": []}).astype(
            {"subject": "str", "volunteer": "int64", "answer": "int64"}
        )
    return pd.concat(parts, ignore_index=True)


def is_common(names: pd.Series, part: float) -> np.ndarray:
    """Return True for candidates that experts judged too: a fraction, by a hash of the name."""
    # A hash of the name, so that a candidate is common or not whatever list it is in.
    return np.array([zlib.crc32(f"{n} common".encode()) / 2**32 < part for n in names], dtype=bool)


WORKFLOW_ID, WORKFLOW_VERSION = 1, "1.1"
SUBJECT_KEY = "name"
EMISSION = "Emission close to the centre"
TASKS = {
    "no emission": ("No emission close to the centre", None, None),
    "edge": ("Emission near the chip edge", None, None),
    "point": (EMISSION, "Point-like", None),
    "nearby galaxy": (EMISSION, "Extended", "Nearby galaxy"),
    "no optical image": (EMISSION, "Extended", "No optical image"),
    "nearby galaxy cluster": (EMISSION, "Extended", "Nearby galaxy cluster"),
    "distant galaxy cluster": (EMISSION, "Extended", "Distant galaxy cluster"),
}
"""Answer -> values of the tasks T0, T1 and T2 of the export."""

CLUSTER_VALUES = [str(TASKS[ANSWERS[answer]][2]) for answer in CLUSTER_ANSWERS]
"""Values of T2 that mean a cluster."""

_QUESTIONS = (
    "Look at images 1 & 3. Do you see X-ray emission close to the centre of the image?",
    "Is the emission close to the centre point-like or extended?",
    "Look at images 2 & 3. What do you see there?",
)
_FIRST_DAY = datetime(2000, 1, 1, tzinfo=UTC)
_ANONYMOUS_EVERY = 7  # volunteer: not logged in


def export_table(votes: pd.DataFrame) -> pd.DataFrame:
    """Convert votes to the rows of an export.

    Parameters
    ----------
    votes : DataFrame
        Of `volunteers.votes`: subject, volunteer, answer.
    """
    subjects = {name: number for number, name in enumerate(dict.fromkeys(votes["subject"]), 1)}
    rows = [
        _row(number, subjects[subject], subject, int(volunteer), ANSWERS[answer])
        for number, (subject, volunteer, answer) in enumerate(
            zip(votes["subject"], votes["volunteer"], votes["answer"], strict=True), 1
        )
    ]
    return pd.DataFrame(rows, columns=list(_row(1, 1, "", 1, ANSWERS[0])))


def write_export(path: Path, votes: pd.DataFrame) -> None:
    """Write votes as an export; the same votes always give the same bytes."""
    with atomic_path(path) as temporary:
        export_table(votes).to_csv(temporary, index=False, lineterminator="\n")


def _row(number: int, subject: int, name: str, volunteer: int, answer: str) -> dict[str, Any]:
    anonymous = volunteer % _ANONYMOUS_EVERY == 0
    digest = hashlib.sha256(f"simulated volunteer {volunteer}".encode()).hexdigest()[:20]
    user = f"not-logged-in-{digest}" if anonymous else f"simulated-volunteer-{volunteer}"
    when = _FIRST_DAY + timedelta(seconds=number)
    return {
        "classification_id": number,
        "user_name": user,
        "user_id": "" if anonymous else volunteer,
        "user_ip": digest,
        "workflow_id": WORKFLOW_ID,
        "workflow_name": "The Hunt for Galaxy Clusters (simulated)",
        "workflow_version": WORKFLOW_VERSION,
        "created_at": when.strftime("%Y-%m-%d %H:%M:%S UTC"),
        "gold_standard": "",
        "expert": "",
        "metadata": json.dumps({"live_project": True, "simulated": True}),
        "annotations": json.dumps(_annotations(answer)),
        "subject_data": json.dumps({str(subject): {"retired": None, SUBJECT_KEY: name}}),
        "subject_ids": subject,
    }


def _annotations(answer: str) -> list[dict[str, str]]:
    return [
        {"task": f"T{number}", "task_label": question, "value": value}
        for number, (question, value) in enumerate(zip(_QUESTIONS, TASKS[answer], strict=True))
        if value is not None
    ]
