"""One job of a stage: its command line, log file, progress, cost and failures.

A script is ``python workflow/scripts/<stage>.py --settings FILE --log FILE ...``; it runs with or
without Snakemake.
"""

from __future__ import annotations

import argparse
import errno
import json
import logging
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic

from clusterscan import __version__
from clusterscan.core.atomic import atomic_path, noting_writes, write_json
from clusterscan.core.checksums import write_job_list
from clusterscan.core.errors import ClusterscanError
from clusterscan.core.fingerprint import fingerprint
from clusterscan.core.progress import SILENT, Progress
from clusterscan.flow.lock import job_at_work
from clusterscan.flow.paths import RunFolder
from clusterscan.flow.stage_settings import JobSettings, SkyCut, Stage

log = logging.getLogger(__name__)

_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


@dataclass(frozen=True)
class Job(Generic[Stage]):
    """One call of a stage: its settings, the run's folder, and the part of the work to do.

    Attributes
    ----------
    folder : RunFolder
        The run's files.
    settings : StageModel
        What determines the result.
    version : int
        The version of the stage's code.
    sky : SkyCut
        How the sky is cut.
    output : Path
        The file to write last.
    key : str
        What is computed besides the sky, such as ``unwise`` or ``unwise/resnet18``.
    block : int
        The block; -1 for stages that work on the whole sky.
    workers : int
        Dask worker processes.
    max_failed_fraction : float
        The job fails if more of its tiles fail.
    progress : Progress
        Called with how far the job is.
    """

    folder: RunFolder
    settings: Stage
    version: int
    sky: SkyCut
    output: Path
    key: str = ""
    block: int = -1
    workers: int = 1
    max_failed_fraction: float = 0.0
    progress: Progress = SILENT

    @property
    def root(self) -> Path:
        """Return the run's folder."""
        return self.folder.root

    @property
    def fingerprint(self) -> str:
        """Return the hash of the settings and the version."""
        return fingerprint([self.version, self.settings.plain()])

    @classmethod
    def of(cls, args: argparse.Namespace, progress: Progress) -> Job[Any]:
        """Return the job that a script's arguments describe."""
        told: JobSettings[Any] = args.settings
        return cls(
            folder=RunFolder(args.root),
            settings=told.stage,
            version=told.version,
            sky=told.sky,
            output=args.output,
            key=args.key,
            block=getattr(args, "block", -1),
            workers=args.workers,
            max_failed_fraction=getattr(args, "max_failed_fraction", 0.0),
            progress=progress,
        )


def arguments(
    stage: str, description: str | None, settings: type[Stage] | None = None
) -> argparse.ArgumentParser:
    """Return a parser with the arguments of every stage script.

    Parameters
    ----------
    stage, description : str, str
        The script's name and text.
    settings : type of StageModel, optional
        The stage's settings; without it they stay plain values, as the studies' jobs read them.
    """

    def read(told: str) -> Any:
        if settings is None:
            return json.loads(told)
        text = Path(told).read_text(encoding="utf-8")
        return JobSettings[settings].model_validate_json(text)  # type: ignore[valid-type]

    parser = argparse.ArgumentParser(prog=f"{stage}.py", description=description)
    parser.add_argument("--root", type=Path, required=True, help="the run's output folder")
    parser.add_argument("--settings", type=read, required=True, help="file of settings")
    parser.add_argument("--output", type=Path, required=True, help="the file to write last")
    parser.add_argument("--log", type=Path, required=True, help="the job's log file")
    parser.add_argument("--key", default="", help="what is computed, such as unwise/resnet18")
    parser.add_argument("--workers", type=int, default=1, help="Dask worker processes")
    return parser


def block_arguments(
    stage: str, description: str | None, settings: type[Stage] | None = None
) -> argparse.ArgumentParser:
    """Return a parser for a stage that works on blocks."""
    parser = arguments(stage, description, settings)
    parser.add_argument("--block", type=int, required=True, help="NESTED index of the block")
    parser.add_argument(
        "--max-failed-fraction",
        type=float,
        default=0.0,
        help="the job fails if more of its tiles fail",
    )
    return parser


Main = Callable[[argparse.Namespace, Progress], None]


def run_stage(parser: argparse.ArgumentParser, main: Main, argv: list[str] | None = None) -> None:
    """Run a stage script; after an error that a user can fix, exit with 1 and its message."""
    args = parser.parse_args(argv)
    stage = parser.prog.removesuffix(".py")
    _log_to(args.log)
    name = "-".join(str(x) for x in (stage, args.key.replace("/", "-"), getattr(args, "block", "")))
    # The name tells jobs that run side by side apart, in progress, cost and failure files.
    progress = Progress(RunFolder(args.root).progress(name), _title(stage, args))
    started = time.monotonic()
    progress(0, 1)
    try:
        with job_at_work(args.root):
            with noting_writes() as written:
                main(args, progress)
            if not hasattr(args, "block"):  # a block's manifest holds the checksums of its shards
                write_job_list(args.root, args.output, written)
    except ClusterscanError as error:
        log.error("%s", error)
        sys.exit(_note_failure(args, stage, name, str(error)))
    except Exception as error:
        # A full or read-only disk is no bug, wherever in the code it shows.
        if isinstance(error, OSError) and error.errno in _DISK:
            log.error("%s", error)
            hint = "make room on that disk (df -h), or name another folder as `output`"
            sys.exit(_note_failure(args, stage, name, f"{args.root}: {error}; {hint}"))
        # A bug keeps its traceback, in the log and on the terminal.
        log.exception("a bug, or something unforeseen")
        _note_failure(args, stage, name, f"{type(error).__name__}: {error}")
        raise
    finally:
        progress.close()
    _failure_path(args, name).unlink(missing_ok=True)  # a retry succeeded
    _note_cost(args, stage, name, time.monotonic() - started)


def _title(stage: str, args: argparse.Namespace) -> str:
    block = getattr(args, "block", None)
    parts = [stage, args.key, "" if block is None else f"block {block}"]
    return " ".join(part for part in parts if part)


def _log_to(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # ``force``: libraries may have set up handlers of their own while they were imported.
    logging.basicConfig(
        filename=path,
        filemode="w",
        level=logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        force=True,
    )
    logging.captureWarnings(True)
    log.info("clusterscan %s: %s", __version__, " ".join(sys.argv))


def _note_failure(args: argparse.Namespace, stage: str, name: str, message: str) -> str:
    """Leave the message where `clusterscan run` and `status` find it, and return it."""
    text = f"{_title(stage, args)} failed:\n{message}\nThe job's log: {args.log}"
    try:
        with atomic_path(_failure_path(args, name)) as temporary:
            temporary.write_text(text + "\n", encoding="utf-8")
    except OSError:
        pass  # a full disk: the message still goes to the terminal
    return text


def _failure_path(args: argparse.Namespace, name: str) -> Path:
    return RunFolder(args.root).failure(name)


def _note_cost(args: argparse.Namespace, stage: str, name: str, seconds: float) -> None:
    # Children count too: Dask's workers and the processes of a training do most of the work.
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    cost: dict[str, Any] = {
        "stage": stage,
        "key": args.key,
        "block": getattr(args, "block", None),
        "wall_s": round(seconds, 2),
        "cpu_s": round(sum(u.ru_utime + u.ru_stime for u in usage), 2),
        "peak_mib": round(max(u.ru_maxrss for u in usage) / 1024, 1),  # Linux counts in KiB
    }
    write_json(RunFolder(args.root).cost(name), cost)
    log.info("done: %s", cost)
