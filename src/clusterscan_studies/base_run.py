"""Bring the ordinary runs that a study takes its examples from as far as their examples."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import yaml

from clusterscan.commands.run.runner import run_workflow
from clusterscan.commands.sync.sources import sync_sources
from clusterscan.config.load import load_config
from clusterscan.config.model import Config
from clusterscan.core.atomic import atomic_path
from clusterscan.core.data_paths import expand_path
from clusterscan.core.errors import ConfigError
from clusterscan_studies.config.load import StudyForm
from clusterscan_studies.config.study import RunDataset


def base_config(settings: RunDataset) -> Config:
    """Return the configuration of a data set's run.

    Raises
    ------
    ConfigError
        If it is wrong, or lacks a survey.
    """
    config = load_config([expand_path(settings.config)], settings.changes)
    missing = [survey for survey in settings.surveys if survey not in config.surveys]
    if missing:
        raise ConfigError(
            f"{settings.config}: has no survey {missing[0]!r}, which the data set "
            f"{settings.title!r} names; there are {', '.join(config.surveys)}"
        )
    return config


def base_runs(form: StudyForm) -> dict[str, Config]:
    """Return the runs that a study needs, by output folder: data sets may share one."""
    found: dict[str, Config] = {}
    for name, settings in form.study.datasets.items():
        if not isinstance(settings, RunDataset):
            continue
        config = base_config(settings)
        if found.setdefault(config.output, config) != config:
            raise ConfigError(
                f"datasets.{name}: another data set's run differs but writes to {config.output} "
                "too; give the same settings, or another `output` in `changes`"
            )
    return found


def run_bases(form: StudyForm, cores: int, extra: Sequence[str] = ()) -> None:
    """Run each base run up to its examples; what is up to date is left alone.

    Raises
    ------
    ClusterscanError
        If a job fails, or another run is at work in the folder.
    """
    for output, config in base_runs(form).items():
        file = form.root / "base" / f"{output.replace('/', '-')}.yaml"
        values = config.model_dump(mode="json", by_alias=True, exclude_unset=True)
        for survey in values["surveys"].values():
            survey["training_set"] = "follow"  # a study takes the examples, not a network
        with atomic_path(file) as temporary:
            temporary.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
        print(f"examples of {config.title} -> {output}/", flush=True)
        print(f"sources: {sync_sources(config)}", flush=True)
        run_workflow(Path(output), [file], cores, ["--until", "sample", *extra])
