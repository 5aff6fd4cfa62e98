"""Job of a study: measures, the combined table, figures and the page."""

from __future__ import annotations

import argparse

from clusterscan.core.progress import Progress
from clusterscan.flow.job import arguments, run_stage
from clusterscan_studies.page import write_results


def main(args: argparse.Namespace, progress: Progress) -> None:
    """Write the table and the page."""
    write_results(args.root, args.settings["stage"], progress)


if __name__ == "__main__":
    run_stage(arguments("report", __doc__), main)
