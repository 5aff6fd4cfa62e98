"""Paths of a study, the inputs of its jobs, and the settings that each job sees."""

from __future__ import annotations

import json
from typing import Any

from pydantic import BaseModel

from clusterscan.flow.versions import STAGE_VERSIONS
from clusterscan_studies.config.load import StudyForm
from clusterscan_studies.experiment import planned_repeats

PRODUCTS = (
    "table.parquet",
    "table.csv",
    "table.md",
    "table_runs.parquet",
    "table_runs.csv",
    "report.html",
    "report.md",
    "summary.json",
)


class StudyPaths:
    """Paths of one form of a study, below its folder."""

    def __init__(self, form: StudyForm):
        self._form = form
        self._root = form.root.as_posix()

    def source(self, dataset: str) -> str:
        """Return the source manifest of a data set (written before the workflow starts)."""
        return f"{self._root}/sources/{dataset}.json"

    def examples(self, dataset: str) -> str:
        """Return the manifest of a data set's examples."""
        return f"{self._root}/examples/{dataset}.json"

    def experiment(self, key: str) -> str:
        """Return the manifest of an experiment's repeats."""
        return f"{self._root}/models/{key}/experiment.json"

    def needs(self, key: str) -> dict[str, list[str]]:
        """Return the inputs of an experiment by name."""
        experiment = self._form.study.experiments[key]
        return {
            "examples": [self.examples(experiment.dataset)],
            "test": [self.examples(experiment.test_on)] if experiment.test_on else [],
            "start": [self.experiment(experiment.start_from)] if experiment.start_from else [],
        }

    def all_experiments(self) -> list[str]:
        """Return the manifests of all experiments."""
        return [self.experiment(key) for key in self._form.study.experiments]

    def all_examples(self) -> list[str]:
        """Return the manifests of all data sets that an experiment uses."""
        used = (self.needs(key) for key in self._form.study.experiments)
        return sorted({path for need in used for path in (*need["examples"], *need["test"])})

    def extra_page(self, name: str) -> str:
        """Return an extra's page."""
        return f"{self._root}/extras/{name}.json"

    def all_extras(self) -> list[str]:
        """Return the pages of all extras that the study asks for."""
        return [self.extra_page(name) for name in self._form.study.extras.names()]

    def extra_needs(self, name: str) -> list[str]:
        """Return the inputs of an extra."""
        extras = self._form.study.extras
        datasets = extras.probability_maps if name == "probability_maps" else ()
        keys = extras.experiments(name)
        return [*map(self.examples, datasets), *map(self.experiment, keys)]

    def products(self) -> list[str]:
        """Return the final products."""
        return [f"{self._root}/{name}" for name in PRODUCTS]

    def everything(self) -> list[str]:
        """Return all declared files of a finished study; Snakemake rebuilds any that is missing."""
        made = [*self.all_examples(), *self.all_experiments(), *self.all_extras()]
        return [*made, *self.products()]

    def log(self, stage: str, key: str) -> str:
        """Return a job's log file."""
        return f"{self._root}/logs/{stage}/{key}.log"


STUDY_VERSIONS = {"examples": 1, "experiment": 1, "extra": 1, "report": 3}
"""Raise a number when that job's code gives other results for the same input."""


class StudySettings:
    """Each job's settings, as JSON text for its script's ``--settings``."""

    def __init__(self, form: StudyForm):
        self._form = form

    def examples(self, dataset: str) -> str:
        """Return the settings of a data set's examples."""
        settings = self._form.study.datasets[dataset]
        return self._text("examples", {"dataset": _plain(settings), "seed": self._form.study.seed})

    def experiment(self, key: str) -> str:
        """Return the settings of an experiment."""
        study = self._form.study
        experiment = study.experiments[key]
        network = study.network(key)
        folds = study.folds_of(key)
        return self._text(
            "experiment",
            {
                "fusion": experiment.fusion is not None,
                "network": _plain(network),
                "train": _plain(study.training(key)),
                "classes": experiment.classes,
                "bands": experiment.bands,
                "grey": experiment.grey,
                "start_from": experiment.start_from,
                "train_version": STAGE_VERSIONS["train"],
                "folds": None if folds is None else _plain(folds),
                "repeats": planned_repeats(
                    study.seed,
                    study.repeats_of(key),
                    None if folds is None else folds.folds,
                ),
            },
        )

    def extra(self, name: str) -> str:
        """Return the settings of an extra."""
        study = self._form.study
        settings = study.extras.model_dump(mode="json")[name]
        datasets = settings if name == "probability_maps" else ()
        return self._text(
            "extra",
            {
                "settings": settings,
                "datasets": {dataset: _plain(study.datasets[dataset]) for dataset in datasets},
                "titles": {
                    key: study.experiments[key].title for key in study.extras.experiments(name)
                },
            },
        )

    def report(self) -> str:
        """Return the settings of the report: the whole study."""
        form = self._form
        shown = {
            "name": form.name,
            "quick": form.quick,
            "reduced": form.reduced,
            "study": _plain(form.study),
        }
        return self._text("report", shown)

    def _text(self, job: str, content: dict[str, Any]) -> str:
        # Not sorted: the order of classes and branches is a part of what they mean.
        return json.dumps({"version": STUDY_VERSIONS[job], "stage": content})


def _plain(model: BaseModel) -> Any:
    return model.model_dump(mode="json")
