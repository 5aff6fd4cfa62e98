"""A data set's examples: where their bytes lie, and how they are read for an experiment.

Labelled stamps are cut once into a table of their own; a run's examples stay where the run keeps
them. Either way a small manifest names the files with their sha256.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from clusterscan.core.atomic import write_json
from clusterscan.core.errors import ProductError
from clusterscan.core.fingerprint import file_sha256, fingerprint
from clusterscan.train.examples import Examples
from clusterscan.train.shards import read_examples
from clusterscan.train.views import grey, join_views, select_bands, stack_views
from clusterscan_studies.config.stamp_data import StampDataset
from clusterscan_studies.config.study import RunDataset
from clusterscan_studies.select import reclassed, take, with_test_of


def write_dataset(
    root: Path, name: str, settings: StampDataset | RunDataset, source: Mapping[str, Any]
) -> None:
    """Bring a data set's examples up to date and write their manifest.

    Parameters
    ----------
    root : Path
        The study's folder.
    name : str
        The data set.
    settings : StampDataset or RunDataset
        What it is.
    source : mapping
        Its source manifest.

    Raises
    ------
    ClusterscanError
        If stamps or labels are not what they should be, or examples do not fit together.
    """
    if isinstance(settings, RunDataset):
        content: dict[str, Any] = {
            "views": [{"name": name, "files": dict(source[name])} for name in settings.surveys],
            "stack": settings.stack,
            "classes": list(settings.classes),
            "kinds": settings.kinds,
        }
    else:
        # Only here: training, which reads examples too, does without the astronomers' libraries.
        from clusterscan_studies.stamp_dataset import make_dataset

        table = root / "examples" / f"{name}.parquet"
        make_dataset(settings, table)
        files = {f"examples/{name}.parquet": file_sha256(table)}
        content = {"views": [{"name": name, "files": files}]}
    content["sha256"] = fingerprint(content)  # of all that determines the examples
    content["kind"] = settings.kind
    examples = _read(root, content)
    content["counts"] = examples.counts()
    content["classes"] = list(examples.classes)
    content["bands"] = [band for view in examples.views for band in view.bands]
    write_json(root / "examples" / f"{name}.json", content)


def read_manifest(path: Path) -> dict[str, Any]:
    """Return the manifest of a data set's examples.

    Raises
    ------
    ProductError
        If it is missing or damaged.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ProductError(
            f"{path}: not a list of examples ({error}); delete it and run the study again"
        ) from error


def read_dataset(root: Path, manifest: Path) -> Examples:
    """Return a data set's examples, in memory.

    Raises
    ------
    ProductError
        If a file is missing, or is not the one that the manifest was written for.
    """
    content = read_manifest(manifest)
    for view in content["views"]:
        for path, sha256 in view["files"].items():
            _refuse_other_bytes(_place(root, content, path), sha256, manifest)
    return _read(root, content)


def read_for_experiment(
    root: Path, own: Path, test: Path | None, experiment: Mapping[str, Any]
) -> Examples:
    """Return the examples that an experiment sees.

    Parameters
    ----------
    root : Path
        The study's folder.
    own : Path
        Manifest of the data set that it is trained on.
    test : Path or None
        Manifest of the one whose test part it is tested on, where that is another.
    experiment : mapping
        Its settings: ``classes``, ``bands`` and ``grey`` count.
    """
    examples = read_dataset(root, own)
    if test is not None:
        examples = with_test_of(examples, read_dataset(root, test))
    if experiment["classes"] is not None:
        examples = reclassed(examples, experiment["classes"])
    if experiment["bands"] is not None:
        examples = select_bands(examples, experiment["bands"])
    return grey(examples) if experiment["grey"] else examples


def _read(root: Path, content: Mapping[str, Any]) -> Examples:
    views = {
        view["name"]: read_examples([_place(root, content, path) for path in view["files"]])
        for view in content["views"]
    }
    if len(views) == 1:
        (examples,) = views.values()
    else:
        examples = join_views(views)
        if content["stack"]:
            examples = stack_views(examples)
    if content.get("classes"):
        examples = replace(examples, classes=tuple(content["classes"]))
    if content.get("kinds"):
        examples = take(examples, np.flatnonzero(np.isin(examples.kind, content["kinds"])))
    return examples


def _place(root: Path, content: Mapping[str, Any], path: str) -> Path:
    """Return where a file lies: a run's files are named from the working folder."""
    return Path(path) if content["kind"] == "run" else root / path


def _refuse_other_bytes(path: Path, sha256: str, manifest: Path) -> None:
    try:
        found = file_sha256(path)
    except OSError as error:
        raise ProductError(
            f"{path}: cannot be read ({error}); delete {manifest} and run the study again"
        ) from error
    if found != sha256:
        raise ProductError(
            f"{path}: other bytes than {manifest} was written for; delete that file and run the "
            "study again"
        )
