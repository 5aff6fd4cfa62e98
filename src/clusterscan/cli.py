"""The command ``clusterscan``."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from clusterscan import __version__
from clusterscan.errors import ClusterscanError


def main(argv: Sequence[str] | None = None) -> None:
    """Run a command; exit with 1 and a clear message after a mendable error."""
    parser = _parser()
    args, extra = parser.parse_known_args(argv)
    if extra and args.command != "run":
        parser.error(f"unrecognised arguments: {' '.join(extra)}")
    args.extra = extra
    try:
        args.act(args)
    except ClusterscanError as error:
        sys.exit(f"\nclusterscan {args.command}: {error}")
    except KeyboardInterrupt:
        sys.exit("\nInterrupted. What was computed is kept: run again to go on from there.")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="clusterscan", description="From sky surveys to a catalogue of galaxy clusters."
    )
    parser.add_argument("--version", action="version", version=f"clusterscan {__version__}")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, act, text in (
        ("run", _run, "sync the sources and run the workflow (further arguments go to Snakemake)"),
        ("sync", _sync, "list what the sources hold now; rewrite only what differs"),
        ("verify", _verify, "find shards that are missing or damaged"),
        ("status", _status, "say what has been computed, and what failed"),
    ):
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument(
            "config", nargs="?", type=Path, default=Path("config.yaml"), help="configuration file"
        )
        command.set_defaults(act=act)
        if name == "run":
            command.add_argument("--cores", type=_cores, default=len(os.sched_getaffinity(0)))
        if name == "verify":
            command.add_argument(
                "--forget", action="store_true", help="make the next run compute bad tiles anew"
            )
    return parser


def _cores(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of cores; give 1 or more")
    return int(text)


def _run(args: argparse.Namespace) -> None:
    from clusterscan.config.load import load_config
    from clusterscan.run.closing import closing_text
    from clusterscan.run.runner import run_workflow
    from clusterscan.sync.offline import sync_offline

    # Batch systems end a job by SIGTERM: end Snakemake and its jobs as after Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    started = time.monotonic()
    config = load_config([args.config])
    root = Path(config.output)
    print(f"clusterscan {__version__}: {config.title} -> {root}/", flush=True)
    print(f"sources: {sync_offline(config)}", flush=True)
    did_something = run_workflow(root, [args.config], args.cores, args.extra)
    print(closing_text(root, did_something, time.monotonic() - started))


def _sync(args: argparse.Namespace) -> None:
    from clusterscan.config.load import load_config
    from clusterscan.sync.offline import sync_offline

    print(sync_offline(load_config([args.config])))


def _verify(args: argparse.Namespace) -> None:
    from clusterscan.config.load import load_config
    from clusterscan.provenance.verify import forget, verify

    root = Path(load_config([args.config]).output)
    checked, bad = verify(root)
    for fault in bad:
        print(f"{fault.problem}: {fault.shard} ({fault.stage} {fault.key})")
    print(f"{checked} shards checked, {len(bad)} missing or damaged")
    if bad and args.forget:
        forget(root, bad)
        print("Forgotten: the next run computes them anew.")
    elif bad:
        sys.exit("Run again with --forget, then make run, to have them computed anew.")


def _status(args: argparse.Namespace) -> None:
    from clusterscan.config.load import load_config
    from clusterscan.provenance.status import status_text

    print(status_text(Path(load_config([args.config]).output)))
