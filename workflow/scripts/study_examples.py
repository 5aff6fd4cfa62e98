"""Job of a study: the examples of one data set."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from pydantic import TypeAdapter

from clusterscan.core.progress import Progress
from clusterscan.flow.job import arguments, run_stage
from clusterscan_studies.config.study import DatasetSettings
from clusterscan_studies.examples import write_dataset


def main(args: argparse.Namespace, progress: Progress) -> None:
    """Make the examples named by the arguments."""
    settings = TypeAdapter(DatasetSettings).validate_python(args.settings["stage"]["dataset"])
    source = json.loads(args.source.read_text(encoding="utf-8"))
    write_dataset(args.root, args.key, settings, source)


if __name__ == "__main__":
    parser = arguments("examples", __doc__)
    parser.add_argument("--source", type=Path, required=True, help="the source manifest")
    run_stage(parser, main)
