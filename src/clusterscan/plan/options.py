"""The options of ``clusterscan plan``: apart, so that parsing them loads no network."""

from __future__ import annotations

import argparse
import os
from pathlib import Path


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    cores = len(os.sched_getaffinity(0))
    command.add_argument("--cores", type=int, default=cores, help="jobs side by side")
    command.add_argument(
        "--rates", type=Path, help="JSON file of rates; networks it lacks are timed here"
    )
    command.add_argument("--save-rates", type=Path, help="write the rates used to this file")
