"""Build a data set of labelled stamps: read images and labels, split, write examples.

The result has the format of every other table of examples (`sample.examples`), with the classes'
names in its metadata, and the label table's own columns next to the images.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from clusterscan.core.data_paths import expand_path
from clusterscan.core.errors import CatalogueError, ImageError, SourceError
from clusterscan.core.fingerprint import file_sha256
from clusterscan.fetch.stamp_files import Stamps
from clusterscan.flow.sky_split import SkySplit
from clusterscan.formats.examples import write_example_chunks
from clusterscan.formats.training_set import PARTS
from clusterscan.sample.crops import fit_stamp, mean_of_bands, to_half
from clusterscan.sample.leakage import assert_no_leakage, join_objects, sdss_field
from clusterscan_studies.config.stamp_data import FoldSplit, GivenSplit, ObjectSplit, StampDataset
from clusterscan_studies.folds import fold_numbers, keeps_clear, split_by_folds, split_objects
from clusterscan_studies.labels.rules import column_text, map_values
from clusterscan_studies.labels.table import LabelTable, read_label_table

log = logging.getLogger(__name__)

_CHUNK_BYTES = 32_000_000
_SHOWN = 3


def make_dataset(
    settings: StampDataset, path: Path, progress: Callable[[int, int], None] | None = None
) -> dict[str, int]:
    """Write a dataset's examples.

    Parameters
    ----------
    settings : StampDataset
        Images, labels, and how they are split.
    path : Path
        The Parquet file; written in one step.
    progress : callable, optional
        Called with the numbers of finished stamps and of all stamps.

    Returns
    -------
    counts : dict
        Rows of the label table, rows left out by reason, and examples of each class and part.

    Raises
    ------
    SourceError, CatalogueError, ImageError
        If an image or a label is invalid or lacks its partner, or a class is empty.
    ProductError
        If two parts of the split share an object, sky, or an image.
    """
    stamps = Stamps(settings.source)
    labels = read_label_table(settings.labels)
    table, missing = _with_images(labels, stamps, settings)
    table, tinted = _without_tint(table, stamps, settings)
    sha256 = _checksums(table, labels, stamps, settings)
    # All checks come before the images are cut: a fault in the labels should cost seconds, not an
    # hour.
    _refuse_one_image_of_two_classes(table, sha256, labels.classes, stamps)
    table, guarded = give_parts(table, labels.everything, sha256, settings)
    counts = labels.counts | {"without_image": missing, "tinted": tinted, "guarded": guarded}
    counts |= _members_of_each_part(table, labels.classes, settings)
    assert_no_leakage(
        table,
        settings.join_radius_arcsec / 60.0,
        str(path),
        [sha256[member] for member in table["member"]],
        remedy="set join_radius_arcsec and guard_arcsec, or correct the split column",
    )
    write_example_chunks(
        path,
        table,
        _chunks(table["member"].tolist(), stamps, settings, progress),
        bands=settings.example_bands,
        size_px=settings.size_px,
        pixel_scale_arcsec=settings.example_scale_arcsec,
        classes=labels.classes,
        unit=settings.unit,
    )
    log.info("%s: %s", path, ", ".join(f"{n} {what}" for what, n in counts.items() if n))
    return counts


def _with_images(
    labels: LabelTable, stamps: Stamps, settings: StampDataset
) -> tuple[pd.DataFrame, int]:
    """Return the rows that have an image, and the number of rows without one."""
    members = set(stamps.members())
    unlabelled = sorted(members - labels.members)
    if unlabelled and settings.unlabelled_images == "error":
        raise CatalogueError(
            f"{settings.labels.path}: {len(unlabelled)} of {len(members)} images in {stamps.path} "
            f"have no row, the first is {_some(unlabelled)}; add them, or set "
            "unlabelled_images: ignore"
        )
    table = labels.table
    there = table["member"].isin(members)
    lacking = table["member"][~there].tolist()
    if lacking and (settings.missing_images == "error" or not there.any()):
        raise SourceError(
            f"{stamps.path}: {len(lacking)} of {len(table)} stamps that "
            f"{settings.labels.path} labels are not there, the first is {_some(lacking)} (images "
            f"there are called {_some(sorted(members))}); restore them, correct "
            "labels.columns.member, or set missing_images: drop"
        )
    return table[there].reset_index(drop=True), len(lacking)


def _without_tint(
    table: pd.DataFrame, stamps: Stamps, settings: StampDataset
) -> tuple[pd.DataFrame, int]:
    """Return the rows whose stamps have a grey background, and the number of dropped rows."""
    if settings.max_tint is None:
        return table, 0
    tint = np.array([background_tint(stamps.read(member)) for member in table["member"]])
    stays = tint <= settings.max_tint
    if not stays.any():
        raise ImageError(
            f"{stamps.path}: the background of every stamp is tinted by more than max_tint = "
            f"{settings.max_tint} (the least by {tint.min():.3g}); raise it"
        )
    return table[stays].reset_index(drop=True), int((~stays).sum())


def background_tint(planes: np.ndarray) -> float:
    """Return the background of the brightest band minus that of the next.

    The background is the median of a band's finite pixels; planes is (bands, y, x).
    """
    # Colour composites of web viewers are sometimes tinted as a whole, where one plate or band is
    # bright. A network would learn the tint, which goes with the survey field rather than the
    # class.
    background = np.sort(np.nanmedian(planes.reshape(len(planes), -1), axis=1))
    return float(background[-1] - background[-2])


def _checksums(
    table: pd.DataFrame, labels: LabelTable, stamps: Stamps, settings: StampDataset
) -> dict[str, str]:
    """Return the sha256 of each stamp."""
    named = set(table["member"])
    if isinstance(settings.split, ObjectSplit) and settings.split.strata is not None:
        named |= set(labels.everything["member"]) & set(stamps.members())
    return {m: hashlib.sha256(stamps.files.read_bytes(m)).hexdigest() for m in sorted(named)}


def _some(names: list[str]) -> str:
    return ", ".join(repr(name) for name in names[:_SHOWN]) or "(none)"


def _refuse_one_image_of_two_classes(
    table: pd.DataFrame, sha256: dict[str, str], classes: tuple[str, ...], stamps: Stamps
) -> None:
    image = table["member"].map(sha256)
    number = table.groupby(image)["label"].nunique()
    torn = number.index[number > 1]
    if len(torn):
        rows = table[image == torn[0]]
        told = ", ".join(
            f"{m}: {classes[k]}" for m, k in zip(rows["member"], rows["label"], strict=True)
        )
        raise CatalogueError(
            f"{stamps.path}: {len(torn)} images stand under names of different classes, the first "
            f"as {told}; correct their labels, or remove one"
        )


def _members_of_each_part(
    table: pd.DataFrame, classes: tuple[str, ...], settings: StampDataset
) -> dict[str, int]:
    number = table.groupby(["split", "label"]).size()
    parts = [part for part in ("train", "validation", "test") if (table["split"] == part).any()]
    counts = {
        f"{part}_{name}": int(number.get((part, label), 0))
        for part in parts
        for label, name in enumerate(classes)
    }
    needed = [f"{part}_{name}" for part in ("train", "validation") for name in classes]
    empty = [key for key in needed if not counts.get(key)]
    if empty:
        raise CatalogueError(
            f"{settings.labels.path}: no example for {', '.join(empty)} (counts: {counts}); change "
            f"the split ({settings.split.kind}) or its seed, or lower guard_arcsec"
        )
    return counts


def _chunks(
    members: list[str],
    stamps: Stamps,
    settings: StampDataset,
    progress: Callable[[int, int], None] | None,
) -> Iterator[np.ndarray]:
    shape = (len(settings.example_bands), settings.size_px, settings.size_px)
    # Two bytes for each pixel of a half-precision image; a chunk is about 32 MB whatever the size
    # of the stamps.
    step = max(1, _CHUNK_BYTES // (2 * int(np.prod(shape))))
    for start in range(0, len(members), step):
        yield np.stack([_example(m, stamps, settings) for m in members[start : start + step]])
        if progress is not None:
            progress(min(start + step, len(members)), len(members))


def _example(member: str, stamps: Stamps, settings: StampDataset) -> np.ndarray:
    where = f"{stamps.path}: {member}"
    planes = stamps.read(member)
    if settings.grey:
        planes = mean_of_bands(planes)
    try:
        image = fit_stamp(
            planes,
            settings.source.pixel_scale_arcsec,
            settings.size_px,
            settings.example_scale_arcsec,
            resample=settings.resample,
        )
    except ImageError as error:
        raise ImageError(f"{where} {error}") from error
    if not np.isfinite(image).any():
        raise ImageError(
            f"{where} has no pixel with a value in its central {settings.size_px} px; remove it "
            "from the label table"
        )
    return to_half(image)


def give_parts(
    table: pd.DataFrame,
    everything: pd.DataFrame,
    sha256: Mapping[str, str],
    settings: StampDataset,
) -> tuple[pd.DataFrame, int]:
    """Assign labelled stamps to training, validation and test.

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
    # A split by strata is made on the whole file. So experiments with other cuts or classes share
    # one test part, and a network started from another's weights is not tested on its training
    # examples.
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
    # Two names for the same image count as one object: otherwise a copy in the training would give
    # away the answer in the test.
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
    """Split all stamps of the file by strata; cuts and classes do not change a stamp's part."""
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
    """Return the column ``split``, and ``fold`` if there are folds."""
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
    """Build example ids from the object's id, plus the stamp's number if an object has several."""
    number = table.groupby("object_id").cumcount()
    several = table["object_id"].duplicated(keep=False)
    return [
        f"stamp-{name}-{n}" if many else f"stamp-{name}"
        for name, n, many in zip(table["object_id"], number, several, strict=True)
    ]


_FILE_KEYS = ("path", "export")


def stamp_sources(settings: StampDataset) -> dict[str, Any]:
    """Compute the token of the stamps and the sha256 of each table that labels them.

    Raises
    ------
    SourceError
        If one is missing.
    """
    files = sorted(set(_files(settings.labels.model_dump(mode="json"))))
    return {
        "stamps": Stamps(settings.source).token(),
        "tables": {name: file_sha256(expand_path(name)) for name in files},
    }


def _files(settings: Any) -> Iterator[str]:
    if isinstance(settings, Mapping):
        for key, value in settings.items():
            if key in _FILE_KEYS and isinstance(value, str):
                yield value
            else:
                yield from _files(value)
    elif isinstance(settings, list | tuple):
        for value in settings:
            yield from _files(value)
