"""Job of a study: what it shows besides the table and the common plots."""

from __future__ import annotations

import argparse

from clusterscan.core.atomic import write_json
from clusterscan.core.progress import Progress
from clusterscan.flow.job import arguments, run_stage
from clusterscan_studies.extras.pages import PAGES


def main(args: argparse.Namespace, progress: Progress) -> None:
    """Make the extra named by the arguments."""
    write_json(args.output, PAGES[args.key](args.root, args.settings["stage"], progress))


if __name__ == "__main__":
    run_stage(arguments("extra", __doc__), main)
