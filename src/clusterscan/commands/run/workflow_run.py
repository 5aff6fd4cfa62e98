"""The Snakefile's view of a run: configuration, paths, settings files, and permission to write.

Snakemake reads the Snakefile in three roles: as the main process of a real run, in dry runs and
other looks at the workflow, and once in every job. Only the first may write or delete anything,
and only while it holds the run's lock. It then lists the sources that need no network, drops the
manifests of another block order, and writes the settings of all jobs as files. These files are
inputs of the rules, so a changed setting is newer than the products made with the old one, even
if Snakemake's own notes are lost.
"""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from clusterscan.commands.sync.offline import (
    drop_other_orders,
    require_synced,
    source_manifests,
    write_source_manifests,
)
from clusterscan.commands.sync.training_sets import pinned_surveys
from clusterscan.config.model import Config
from clusterscan.core.atomic import write_text_if_changed
from clusterscan.core.errors import ClusterscanError
from clusterscan.core.fingerprint import file_sha256, fingerprint
from clusterscan.flow.lock import hold_lock, inherits_lock
from clusterscan.flow.paths import Paths
from clusterscan.flow.stage_settings import StageSettings


class WorkflowRun:
    """Inputs and settings of the rules of one run.

    Parameters
    ----------
    config : Config
        The run's configuration.
    workflow : snakemake.workflow.Workflow
        Tells in which role the Snakefile is read. The executor is known only once Snakemake
        builds its graph of jobs, so nothing is written before the first input is asked for.
    """

    def __init__(self, config: Config, workflow: Any):
        self.config = config
        self.paths = Paths(config)
        self.pinned = pinned_surveys(config)  # no rule makes their training sets
        self._settings = StageSettings(config)
        self._workflow = workflow
        self._held = ExitStack()
        self._prepared = False
        self._is_real = False
        self._sources: dict[Path, Any] = {}
        if workflow.is_main_process:
            # Read in dry runs too, so that they see changed sources; each job would repeat it in
            # vain.
            self._sources = source_manifests(config)
            require_synced(config)

    def source(self, path: str) -> list[str]:
        """Return a file that `sync` writes, as a rule's input; see `_present`."""
        return self._present(path)

    def source_state(self, path: str) -> str:
        """Return a hash of a source manifest as it is now, so that dry runs see changed sources."""
        content = self._sources.get(Path(path))
        if content is not None:
            return fingerprint(content)
        return file_sha256(path) if Path(path).is_file() else ""

    def settings_file(self, stage: str, *names: str) -> list[str]:
        """Return the file of a job's settings, as a rule's input; see `_present`."""
        return self._present(str(self._settings_path(stage, *names)))

    def settings_state(self, stage: str, *names: str) -> str:
        """Return a hash of a job's settings as they are now, so that dry runs see changes."""
        return fingerprint(self._settings.of(stage, *names).text())

    def _settings_path(self, stage: str, *names: str) -> Path:
        return self.paths.folder.settings(stage, *(names or ("all",)))

    def _present(self, path: str) -> list[str]:
        """Return the file; in a dry run only if it exists, since a dry run writes none."""
        if not self._prepared:
            self._prepare()
        # In a dry run a file that is not written yet would be an error of a missing input; the hash
        # of its content (`source_state`, `settings_state`) shows the change instead.
        is_job = not self._workflow.is_main_process
        return [path] if self._is_real or is_job or Path(path).is_file() else []

    def _prepare(self) -> None:
        workflow = self._workflow
        self._prepared = True
        # Without an executor Snakemake only shows something: a report, a summary, a graph.
        executes = workflow.executor_plugin is not None and not workflow.dryrun
        self._is_real = workflow.is_main_process and executes
        if not self._is_real:
            return
        root = self.paths.folder.root
        try:
            if not inherits_lock(root):
                # Snakemake was started without `clusterscan run`, so nobody holds the lock yet.
                self._held.enter_context(hold_lock(root))  # until this process ends
            drop_other_orders(self.config)
            write_source_manifests(self.config, self._sources)
            # Files with the same text keep their time, so only changed settings are newer than
            # products.
            for (stage, *names), settings in self._settings.everything().items():
                write_text_if_changed(self._settings_path(stage, *names), settings.text())
        except ClusterscanError as error:
            # As an exception Snakemake would show it with a traceback through the Snakefile.
            sys.exit(f"\n{error}\n")
