"""Votes of volunteers: read a Zooniverse export (CSV with JSON cells), weight and count them.

A row is one visitor's classification of one subject. Visitors who were not logged in are
identified by a hash of their address (user_name ``not-logged-in-...``), which a family or a
school class may share. The JSON of ``annotations`` lists the tasks in the order of the answers;
that of ``subject_data`` holds the subject's metadata under its number.
"""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from clusterscan.catalogs.layouts import Layout
from clusterscan.catalogs.reading import read_table
from clusterscan.core.data_paths import expand_path
from clusterscan.core.errors import CatalogueError
from clusterscan_studies.config.labels import ExpertLabels, VolunteerVotes
from clusterscan_studies.labels.rules import NO_LABEL, Labels, as_text, column_text, map_values

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
    """Votes of volunteers, one row per volunteer and subject.

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
        The workflow, the task, and the class of each answer.

    Raises
    ------
    CatalogueError
        If the file is not an export, holds several workflows and none is chosen, or no vote is
        left.

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
    """Yield complete rows; count rows with too few or too many cells."""
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
    """Return a row's vote, or None after counting the reason."""
    # Exports hold years of clicks: tests of the workflow, older versions, broken rows. None stops
    # the reading, but all are counted, so that a wrong setting shows as a large count.
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
    """The reason why a row gives no vote."""


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
    """Return the class of the answers; of several tasks the last one with a class counts."""
    # Later tasks are more specific: "extended" is followed by the kind of object. Volunteers also
    # go back and answer again, and then the last answer is meant.
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
    """Return a 0/1 array of shape (votes, classes): the class of each vote."""
    one_hot = np.zeros((len(votes.table), len(votes.classes)))
    one_hot[np.arange(len(votes.table)), votes.table["choice"].to_numpy()] = 1.0
    return one_hot


def volunteer_agreement(votes: Votes, experts: Mapping[str, int]) -> pd.DataFrame:
    """Count how often each volunteer agrees with the experts.

    Parameters
    ----------
    votes : Votes
        What volunteers said.
    experts : mapping of subject to class
        The experts' classes, as numbers of ``votes.classes``.

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
        The experts' classes.
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
        # Volunteers without a common subject count as average ones, rather than as perfect or
        # useless.
        unmeasured = float(agree.sum() / common.sum()) if common.any() else 1.0
    if leave_one_out:
        # Without this, experts would vote twice: a volunteer who agrees with them on a subject gets
        # a higher weight on this very subject, and the votes would look better than they are.
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
    """Decide each subject's class by vote.

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


def by_votes(table: pd.DataFrame, rule: VolunteerVotes, where: str) -> Labels:
    """Label objects by the votes on their subjects.

    Returns
    -------
    labels : Labels
        Also holds the columns n_votes and ``fraction_<class>``.

    Raises
    ------
    CatalogueError
        If a file is invalid, or no subject is an object of the table.
    """
    path = expand_path(rule.export)
    votes = read_votes(path, rule)
    weight = None
    counts = {f"votes_{key}" if key != "votes" else key: n for key, n in votes.counts.items()}
    if rule.weighting == "experts":
        assert rule.experts is not None  # the settings say so
        experts = read_experts(rule.experts, votes.classes)
        counts["expert_subjects"] = votes.table["subject"].isin(list(experts)).sum()
        weight = _weights(votes, experts, rule)
    found = consensus(votes, weight, threshold=rule.threshold, min_votes=rule.min_votes)
    objects = np.array([as_text(name) for name in table["object_id"]], dtype=str)
    here = found.reindex(objects)
    seen = here["n_votes"].notna().to_numpy()
    if not seen.any():
        raise CatalogueError(
            f"{path}: none of its {len(found)} subjects (such as {found.index[0]!r}) is an "
            f"object_id of {where} (such as {objects[0]!r}); correct rule.subject_key"
        )
    label = here["label"].fillna(NO_LABEL).to_numpy(dtype=np.int64)
    counts["objects_without_votes"] = int((~seen).sum())
    counts["objects_undecided"] = int((seen & (label == NO_LABEL)).sum())
    shown = [str(name) for name in here.columns if name != "label"]
    columns = {name: here[name].to_numpy(dtype=float) for name in shown}
    return Labels(label, votes.classes, {k: int(v) for k, v in counts.items()}, columns)


def _weights(votes: Votes, experts: dict[str, int], rule: VolunteerVotes) -> np.ndarray:
    if not votes.table["subject"].isin(list(experts)).any():
        raise CatalogueError(
            f"{rule.export}: volunteers and experts ({rule.experts and rule.experts.path}) have no "
            "subject in common, so no volunteer can be weighed; correct subject_key or "
            "experts.object_id, or set weighting: none"
        )
    return vote_weights(
        votes,
        experts,
        least_common=rule.least_common,
        unmeasured=rule.unmeasured_weight,
        leave_one_out=rule.leave_one_out,
    )


def read_experts(settings: ExpertLabels, classes: tuple[str, ...]) -> dict[str, int]:
    """Read the experts' classes: subject -> class number.

    Raises
    ------
    CatalogueError
        If the file lacks a column, a class is unknown, or experts contradict themselves.
    """
    path = expand_path(settings.path)
    layout = Layout("csv", {"object_id": settings.object_id, "class": settings.column})
    raw = read_table(path, layout)
    subject = column_text(raw, settings.object_id, str(path))
    value = column_text(raw, settings.column, str(path))
    meaning = settings.classes or {name: [name] for name in classes}
    unknown = sorted(set(meaning) - set(classes))
    if unknown:
        raise CatalogueError(f"experts.classes names {unknown}; the classes are {list(classes)}")
    label = map_values(value, {name: meaning.get(name, []) for name in classes})
    if (label == NO_LABEL).any():
        row = int(np.flatnonzero(label == NO_LABEL)[0])
        raise CatalogueError(
            f"{path}: row {row + 1}, column {settings.column}: {value[row]!r} is none of the "
            f"classes {list(classes)}; map it in experts.classes"
        )
    pairs = pd.DataFrame({"subject": subject, "label": label}).drop_duplicates()
    twice = pairs["subject"][pairs["subject"].duplicated()]
    if len(twice):
        raise CatalogueError(
            f"{path}: {len(twice)} subjects have two classes, the first is {twice.iloc[0]}; "
            "settle them"
        )
    return dict(zip(pairs["subject"], pairs["label"].tolist(), strict=True))
