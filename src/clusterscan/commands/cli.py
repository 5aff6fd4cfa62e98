"""The command ``clusterscan``."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import nullcontext
from importlib.metadata import entry_points
from pathlib import Path

from clusterscan import __version__
from clusterscan.commands.plan.command import cores
from clusterscan.core.errors import ClusterscanError


def main(argv: Sequence[str] | None = None) -> None:
    """Run a command; after an error that a user can fix, exit with 1 and its message."""
    argv = list(sys.argv[1:] if argv is None else argv)
    if argv[:1] == ["release"]:  # the command's old name
        print("clusterscan release is now called clusterscan unpin", file=sys.stderr)
        argv[0] = "unpin"
    parser = _parser()
    args, extra = parser.parse_known_args(argv)
    if extra and not getattr(args, "takes_more", False):
        parser.error(f"unrecognised arguments: {' '.join(extra)}")
    args.extra = extra
    try:
        args.act(args)
    except ClusterscanError as error:
        sys.exit(f"\nclusterscan {args.command}: {error}")
    except OSError as error:  # a file that a user named, a folder without rights, a full disk
        # Not about a file of the user's, so it is a bug and keeps its traceback.
        if error.filename is None:
            raise
        sys.exit(
            f"\nclusterscan {args.command}: {error.filename}: cannot be read or written "
            f"({error.strerror}); name another file or folder, correct its "
            "permissions, or free its disk"
        )
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
        ("verify", _verify, "find files that are missing or damaged"),
        ("unpin", _unpin, "unpin the training sets: the next run trains on what there is now"),
        ("status", _status, "show what is computed, what failed, and why"),
        (
            "plan",
            _plan,
            "estimate jobs, disk, download and hours of a run; after the run, show what it used",
        ),
    ):
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument(
            "config", nargs="?", type=Path, default=Path("config.yaml"), help="configuration file"
        )
        command.set_defaults(act=act)
        if name == "run":
            command.set_defaults(takes_more=True)
            command.add_argument("--cores", type=cores, default=len(os.sched_getaffinity(0)))
        if name == "plan":
            from clusterscan.commands.plan.command import add_arguments

            add_arguments(command)
        if name == "verify":
            command.add_argument(
                "--forget",
                action="store_true",
                help="remove bad files, so that the next run makes them again",
            )
    _add_download(commands)
    _add_classify(commands)
    for plugin in entry_points(group="clusterscan.commands"):  # such as `study`
        try:
            plugin.load()(commands)
        except Exception as error:  # a broken plug-in must not take the other commands with it
            print(f"the command {plugin.name} cannot be loaded: {error}", file=sys.stderr)
    return parser


def _add_download(commands: argparse._SubParsersAction) -> None:
    text = "fetch published catalogues, each once, for runs that name them without a file"
    command = commands.add_parser("download", help=text, description=text)
    command.add_argument("kind", nargs="*", help="kinds of docs/catalogues.md, such as act_dr6")
    command.add_argument("--folder", type=Path, help="where to; default: where runs look")
    command.add_argument(
        "--config", type=Path, help="fetch the tables of stars and galaxies that its masks name"
    )
    command.set_defaults(act=_download)


def _add_classify(commands: argparse._SubParsersAction) -> None:
    from clusterscan.classify.command import add_arguments

    text = "give stamps, or positions in a run's images, a probability of each class"
    command = commands.add_parser("classify", help=text, description=text)
    add_arguments(command)
    command.set_defaults(act=_classify)


def _run(args: argparse.Namespace) -> None:
    # Each command imports its own parts, so that `--help` and the quick commands start at once.
    from clusterscan.commands.run.closing import closing_text
    from clusterscan.commands.run.runner import freeze, only_shows, run_workflow, show_workflow
    from clusterscan.commands.sync.sources import sync_sources
    from clusterscan.commands.sync.training_sets import changes_since
    from clusterscan.config.load import load_config
    from clusterscan.fetch.download.store import Access
    from clusterscan.flow.lock import hold_lock

    # Batch systems end a job by SIGTERM: end Snakemake and its jobs as after Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    started = time.monotonic()
    for word in args.extra:
        # Snakemake would read it in place of the frozen configuration.
        if word.partition("=")[0] in ("--config", "--configfile", "--configfiles", "-C"):
            raise ClusterscanError(
                f"{word}: a run has one configuration, the file named after `run`; change that file"
            )
    config = load_config([args.config])
    if only_shows(args.extra):
        # Nothing else is printed: what Snakemake shows may go to a file or another program.
        return show_workflow(args.config, args.cores, args.extra)
    root = Path(config.output)
    print(f"clusterscan {__version__}: {config.title} -> {root}/", flush=True)
    with hold_lock(root) as lock:
        print(f"sources: {sync_sources(config)}", flush=True)
        Access.of(config.execution.download, root).store.sweep()
        did_something = run_workflow(root, lock, freeze(config), args.cores, args.extra)
    print(closing_text(root, did_something, time.monotonic() - started))
    for line in changes_since(config):
        print(f"  {line}")


def _classify(args: argparse.Namespace) -> None:
    from clusterscan.classify.command import run

    run(args)


def _download(args: argparse.Namespace) -> None:
    from clusterscan.commands.download import run

    run(args)


def _sync(args: argparse.Namespace) -> None:
    from clusterscan.commands.sync.sources import sync_sources
    from clusterscan.config.load import load_config
    from clusterscan.flow.lock import hold_lock

    config = load_config([args.config])
    with hold_lock(Path(config.output)):
        print(sync_sources(config))


def _verify(args: argparse.Namespace) -> None:
    from clusterscan.commands.verify import forget, verify
    from clusterscan.config.load import load_config
    from clusterscan.flow.lock import hold_lock

    root = Path(load_config([args.config]).output)
    # A run that is at work replaces files between their comparison and their removal.
    with hold_lock(root) if args.forget else nullcontext():
        checked, bad = verify(root)
        for fault in bad:
            print(f"{fault.problem}: {fault.path} ({fault.owner})")
        print(f"{checked} files checked, {len(bad)} missing or damaged")
        if bad and args.forget:
            forget(root, bad)
    if bad and args.forget:
        print("Forgotten: the next run makes them again.")
    elif bad:
        sys.exit("Run `clusterscan verify --forget`, then run again to make them again.")


def _plan(args: argparse.Namespace) -> None:
    from clusterscan.commands.plan.command import run

    run(args)


def _unpin(args: argparse.Namespace) -> None:
    from clusterscan.commands.sync.training_sets import drop_training_sets
    from clusterscan.config.load import load_config
    from clusterscan.flow.lock import hold_lock

    config = load_config([args.config])
    with hold_lock(Path(config.output)):
        dropped = drop_training_sets(config)
    if dropped:
        print(f"Unpinned: {', '.join(dropped)}. The next run makes new training sets and trains.")
    else:
        print("No training set is pinned: the next run makes them in any case.")


def _status(args: argparse.Namespace) -> None:
    from clusterscan.commands.status import status_text
    from clusterscan.config.load import load_config

    print(status_text(Path(load_config([args.config]).output)))
