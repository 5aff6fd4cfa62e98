"""Run ``clusterscan study``: first the base runs, then the study's own workflow."""

from __future__ import annotations

import argparse
import json
import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path

from clusterscan import __version__
from clusterscan.commands.plan.command import cores as core_count
from clusterscan.commands.run.closing import outcome_line
from clusterscan.commands.run.runner import (
    find_snakefile,
    only_shows,
    run_workflow,
    show_workflow,
)
from clusterscan.core.errors import ClusterscanError
from clusterscan.flow.lock import hold_lock
from clusterscan_studies.config.load import StudyForm, find_study, load_study
from clusterscan_studies.sources import run_bases, sync_study


def add_command(commands: argparse._SubParsersAction) -> None:
    """Add ``study`` to the command line (entry point of the group ``clusterscan.commands``)."""
    text = "repeat a published study (further arguments go to Snakemake)"
    command = commands.add_parser("study", help=text, description=text)
    command.add_argument("study", help="a shipped study's name, or a YAML file")
    command.add_argument(
        "--quick", action="store_true", help="the reduced form, for a machine without a GPU"
    )
    command.add_argument("--cores", type=core_count, default=len(os.sched_getaffinity(0)))
    command.set_defaults(act=_act, takes_more=True)


def _act(args: argparse.Namespace) -> None:
    # Batch systems end a job by SIGTERM: end Snakemake and its jobs as after Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    run_study(args.study, quick=args.quick, cores=args.cores, extra=args.extra)


def run_study(name_or_file: str, *, quick: bool, cores: int, extra: Sequence[str] = ()) -> None:
    """Bring a study up to date and print the paths of its products.

    Parameters
    ----------
    name_or_file : str
        A shipped study's name, or a file.
    quick : bool
        Run the reduced form.
    cores : int
        Cores for local jobs.
    extra : sequence of str
        Further arguments for Snakemake, such as a profile.

    Raises
    ------
    ClusterscanError
        If the study is wrong or a job fails.
    """
    started = time.monotonic()
    file = find_study(name_or_file)
    form = load_study(file, quick=quick)
    if only_shows(extra):
        # The base runs are left as they are: without their examples the study's jobs are unknown.
        return show_workflow(file, cores, [*_workflow(quick), *extra])
    kind = "reduced form" if quick else "full form"
    print(f"clusterscan {__version__}: {form.study.title}, {kind} -> {form.root}/", flush=True)
    run_bases(form, cores, extra)
    with hold_lock(form.root) as lock:
        total, changed = sync_study(form)
        print(f"sources: {total} data sets, {changed} new or changed", flush=True)
        did_something = run_workflow(form.root, lock, file, cores, [*_workflow(quick), *extra])
    print(closing_text(form, did_something, time.monotonic() - started))


def _workflow(quick: bool) -> list[str]:
    """Return Snakemake's arguments for the study's workflow in place of the main one."""
    snakefile = find_snakefile().parent / "workflow" / "study.smk"
    if not snakefile.is_file():
        raise ClusterscanError(f"{snakefile} is missing; clone clusterscan's repository again")
    # Of two --snakefile the later counts. --config ends at the next option.
    return [*(["--config", "form=quick"] if quick else []), "--snakefile", str(snakefile)]


def closing_text(form: StudyForm, did_something: bool, seconds: float) -> str:
    """Return the last lines of a study: the places of its products, and the table."""
    first = outcome_line(did_something, seconds)
    lines = [
        first,
        f"  report   {form.root}/report.html",
        f"  table    {form.root}/table.md (.csv, .parquet)",
        f"  summary  {form.root}/summary.json",
    ]
    try:
        summary = json.loads(Path(form.root, "summary.json").read_text(encoding="utf-8"))
    except FileNotFoundError:  # Snakemake was asked for a part of the jobs only
        return first
    return "\n".join(lines + [f"  {text}" for text in summary["headline"]])
