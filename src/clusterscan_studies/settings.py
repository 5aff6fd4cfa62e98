"""What each job of a study sees of its settings: what determines its result, as JSON.

So a new title reruns the report alone, and a new experiment none of the others.
"""

from __future__ import annotations

import json
from typing import Any

from pydantic import BaseModel

from clusterscan.flow.versions import STAGE_VERSIONS
from clusterscan_studies.config.load import StudyForm
from clusterscan_studies.plan import planned_repeats

STUDY_VERSIONS = {"examples": 1, "experiment": 1, "extra": 1, "report": 3}
"""Raise a number when that job's code gives other results for the same input."""


class StudySettings:
    """Each job's settings, as JSON text for its script's ``--settings``."""

    def __init__(self, form: StudyForm):
        self._form = form

    def examples(self, dataset: str) -> str:
        """Return what determines a data set's examples, besides its sources."""
        settings = self._form.study.datasets[dataset]
        return self._text("examples", {"dataset": _plain(settings), "seed": self._form.study.seed})

    def experiment(self, key: str) -> str:
        """Return what determines an experiment, besides its data."""
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
        """Return what determines an extra, besides networks and images."""
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
        """Return settings of the report, which shows the whole study."""
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
