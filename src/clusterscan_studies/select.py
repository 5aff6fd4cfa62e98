"""Choose, exchange and part examples: what an experiment does before it trains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np

from clusterscan.core.errors import ProductError
from clusterscan.train.examples import Examples
from clusterscan.train.views import take


def concatenate(first: Examples, second: Examples) -> Examples:
    """Return the examples of both, which must be alike but for their rows.

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
    """Return examples to train on from one data set, to be tested on the other's test part.

    An object that is tested on is not learnt from, whichever data set shows it.
    """
    test = take(other, np.flatnonzero(other.split == "test"))
    # The same object may be an example of both, with other labels: ids must stay apart.
    test = replace(test, example_id=np.char.add("test:", test.example_id.astype(str)))
    named = np.isin(own.object_id, test.object_id) & (own.object_id != "")
    learnt = (own.split != "test") & ~named
    return concatenate(take(own, np.flatnonzero(learnt)), test)


def reclassed(examples: Examples, classes: Mapping[str, Sequence[str]]) -> Examples:
    """Return examples with other classes, each made of some of theirs; the rest is left out.

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
    """Return the part of each example: its fold tests, the next one validates, the rest trains.

    Parameters
    ----------
    examples : Examples
        What is divided; entries of one object, and what lies together, share a fold.
    folds, fold : int
        How many there are, and which one tests.
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
    from clusterscan.sample.joins import join_objects
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
