"""Simulated votes in the form of a Zooniverse classification export, marked as simulated.

Columns and JSON as in the Zooniverse's help, "Data exports"; the first task and its answers are
those of the project The Hunt for Galaxy Clusters, the others are worded after its histogram.
"""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd

from clusterscan.core.atomic import atomic_path
from clusterscan_studies.simulate.volunteers import ANSWERS, CLUSTER_ANSWERS

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
"""Answer -> what is said in the tasks T0, T1 and T2."""

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
    """Return votes as the rows of an export.

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
