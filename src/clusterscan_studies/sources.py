"""Run the ordinary runs of a study up to their examples, and list the study's sources."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from clusterscan.commands.run.runner import run_workflow
from clusterscan.commands.sync.sources import sync_sources
from clusterscan.config.load import load_config
from clusterscan.config.model import Config
from clusterscan.core.atomic import atomic_path, write_json_if_changed
from clusterscan.core.data_paths import expand_path
from clusterscan.core.errors import ConfigError, ProductError
from clusterscan.core.records import records_of
from clusterscan.flow.lock import hold_lock
from clusterscan.flow.paths import Paths
from clusterscan_studies.config.load import StudyForm
from clusterscan_studies.config.study import RunDataset
from clusterscan_studies.layout import StudyPaths
from clusterscan_studies.stamp_dataset import stamp_sources


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
    """Collect the runs that a study needs, by output folder; data sets may share a run."""
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
    """Run each base run up to its examples, if it is not up to date.

    Raises
    ------
    ClusterscanError
        If a job fails, or another run is at work in the folder.
    """
    for output, config in base_runs(form).items():
        file = form.root / "base" / f"{output.replace('/', '-')}.yaml"
        # Only what was set is written: defaults stay defaults, so the file reads like one written
        # by hand.
        values = config.model_dump(mode="json", by_alias=True, exclude_unset=True)
        for survey in values["surveys"].values():
            survey["training_set"] = "follow"  # a study takes the examples, not a network
        with atomic_path(file) as temporary:
            temporary.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
        print(f"examples of {config.title} -> {output}/", flush=True)
        with hold_lock(Path(output)) as lock:
            print(f"sources: {sync_sources(config)}", flush=True)
            run_workflow(Path(output), lock, file, cores, ["--until", "sample", *extra])


def sync_study(form: StudyForm) -> tuple[int, int]:
    """Write the source manifests that changed; return the numbers of manifests and of changes.

    Raises
    ------
    SourceError
        If a file that the study names is missing.
    ProductError
        If a base run is not there yet, or the study's folder cannot be written to.
    """
    paths = StudyPaths(form)
    contents = {paths.source(name): source_of(form, name) for name in form.study.datasets}
    try:
        changed = [write_json_if_changed(path, content) for path, content in contents.items()]
    except OSError as error:
        raise ProductError(
            f"{form.root}: cannot be written to ({error}); run this in another folder, or make "
            "it writable and free some of its disk"
        ) from error
    return len(changed), sum(changed)


def source_of(form: StudyForm, dataset: str) -> dict[str, Any]:
    """Compute the input tokens of a data set."""
    settings = form.study.datasets[dataset]
    if isinstance(settings, RunDataset):
        config = base_config(settings)
        return {survey: sample_identities(config, survey) for survey in settings.surveys}
    return stamp_sources(settings)


def sample_identities(config: Config, survey: str) -> dict[str, str]:
    """Return the sha256 of each tile's examples in a run, by the shard's path."""
    manifests = [Path(path) for path in Paths(config).manifests("sample", survey)]
    missing = [path for path in manifests if not path.is_file()]
    if missing:
        raise ProductError(
            f"{missing[0]}: the run {config.title!r} has no examples yet; start the study by "
            "`clusterscan study`, which makes them first"
        )
    records = records_of(manifests).values()
    return {f"{config.output}/{r.path}": r.sha256 for r in records if r.has_shard}
