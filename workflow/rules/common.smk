"""The configuration, the sky's blocks, and where products lie: what all rules share."""

import sys
from pathlib import Path

from clusterscan.config.load import load_config
from clusterscan.flow.stage_settings import StageSettings
from clusterscan.core.errors import ClusterscanError
from clusterscan.commands.sync.offline import sync_offline
from clusterscan.commands.sync.training_sets import pinned_surveys
from clusterscan.flow.paths import Paths

# A configuration named on the command line stands alone: it is not laid over config.yaml.
CONFIG_FILES = workflow.overwrite_configfiles or [
    Path(workflow.basedir) / "config.yaml"
]

try:
    CFG = load_config(CONFIG_FILES, workflow.config_settings.config)
    # Sources that need no network are listed here; remote ones by `clusterscan sync`, before.
    sync_offline(CFG)
except ClusterscanError as error:
    sys.exit(f"\n{error}\n")

ROOT = CFG.output
PATHS = Paths(CFG)
SETTINGS = StageSettings(CFG)
PINNED = pinned_surveys(CFG)  # their training sets stand: no rule makes them
ENVIRONMENT = str(Path(workflow.basedir) / "envs" / "cpu.yaml")  # used with --sdm conda


def script(name):
    """Return a params function that gives a script's path.

    It takes `input`, so Snakemake counts it as derived: moving the checkout reruns nothing.
    """
    return (
        lambda wildcards, input: Path(workflow.basedir) / "workflow" / "scripts" / name
    )


wildcard_constraints:
    survey="[A-Za-z0-9_]+",
    model="[A-Za-z0-9_]+",
    name="[a-z0-9_-]+",
    probe="[a-z]+",
    block=r"o\d+-\d+",


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
