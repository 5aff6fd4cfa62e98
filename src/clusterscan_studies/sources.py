"""What a study's data sets are made from: source manifests, rewritten only where they differ.

They are listed whenever the workflow is read, which takes milliseconds for stamps; the samples of
a base run are known by their block manifests.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from clusterscan.config.model import Config
from clusterscan.core.atomic import write_json_if_changed
from clusterscan.core.errors import ProductError
from clusterscan.core.records import records_of
from clusterscan.flow.paths import Paths
from clusterscan_studies.base_run import base_config
from clusterscan_studies.config.load import StudyForm
from clusterscan_studies.config.study import RunDataset
from clusterscan_studies.paths import StudyPaths
from clusterscan_studies.stamps import stamp_sources


def sync_study(form: StudyForm) -> tuple[int, int]:
    """Write what changed of the source manifests; return how many there are and how many did.

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
    """Return what a data set's bytes depend on."""
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
