"""Prepare the examples of an experiment: read, select, relabel and split them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from clusterscan.core.atomic import write_json
from clusterscan.core.errors import ProductError
from clusterscan.core.fingerprint import file_sha256, fingerprint
from clusterscan.train.examples import Examples, read_examples
from clusterscan.train.views import grey, join_views, select_bands, stack_views, take
from clusterscan_studies.config.stamp_data import StampDataset
from clusterscan_studies.config.study import RunDataset


def concatenate(first: Examples, second: Examples) -> Examples:
    """Concatenate two sets of examples with equal classes, bands, size and scale.

    Raises
    ------
    ProductError
        If their views or classes differ.
    """
    _refuse_unlike(first, second)
    views = tuple(
        replace(
            a,
            images=np.concatenate([a.images, b.images]),
            present=np.concatenate([a.present, b.present]),
        )
        for a, b in zip(first.views, second.views, strict=True)
    )
    shared = [name for name in first.columns if name in second.columns]
    columns = {n: np.concatenate([first.columns[n], second.columns[n]]) for n in shared}
    arrays: dict[str, Any] = {
        field.name: np.concatenate([getattr(first, field.name), getattr(second, field.name)])
        for field in fields(first)
        if isinstance(getattr(first, field.name), np.ndarray)
    }
    return replace(first, views=views, columns=columns, **arrays)


def with_test_of(own: Examples, other: Examples) -> Examples:
    """Replace the test part of the examples by another data set's test part.

    Test objects are removed from the training and validation parts, whichever data set they are in.
    """
    test = take(other, np.flatnonzero(other.split == "test"))
    # The same object may be an example of both, with other labels: ids must stay apart.
    test = replace(test, example_id=np.char.add("test:", test.example_id.astype(str)))
    named = np.isin(own.object_id, test.object_id) & (own.object_id != "")
    learnt = (own.split != "test") & ~named
    return concatenate(take(own, np.flatnonzero(learnt)), test)


def reclassed(examples: Examples, classes: Mapping[str, Sequence[str]]) -> Examples:
    """Merge classes into new ones; examples of all other classes are dropped.

    Parameters
    ----------
    examples : Examples
        With the data set's classes.
    classes : mapping of str to sequence of str
        New classes, in the order of their labels -> names of the old ones in each.

    Raises
    ------
    ProductError
        If the data set has no such class.
    """
    # A table from old label to new label; -1 marks classes that no new class contains.
    new = np.full(len(examples.classes), -1)
    for label, names in enumerate(classes.values()):
        for name in names:
            if name not in examples.classes:
                raise ProductError(
                    f"classes: the data set has no class {name!r}; it has "
                    f"{', '.join(examples.classes)}"
                )
            new[examples.classes.index(name)] = label
    label = new[examples.label]
    kept = take(examples, np.flatnonzero(label >= 0))
    return replace(kept, label=label[label >= 0].astype(np.int64), classes=tuple(classes))


def fold_parts(
    examples: Examples,
    folds: int,
    fold: int,
    *,
    radius_arcmin: float,
    order: int | None,
    seed: int,
) -> np.ndarray:
    """Assign parts for one fold of a cross-validation: this fold tests, the next one validates.

    Parameters
    ----------
    examples : Examples
        Examples to divide; entries of one object, and neighbours on the sky, share a fold.
    folds, fold : int
        Number of folds, and the number of the one for the test.
    radius_arcmin : float
        Objects this near to each other are one [arcmin].
    order : int or None
        HEALPix order of the cells of the sky that stay whole; None: single objects.
    seed : int
        Another seed, another division.

    Returns
    -------
    str ndarray, shape (n,)
    """
    # Only here: other experiments do without the libraries of the sky.
    from clusterscan.sample.leakage import join_objects
    from clusterscan_studies.folds import fold_numbers, split_by_folds

    names = np.where(examples.object_id == "", examples.example_id, examples.object_id)
    ra, dec = examples.ra_deg, examples.dec_deg
    group = join_objects(names, ra, dec, radius_arcmin)
    number = fold_numbers(
        group, examples.label, folds, ra_deg=ra, dec_deg=dec, order=order, seed=seed
    )
    return split_by_folds(number, test=fold, validation=(fold + 1) % folds).astype(str)


def _refuse_unlike(first: Examples, second: Examples) -> None:
    def layout(examples: Examples) -> Sequence[object]:
        views = [
            (v.name, v.bands, v.images.shape[1:], v.pixel_scale_arcsec) for v in examples.views
        ]
        return [examples.classes, *(view[1:] for view in views)]

    if layout(first) != layout(second):
        raise ProductError(
            f"test_on: these data sets differ in classes, bands, size or scale: {layout(first)} "
            f"and {layout(second)}; give both the same"
        )


def write_dataset(
    root: Path, name: str, settings: StampDataset | RunDataset, source: Mapping[str, Any]
) -> None:
    """Bring a data set's examples up to date and write their manifest.

    Raises
    ------
    ClusterscanError
        If stamps or labels are invalid, or examples do not fit together.
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
            # The manifest names the hash of each file. A run that has since made other examples
            # must not slip into an experiment that claims the old ones.
            _refuse_other_bytes(_place(root, content, path), sha256, manifest)
    return _read(root, content)


def read_for_experiment(
    root: Path, own: Path, test: Path | None, experiment: Mapping[str, Any]
) -> Examples:
    """Read the examples of an experiment, with its classes, bands and test part.

    Parameters
    ----------
    root : Path
        The study's folder.
    own : Path
        Manifest of the data set that it is trained on.
    test : Path or None
        Manifest of the data set whose test part is used instead, if that is another.
    experiment : mapping
        Its settings; ``classes``, ``bands`` and ``grey`` are used.
    """
    # The order matters: the test part is exchanged first, because both data sets must still have
    # the same classes and bands; then all are relabelled together.
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
    """Return a file's path; a run's files are named from the working folder."""
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
