"""Read the results of the experiments: predictions by seed, histories, range tests, costs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from clusterscan.core.errors import ProductError
from clusterscan.formats.tables import read_table
from clusterscan.measure.labelled import calibrated, probability_columns
from clusterscan_studies.config.study import Study
from clusterscan_studies.experiment import RECORD


@dataclass(frozen=True)
class Training:
    """One finished training.

    Attributes
    ----------
    folder : Path
        The model folder.
    seed : int
        Seed of the training.
    fold : int or None
        The fold that it was tested on.
    """

    folder: Path
    seed: int
    fold: int | None

    @cached_property
    def card(self) -> dict[str, Any]:
        """The model card."""
        return _read(self.folder / "model.json")

    @cached_property
    def history(self) -> dict[str, Any]:
        """Epochs and range tests."""
        return _read(self.folder / "history.json")

    @cached_property
    def record(self) -> dict[str, Any]:
        """Time and machine."""
        return _read(self.folder / RECORD)

    @property
    def range_tests(self) -> list[dict[str, Any]]:
        """The learning-rate range tests, one for each stage that had one."""
        return [test for test in self.history["range_tests"] if test]

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the labels 0, 1, ..."""
        return tuple(self.card["classes"])

    def predictions(self, split: str) -> pd.DataFrame:
        """Return the calibrated predictions of a part."""
        table = read_table(self.folder / "predictions.parquet")
        rows = table[table["split"] == split].reset_index(drop=True)
        return calibrated(rows, self.classes, self.card.get("calibration"))


@dataclass(frozen=True)
class Outcome:
    """All trainings of one experiment.

    Attributes
    ----------
    key : str
        The experiment.
    settings : mapping
        Its settings, as plain values.
    survey : str
        Title of its data set; empty if the study has only one data set.
    trainings : tuple of Training
        In order: one for each seed, or one for each seed and fold.
    """

    key: str
    settings: Mapping[str, Any]
    survey: str
    trainings: tuple[Training, ...]

    @property
    def title(self) -> str:
        """Title for display."""
        return str(self.settings["title"])

    @property
    def label(self) -> str:
        """Title for display, with the data set."""
        return ", ".join(part for part in (self.title, self.survey) if part)

    @property
    def network(self) -> str:
        """Name of the architecture."""
        card = self.first.card
        return str(card["network"]["name"]) if "network" in card else "fusion"

    @property
    def first(self) -> Training:
        """The first training, shown as the example of all."""
        return self.trainings[0]

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the labels 0, 1, ..."""
        return self.first.classes

    @cached_property
    def tested(self) -> dict[int, pd.DataFrame]:
        """Each seed's predictions of the test part, over all its folds."""
        found: dict[int, list[pd.DataFrame]] = {}
        for training in self.trainings:
            # Every example is tested in exactly one fold, by a network that did not see it, so the
            # folds' tables together cover the whole data set once.
            found.setdefault(training.seed, []).append(training.predictions("test"))
        return {seed: pd.concat(parts, ignore_index=True) for seed, parts in found.items()}

    @cached_property
    def together(self) -> pd.DataFrame | None:
        """The seeds' mean probability of each test example; None for one seed alone."""
        tables = list(self.tested.values())
        if len(tables) < 2:
            return None
        columns = probability_columns(self.classes)
        # Matched by example: with folds, seeds test the examples in different order.
        mean = pd.concat(tables).groupby("example_id", sort=True)[columns].mean()
        first = tables[0].sort_values("example_id", ignore_index=True)
        return first.assign(**{name: mean[name].to_numpy() for name in columns})


def read_outcomes(root: Path, study: Study) -> list[Outcome]:
    """Read the results of a study's experiments, in the study's order.

    Raises
    ------
    ProductError
        If something is missing or damaged.
    """
    return [
        Outcome(
            key, settings.model_dump(mode="json"), study.survey(key), tuple(_trainings(root, key))
        )
        for key, settings in study.experiments.items()
    ]


def first_repeat(root: Path, key: str) -> Path:
    """Return the model folder of an experiment's first training."""
    return _trainings(root, key)[0].folder


def _trainings(root: Path, key: str) -> list[Training]:
    folder = root / "models" / key
    listed = _read(folder / "experiment.json")["repeats"]
    return [Training(folder / r["name"], r["seed"], r["fold"]) for r in listed]


def _read(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ProductError(
            f"{path}: cannot be read ({error}); delete its folder and run the study again"
        ) from error
