"""The configuration, the run's files, and the functions that all rules share."""

import sys
from pathlib import Path

from clusterscan.commands.run.workflow_run import WorkflowRun
from clusterscan.config.load import load_config
from clusterscan.core.errors import ClusterscanError

# A configuration named on the command line stands alone: it is not laid over config.yaml.
CONFIG_FILES = workflow.overwrite_configfiles or [PROJECT / "config.yaml"]

try:
    RUN = WorkflowRun(
        load_config(CONFIG_FILES, workflow.config_settings.config), workflow
    )
except ClusterscanError as error:
    sys.exit(f"\n{error}\n")

CFG = RUN.config
PATHS = RUN.paths
ROOT = CFG.output
ENVIRONMENT = str(PROJECT / "envs" / "cpu.yaml")  # used with --sdm conda


def script(name):
    """Return a params function that gives a script's path.

    It takes `input`, so Snakemake counts it as derived: moving the checkout reruns nothing.
    """
    return lambda wildcards, input: PROJECT / "workflow" / "scripts" / name


wildcard_constraints:
    survey="[A-Za-z0-9_]+",
    model="[A-Za-z0-9_]+",
    name="[a-z0-9_-]+",
    probe="[a-z]+",
    block=r"o\d+-\d+",


def settings_file(stage, *names):
    """Return an input function that gives the settings of a job, named by its wildcards."""
    return lambda wildcards: RUN.settings_file(
        stage, *(getattr(wildcards, name) for name in names)
    )


def settings_state(stage, *names):
    """Return a params function that gives a hash of these settings, for dry runs."""
    return lambda wildcards: RUN.settings_state(
        stage, *(getattr(wildcards, name) for name in names)
    )


def root(wildcards, input):
    """Return the run's folder."""
    return ROOT


def may_fail(wildcards, input):
    """Return the fraction of tiles that may fail.

    It takes `input` for the reason that `script` does: it changes no result, so raising it
    after a failure must not train again.
    """
    return CFG.execution.max_failed_fraction


def read_ahead(wildcards, input):
    """Return how many tiles a scan reads ahead; it changes no result (see `may_fail`)."""
    return CFG.execution.read_ahead_tiles


def download_settings(wildcards, input):
    """Return the settings of downloads as JSON; they change no result (see `may_fail`)."""
    return CFG.execution.download.model_dump_json()


def block_number(wildcards):
    """Return the NESTED index in a block's name."""
    return wildcards.block.partition("-")[2]


# The small products that `snakemake --report` shows, with their captions.
SHOWN = {
    "report.html": ("report.rst", "Results"),
    "summary.json": ("summary.rst", "Results"),
    "models/networks.csv": ("networks.rst", "Networks"),
}


def shown(path):
    """Return a product, marked for Snakemake's report if it is one of `SHOWN`."""
    name = Path(path).relative_to(ROOT).as_posix()
    if name not in SHOWN:
        return path
    caption, category = SHOWN[name]
    return report(path, caption=f"../report/{caption}", category=category)
