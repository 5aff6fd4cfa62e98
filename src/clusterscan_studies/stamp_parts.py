"""Training, validation and test parts of labelled stamps."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from clusterscan.core.errors import CatalogueError
from clusterscan.flow.sky_split import SkySplit
from clusterscan.formats.sky_parts import PARTS
from clusterscan.sample.joins import join_objects, sdss_field
from clusterscan_studies.config.stamp_data import FoldSplit, GivenSplit, ObjectSplit, StampDataset
from clusterscan_studies.folds import fold_numbers, keeps_clear, split_by_folds, split_objects
from clusterscan_studies.labels.values import column_text, map_values


def give_parts(
    table: pd.DataFrame,
    everything: pd.DataFrame,
    sha256: Mapping[str, str],
    settings: StampDataset,
) -> tuple[pd.DataFrame, int]:
    """Return a table of examples, and how many rows a guard left out.

    Parameters
    ----------
    table : DataFrame
        Labelled stamps that have an image.
    everything : DataFrame
        All rows of the label table; a split by strata is made on these.
    sha256 : mapping of member to str
        Checksums of the images.
    settings : StampDataset
        Joins, split and guard.

    Returns
    -------
    table : DataFrame
        Sorted by object and stamp, with example_id, split, kind, group, and fold where there are
        folds.
    guarded : int
        Rows left out, as they are too near to a later part.

    Raises
    ------
    CatalogueError
        If a class is too small for the split, or the split's column has an unknown value.
    """
    table = table.sort_values(["object_id", "member"], ignore_index=True)
    split = settings.split
    if isinstance(split, ObjectSplit) and split.strata is not None:
        table = table.merge(_by_strata(everything, sha256, split, settings), on="member")
    else:
        table = table.assign(group=_groups(table, settings, sha256))
        table = table.assign(**_parts(table, settings))
    table = table.assign(example_id=_example_ids(table), kind="stamp")
    clear = keeps_clear(
        table["ra_deg"].to_numpy(float),
        table["dec_deg"].to_numpy(float),
        table["split"].to_numpy(str),
        max(settings.guard_arcsec / 60.0, getattr(split, "guard_arcmin", 0.0)),
    )
    return table[clear].reset_index(drop=True), int((~clear).sum())


def _groups(table: pd.DataFrame, settings: StampDataset, sha256: Mapping[str, str]) -> np.ndarray:
    where = settings.labels.path
    equal = [
        np.where(table[column].isna(), "", column_text(table, column, where))
        for column in settings.join_columns
    ]
    equal.append(table["member"].map(sha256).to_numpy(dtype=object))
    if settings.join_sdss_fields:
        equal.append(sdss_field(table["object_id"].to_numpy(), where))
    return join_objects(
        table["object_id"].to_numpy(),
        table["ra_deg"].to_numpy(float),
        table["dec_deg"].to_numpy(float),
        settings.join_radius_arcsec / 60.0,
        equal,
    )


def _by_strata(
    everything: pd.DataFrame,
    sha256: Mapping[str, str],
    split: ObjectSplit,
    settings: StampDataset,
) -> pd.DataFrame:
    """Return each stamp's group and part, which neither cuts nor classes change."""
    assert split.strata is not None
    group = _groups(everything, settings, sha256)
    stratum, _ = pd.factorize(
        column_text(everything, split.strata, settings.labels.path), sort=True
    )
    part = split_objects(
        group, stratum, validation=split.validation, test=split.test, seed=split.seed
    )
    return pd.DataFrame({"member": everything["member"], "group": group, "split": part})


def _parts(table: pd.DataFrame, settings: StampDataset) -> dict[str, np.ndarray]:
    """Return the columns split, and fold where there are folds."""
    split, group = settings.split, table["group"].to_numpy(str)
    label = table["label"].to_numpy()
    ra, dec = table["ra_deg"].to_numpy(float), table["dec_deg"].to_numpy(float)
    if isinstance(split, ObjectSplit):
        part = split_objects(
            group, label, validation=split.validation, test=split.test, seed=split.seed
        )
    elif isinstance(split, FoldSplit):
        fold = fold_numbers(
            group, label, split.folds, ra_deg=ra, dec_deg=dec, order=split.order, seed=split.seed
        )
        return {"split": split_by_folds(fold, split.test, split.validation), "fold": fold}
    elif isinstance(split, GivenSplit):
        part = _given(table, split, settings.labels.path)
    else:
        # A group that crosses the border of a part goes where its first member lies.
        first = table.groupby("group")[["ra_deg", "dec_deg"]].first().loc[group]
        part = SkySplit(split).part_of(first["ra_deg"].to_numpy(), first["dec_deg"].to_numpy())
    return {"split": part}


def _given(table: pd.DataFrame, split: GivenSplit, where: str) -> np.ndarray:
    values = column_text(table, split.column, where)
    code = map_values(values, {part: getattr(split, part) for part in PARTS})
    if (code < 0).any():
        row = int(np.flatnonzero(code < 0)[0])
        raise CatalogueError(
            f"{where}: object {table['object_id'].iloc[row]}, column {split.column}: "
            f"{values[row]!r} is no part of the split ({int((code < 0).sum())} such rows); list it "
            "in split.train, validation or test, or cut these rows"
        )
    return np.array(PARTS)[code]


def _example_ids(table: pd.DataFrame) -> list[str]:
    """Return ids: the object's, with the stamp's number where an object has several."""
    number = table.groupby("object_id").cumcount()
    several = table["object_id"].duplicated(keep=False)
    return [
        f"stamp-{name}-{n}" if many else f"stamp-{name}"
        for name, n, many in zip(table["object_id"], number, several, strict=True)
    ]
