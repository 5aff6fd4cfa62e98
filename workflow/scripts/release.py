"""Stage sample, its end: put present examples aside as a survey's training set."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from clusterscan.commands.sync.training_sets import made_for
from clusterscan.core.progress import Progress
from clusterscan.core.records import records_of
from clusterscan.flow.job import arguments, run_stage
from clusterscan.formats.training_set import write_training_set


def main(args: argparse.Namespace, progress: Progress) -> None:
    """TrainingSet the examples of the survey named by the arguments."""
    write_training_set(
        args.output,
        args.root,
        args.key,
        made_for(json.dumps(args.settings)),
        records_of(args.samples),
        records_of(args.tiles),
        args.catalogues,
    )
    progress(1, 1)


if __name__ == "__main__":
    parser = arguments("release", __doc__)
    parser.add_argument("--samples", type=Path, nargs="+", required=True, help="sample manifests")
    parser.add_argument("--tiles", type=Path, nargs="+", required=True, help="tile manifests")
    parser.add_argument("--catalogues", type=Path, nargs="*", default=[], help="known catalogues")
    run_stage(parser, main)
