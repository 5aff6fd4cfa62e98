"""The pinned training set of a survey: its examples, their checksums, and their inputs.

Images and catalogues go on changing. A network that followed each change would be trained again,
and the whole sky scanned again, for one new tile. The examples are therefore pinned: they are
linked (or copied) aside, and networks are trained on this set until `clusterscan unpin` asks for
a new one or the settings that make examples change.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from clusterscan.core.atomic import link_or_copy, write_json
from clusterscan.core.errors import ProductError
from clusterscan.core.fingerprint import file_sha256
from clusterscan.core.records import TileRecord

PARTS = ("train", "validation", "test")
"""Names of the parts of the sky, and of data sets, that networks are trained and judged on."""


@dataclass(frozen=True)
class TrainingSet:
    """A survey's training set.

    Attributes
    ----------
    survey : str
        The survey.
    made_for : str
        Fingerprint of all settings that determine examples.
    examples : dict of str to str
        sha256 of each tile's examples, by path relative to the run's folder, in tile order.
    images : dict of str to str
        The sha256 (or status) of each tile image that examples were cut from, by tile.
    catalogues : dict of str to str
        sha256 of the tables that labelled the examples, by `label_name`.
    """

    survey: str
    made_for: str
    examples: dict[str, str]
    images: dict[str, str]
    catalogues: dict[str, str]

    def shards(self, root: Path) -> Iterator[tuple[Path, str]]:
        """Yield each file of examples with its sha256."""
        for path, sha256 in self.examples.items():
            yield root / path, sha256

    def checked_shards(self, root: Path) -> list[Path]:
        """Return the files of examples, after comparing their bytes.

        Raises
        ------
        ProductError
            If one is missing or holds other bytes.
        """
        paths = []
        for path, sha256 in self.shards(root):
            if not path.is_file() or file_sha256(path) != sha256:
                raise ProductError(
                    f"{path}: examples of the training set of {self.survey} are missing or "
                    "damaged; `clusterscan verify --forget`, then run again: the training set is "
                    "made again from present images and catalogues"
                )
            paths.append(path)
        return paths


def training_set_folder(root: Path, survey: str) -> Path:
    """Return the folder of the examples of a survey's training set."""
    return root / "releases" / survey


def label_name(table: Path) -> str:
    """Return the name of a table of labels: a catalogue's name, or ``known.parquet``."""
    return table.stem if table.parent.name == "catalogs" else table.name


def write_training_set(
    path: Path,
    root: Path,
    survey: str,
    made_for: str,
    samples: Mapping[int, TileRecord],
    images: Mapping[int, TileRecord],
    catalogues: Iterable[Path],
) -> TrainingSet:
    """Pin the present examples: link them aside and write the training set that names them.

    Parameters
    ----------
    path : Path
        The training set; written last.
    root : Path
        The run's folder.
    survey, made_for : str, str
        See `TrainingSet`.
    samples, images : mapping of int to TileRecord
        Outcomes of `sample` and `preprocess`, by tile.
    catalogues : iterable of Path
        The tables that labelled the examples.

    Raises
    ------
    ProductError
        If examples are missing or damaged.
    """
    folder = training_set_folder(root, survey)
    examples: dict[str, str] = {}
    for _, record in sorted(samples.items()):
        if record.has_shard:
            shard = record.checked_shard(root)
            target = folder / shard.relative_to(root / "samples" / survey)
            # `sample` replaces its shards by renaming, so the bytes stay under this name, and a
            # pinned set costs no disk until examples change.
            link_or_copy(shard, target)
            examples[target.relative_to(root).as_posix()] = record.sha256
    training_set = TrainingSet(
        survey,
        made_for,
        examples,
        # Images and catalogues are only noted, to report later what has changed; they pin nothing.
        {str(tile): record.identity for tile, record in sorted(images.items())},
        {label_name(table): file_sha256(table) for table in sorted(catalogues)},
    )
    write_json(path, asdict(training_set))
    # Last: until the new set is written, the old one still names these files.
    for old in set(folder.rglob("*.parquet")) - {root / name for name in examples}:
        old.unlink()  # of an earlier training set
    return training_set


def read_training_set(path: Path) -> TrainingSet:
    """Read a training set.

    Raises
    ------
    ProductError
        If the file is missing or damaged, or names files outside of the run's folder.
    """
    try:
        training_set = TrainingSet(**json.loads(path.read_text(encoding="utf-8")))
        names = [Path(name) for name in training_set.examples]
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise ProductError(
            f"{path}: not a readable training set ({error}); delete the file and run again: it is "
            "made again from the present images and catalogues"
        ) from error
    # Training opens these files, so none may lie outside of the run's folder.
    if any(name.is_absolute() or ".." in name.parts for name in names):
        raise ProductError(f"{path}: names files outside of the run's folder; delete it")
    return training_set
