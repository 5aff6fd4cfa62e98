"""Whether training on some examples, and measuring on others, makes sense."""

from __future__ import annotations

import numpy as np

from clusterscan.core.errors import ProductError
from clusterscan.train.examples import SPLITS, Examples


def check(examples: Examples) -> None:
    """Raise ProductError unless the splits are disjoint and the labels can be learnt.

    Raises
    ------
    ProductError
        If an example_id appears twice, an object is in two splits, a split is unknown, a label
        is no class, a class has no member to train or validate on, or a weight is impossible.
    """
    ids, counts = np.unique(examples.example_id, return_counts=True)
    if (counts > 1).any():
        raise ProductError(
            f"{(counts > 1).sum()} example_ids appear more than once, "
            f"first {str(ids[counts > 1][0])!r}; run the sample stage again from empty folders"
        )
    _refuse_leaks(examples)
    unknown = sorted(set(examples.split.tolist()) - set(SPLITS))
    if unknown:
        raise ProductError(f"unknown split {unknown[0]!r}; there are {', '.join(SPLITS)}")
    _refuse_impossible_labels(examples)
    for split in ("train", "validation"):
        for label, name in enumerate(examples.classes):
            if not len(examples.rows(split, label)):
                raise ProductError(
                    f"the {split} split has no example of class {name!r} (counts: "
                    f"{examples.counts()}); enlarge the footprint or move its region to where "
                    "such objects are, or look at the rules that make labels"
                )


def _refuse_impossible_labels(examples: Examples) -> None:
    bad = (examples.label < 0) | (examples.label >= len(examples.classes))
    if bad.any():
        row = np.flatnonzero(bad)[0]
        raise ProductError(
            f"{bad.sum()} labels are none of the {len(examples.classes)} classes "
            f"{', '.join(examples.classes)}, first {examples.label[row]} of "
            f"{str(examples.example_id[row])!r}; labels count from 0"
        )
    if not (np.isfinite(examples.weight) & (examples.weight >= 0)).all():
        bad = ~(np.isfinite(examples.weight) & (examples.weight >= 0))
        row = np.flatnonzero(bad)[0]
        raise ProductError(
            f"{bad.sum()} weights are negative or not finite, first {examples.weight[row]} of "
            f"{str(examples.example_id[row])!r}; give finite weights from 0 upwards"
        )


def _refuse_leaks(examples: Examples) -> None:
    seen: dict[str, int] = {}
    pairs = []
    for row, name in enumerate(examples.object_id.tolist()):
        first = seen.setdefault(name, row) if name else row
        if examples.split[first] != examples.split[row]:
            pairs.append(
                f"{name!r} in {examples.split[first]} ({examples.example_id[first]}) "
                f"and {examples.split[row]} ({examples.example_id[row]})"
            )
    if pairs:
        more = f" and {len(pairs) - 5} more" if len(pairs) > 5 else ""
        raise ProductError(
            f"{len(pairs)} examples show an object of another split, so scores would be too "
            f"good: {'; '.join(pairs[:5])}{more}; split by sky position, not by example"
        )
