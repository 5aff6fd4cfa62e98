"""Labels by volunteers' votes: an export, what experts said, and a table's objects together."""

from __future__ import annotations

import numpy as np
import pandas as pd

from clusterscan.catalogs.layouts import Layout
from clusterscan.catalogs.reading import read_table
from clusterscan.core.data_paths import expand_path
from clusterscan.core.errors import CatalogueError
from clusterscan_studies.config.labels import ExpertLabels, VolunteerVotes
from clusterscan_studies.labels.consensus import consensus, vote_weights
from clusterscan_studies.labels.rules import Labels
from clusterscan_studies.labels.values import NO_LABEL, as_text, column_text, map_values
from clusterscan_studies.labels.zooniverse import Votes, read_votes


def by_votes(table: pd.DataFrame, rule: VolunteerVotes, where: str) -> Labels:
    """Label objects by the votes on the subjects that show them.

    Returns
    -------
    labels : Labels
        With the columns n_votes and ``fraction_<class>``.

    Raises
    ------
    CatalogueError
        If a file is not what it should be, or no subject is an object of the table.
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
    """Return what experts said: subject -> number of its class.

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
