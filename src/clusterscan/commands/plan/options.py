"""The options of ``clusterscan plan``: apart, so that parsing them loads no network."""

from __future__ import annotations

import argparse
import os
from pathlib import Path


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    here = len(os.sched_getaffinity(0))
    command.add_argument("--cores", type=cores, default=here, help="jobs side by side")
    command.add_argument(
        "--rates", type=Path, help="JSON file of rates; networks it lacks are timed here"
    )
    command.add_argument("--save-rates", type=Path, help="write the rates used to this file")


def cores(text: str) -> int:
    """Return a number of cores given on the command line."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of cores; give 1 or more")
    return int(text)
