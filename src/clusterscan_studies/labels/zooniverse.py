"""Votes from a classification export of the Zooniverse: a csv with JSON in its cells.

A row is what one visitor said of one subject. Visitors who were not logged in are told apart by
a hash of their address (user_name ``not-logged-in-...``), which a family or class may share. The
JSON of ``annotations`` lists the tasks in the order they were answered; that of ``subject_data``
holds the subject's metadata under its number.
"""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from clusterscan.core.errors import CatalogueError
from clusterscan_studies.config.labels import VolunteerVotes
from clusterscan_studies.labels.values import as_text

_NEEDED = (
    "classification_id",
    "user_name",
    "workflow_id",
    "workflow_version",
    "annotations",
    "subject_data",
    "subject_ids",
)
_LONGEST_CELL = 8_000_000  # drawings and transcripts are long; an open quote is longer
_ANONYMOUS = "not-logged-in"


@dataclass(frozen=True)
class Votes:
    """What volunteers said, one row a volunteer and subject.

    Attributes
    ----------
    table : DataFrame
        subject (our object_id), volunteer, anonymous (bool), choice (int: the class), in the
        order of their classification numbers.
    classes : tuple of str
        Names of the choices.
    counts : dict
        rows, and those left out: other_workflow, other_version, not_live, broken, many_subjects,
        no_subject, no_answer, ambiguous, anonymous_dropped, repeated; votes; anonymous (kept).
    """

    table: pd.DataFrame
    classes: tuple[str, ...]
    counts: dict[str, int] = field(default_factory=dict)


def read_votes(path: Path, settings: VolunteerVotes) -> Votes:
    """Read the votes of an export.

    A row that cannot be understood is counted and left out. Of several votes of one volunteer on
    one subject the first counts.

    Parameters
    ----------
    path : Path
        The export.
    settings : VolunteerVotes
        Which workflow and task, and what the answers mean.

    Raises
    ------
    CatalogueError
        If it is no such export, holds several workflows and none is chosen, or no vote is left.

    References
    ----------
    Zooniverse help, "Data exports"; zooniverse/Data-digging,
    docs/classification_export_field_descriptors.txt.
    """
    counts: Counter[str] = Counter()
    workflows: set[str] = set()
    votes = []
    for row in _rows(path, counts):
        workflows.add(row["workflow_id"])
        vote = _vote(row, settings, counts)
        if vote is not None:
            votes.append(vote)
    if settings.workflow_id is None and len(workflows) > 1:
        raise CatalogueError(
            f"{path}: holds workflows {', '.join(sorted(workflows))}; choose one by workflow_id"
        )
    columns = ["number", "subject", "volunteer", "anonymous", "choice"]
    table = pd.DataFrame(votes, columns=columns).sort_values("number", kind="stable")
    repeated = table.duplicated(["subject", "volunteer"])
    table = table[~repeated].drop(columns="number").reset_index(drop=True)
    counts["repeated"] = int(repeated.sum())
    counts["votes"] = len(table)
    counts["anonymous"] = int(table["anonymous"].sum())
    if table.empty:
        told = ", ".join(f"{n} {what}" for what, n in sorted(counts.items()) if n)
        raise CatalogueError(
            f"{path}: no vote is left ({told}); correct workflow_id, task, answers or subject_key"
        )
    return Votes(table, tuple(settings.answers), dict(counts))


def _rows(path: Path, counts: Counter[str]) -> Iterator[dict[str, str]]:
    """Yield whole rows; count those with too few or too many cells."""
    limit = csv.field_size_limit(_LONGEST_CELL)
    try:
        with path.open(encoding="utf-8-sig", errors="replace", newline="") as handle:
            reader = csv.reader(handle)
            header = next(reader, [])
            missing = [name for name in _NEEDED if name not in header]
            if missing:
                raise CatalogueError(
                    f"{path}: lacks {', '.join(missing)}; it is no classification export of the "
                    "Zooniverse (Lab > Data exports > classification export)"
                )
            for cells in reader:
                counts["rows"] += 1
                if len(cells) == len(header):
                    yield dict(zip(header, cells, strict=True))
                else:
                    counts["broken"] += 1
    except (OSError, csv.Error) as error:
        raise CatalogueError(
            f"{path}: cannot be read after {counts['rows']} rows ({error}); download it again"
        ) from error
    finally:
        csv.field_size_limit(limit)


def _vote(row: dict[str, str], settings: VolunteerVotes, counts: Counter[str]) -> tuple | None:
    """Return a row's vote, or None with the reason counted."""
    fault = _other_place(row, settings)
    if fault is None:
        try:
            annotations = json.loads(row["annotations"])
            subjects = json.loads(row["subject_data"])
            number = int(row["classification_id"])
            subject = _subject(subjects, row["subject_ids"], settings.subject_key)
            choice = _choice(annotations, settings)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            fault = _Fault("broken")
        else:
            fault = next((f for f in (subject, choice) if isinstance(f, _Fault)), None)
    if fault is not None:
        counts[fault] += 1
        return None
    anonymous = row["user_name"].startswith(_ANONYMOUS)
    if anonymous and settings.anonymous == "drop":
        counts["anonymous_dropped"] += 1
        return None
    # A name can be changed, the number behind it cannot.
    volunteer = row.get("user_id") or row["user_name"] or row.get("user_ip") or "nobody"
    return number, subject, volunteer, anonymous, choice


class _Fault(str):
    """Why a row gives no vote."""


def _other_place(row: dict[str, str], settings: VolunteerVotes) -> _Fault | None:
    if settings.workflow_id is not None and row["workflow_id"] != str(settings.workflow_id):
        return _Fault("other_workflow")
    if settings.min_version is not None:
        try:
            if _version(row["workflow_version"]) < _version(settings.min_version):
                return _Fault("other_version")
        except ValueError:
            return _Fault("broken")
    if settings.live_only:
        try:
            if json.loads(row["metadata"]).get("live_project") is not True:
                return _Fault("not_live")
        except (ValueError, KeyError, AttributeError):
            return _Fault("broken")
    return None


def _version(text: str) -> tuple[int, ...]:
    # 12.10 comes after 12.9: these are two numbers, not one.
    return tuple(int(part) for part in text.split("."))


def _subject(data: dict[str, Any], ids: str, key: str | None) -> str | _Fault:
    if ";" in ids or len(data) != 1:
        return _Fault("many_subjects")
    ((_, metadata),) = data.items()
    value = ids if key is None else metadata.get(key)
    text = "" if value is None else as_text(value)
    return text or _Fault("no_subject")


def _choice(annotations: list[dict[str, Any]], settings: VolunteerVotes) -> int | _Fault:
    """Return the class that the answers mean; of several tasks the last that says one counts."""
    for annotation in reversed(annotations):
        if settings.task is not None and annotation["task"] != settings.task:
            continue
        said = annotation["value"]
        listed = said if isinstance(said, list) else [said]
        texts = {value.strip() for value in listed if isinstance(value, str)}
        meant = [k for k, known in enumerate(settings.answers.values()) if texts & set(known)]
        if len(meant) > 1:
            return _Fault("ambiguous")
        if meant:
            return meant[0]
    if settings.otherwise is not None and any(a.get("value") for a in annotations):
        return list(settings.answers).index(settings.otherwise)
    return _Fault("no_answer")


def choices_by_class(votes: Votes) -> np.ndarray:
    """Return a 0/1 array, shape (votes, classes): what each vote is for."""
    one_hot = np.zeros((len(votes.table), len(votes.classes)))
    one_hot[np.arange(len(votes.table)), votes.table["choice"].to_numpy()] = 1.0
    return one_hot
