"""Job of a study: all trainings of one experiment that are not done yet."""

from __future__ import annotations

import argparse
from pathlib import Path

from clusterscan.core.progress import Progress
from clusterscan.flow.job import arguments, run_stage
from clusterscan.train.examples import Examples
from clusterscan_studies.examples import read_for_experiment, read_manifest
from clusterscan_studies.experiment import Job, run_experiment


def main(args: argparse.Namespace, progress: Progress) -> None:
    """Train the experiment named by the arguments."""
    test: Path | None = next(iter(args.test), None)
    start: Path | None = next(iter(args.start_from), None)

    def examples() -> Examples:
        return read_for_experiment(args.root, args.examples, test, args.settings["stage"])

    inputs = {"examples": read_manifest(args.examples)["sha256"]}
    if test is not None:
        inputs["test"] = read_manifest(test)["sha256"]
    job = Job(
        folder=args.output.parent,
        settings=args.settings,
        inputs=inputs,
        start_from=None if start is None else start.parent,
    )
    run_experiment(job, examples, progress)


if __name__ == "__main__":
    parser = arguments("experiment", __doc__)
    parser.add_argument("--examples", type=Path, required=True, help="the data set's manifest")
    parser.add_argument(
        "--test", type=Path, nargs="*", default=[], help="of the test part, if other"
    )
    parser.add_argument("--start-from", type=Path, nargs="*", default=[], help="an experiment")
    run_stage(parser, main)
