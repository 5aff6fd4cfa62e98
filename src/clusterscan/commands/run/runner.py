"""Run Snakemake as a child process, follow its jobs, and report failures with their remedy."""

from __future__ import annotations

import io
import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import redirect_stderr, suppress
from pathlib import Path

import psutil
import yaml

from clusterscan.commands.run.events import (
    EventReader,
    JobCounts,
    JobFinished,
    JobStarted,
    NothingToDo,
)
from clusterscan.commands.run.forecast import Forecast
from clusterscan.config.model import Config
from clusterscan.core.atomic import sweep, write_text_if_changed
from clusterscan.core.data_paths import PROJECT_ROOT
from clusterscan.core.display import Display
from clusterscan.core.errors import ClusterscanError
from clusterscan.flow.lock import INHERITED
from clusterscan.flow.paths import RunFolder

_SECONDS_BETWEEN_LOOKS = 0.5
_SECONDS_TO_END = 5.0
_RULES = {"catalogue": "fetch_catalogue"}  # where a rule is not named as its stage

# Options of Snakemake that show something and run no job.
_SHOWS = (
    *("dryrun", "summary", "detailed_summary", "lint", "list_rules", "list_target_rules"),
    *("dag", "rulegraph", "filegraph", "d3dag", "report", "print_compilation", "containerize"),
    *("list_changes", "list_input_changes", "list_params_changes", "list_untracked"),
    *("list_conda_envs", "archive", "generate_unit_tests", "version"),
)


def find_snakefile() -> Path:
    """Return the workflow's Snakefile: in this folder, or beside the installed sources."""
    checkout = PROJECT_ROOT
    for folder in (Path.cwd(), checkout):
        if (folder / "Snakefile").is_file() and (folder / "workflow" / "rules").is_dir():
            return folder / "Snakefile"
    raise ClusterscanError(
        "no Snakefile here; run this in clusterscan's folder (git clone it if need be)"
    )


def freeze(config: Config) -> Path:
    """Write the resolved configuration into the run's folder and return the file.

    Jobs may wait in a queue for days. All of them read this file, so an edit of the user's file
    in the meantime never mixes two configurations in one catalogue.
    """
    # With all defaults filled in, so that the file describes the run by itself. Equal text keeps
    # its time: a second run of the same configuration is no change.
    path = RunFolder(Path(config.output)).frozen_config
    text = yaml.safe_dump(config.model_dump(mode="json", by_alias=True), sort_keys=False)
    write_text_if_changed(path, text)
    return path


def only_shows(extra: Sequence[str]) -> bool:
    """Return True if arguments ask Snakemake to show something, such as `-n`, and to run no job.

    Snakemake's own parser reads them, so that joined, abbreviated and profile options count too.
    It ends this process with a message if it cannot read them.
    """
    if not extra:
        return False
    from snakemake.cli import parse_args  # slow to import

    said = io.StringIO()
    try:
        with redirect_stderr(said):  # Snakemake says again which profile it reads
            _, args = parse_args(["--snakefile", str(find_snakefile()), "--cores", "1", *extra])
    except SystemExit:
        print(said.getvalue(), end="", file=sys.stderr)
        raise
    if args.report_after_run:
        return args.dryrun
    return args.executor == "dryrun" or any(
        getattr(args, name) not in (None, False) for name in _SHOWS if hasattr(args, name)
    )


def show_workflow(config_file: Path, cores: int, extra: Sequence[str]) -> None:
    """Let Snakemake show what `extra` asks for, on the terminal; write and delete nothing.

    The user's own file is read, not the configuration that the last run froze. The Snakefile
    compares its settings and sources with those of the last run by their hashes. No lock is taken,
    so this works beside a run.

    Raises
    ------
    ClusterscanError
        If Snakemake fails.
    """
    code = subprocess.run(_command(config_file, cores, extra), check=False).returncode
    if code != 0:
        raise ClusterscanError(f"Snakemake ended with {code}; its message is above")


def run_workflow(
    root: Path, lock: int, config_file: Path, cores: int, extra: Sequence[str] = ()
) -> bool:
    """Run the workflow; return True if there was anything to do.

    Parameters
    ----------
    root : Path
        The run's folder.
    lock : int
        The descriptor of its lock, which this process holds (`clusterscan.flow.lock`).
    config_file : Path
        The configuration.
    cores : int
        Cores for local jobs.
    extra : sequence of str
        Further arguments for Snakemake, such as a profile.

    Raises
    ------
    ClusterscanError
        If a job failed, with each failure's message.
    """
    # Another run's files are not ours to remove, so the caller takes the lock before.
    shutil.rmtree(root / ".progress", ignore_errors=True)
    shutil.rmtree(root / "failures", ignore_errors=True)
    sweep(root)
    log_path = root / "logs" / "snakemake.log"
    log_path.parent.mkdir(parents=True, exist_ok=True)
    follower = _Follower(root, cores)
    try:
        with log_path.open("w", encoding="utf-8") as log_file:
            code = _follow(_command(config_file, cores, extra), lock, follower, log_file)
    except OSError as error:
        raise ClusterscanError(
            f"{root}: the run cannot be followed ({error}); see that the folder is writable "
            "and its disk not full, and run again: what was computed is kept"
        ) from error
    if code != 0:
        raise ClusterscanError(_failure_text(root, log_path, code))
    return not follower.nothing_to_do


def _command(config_file: Path, cores: int, extra: Sequence[str]) -> list[str]:
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(find_snakefile())]
    # Snakemake's own lock would outlive a killed run and have to be removed by hand.
    command += ["--cores", str(cores), "--nocolor", "--nolock"]  # the caller holds the run's lock
    return [*command, "--configfile", str(config_file), *extra]


def _follow(command: list[str], lock: int, follower: _Follower, log_file) -> int:
    # Scripts are started as `python`: that of this environment comes first.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    child = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        # Snakemake inherits the descriptor and with it the lock: if this process alone is
        # killed, the folder stays locked until Snakemake ends.
        env={**os.environ, "PATH": path, INHERITED: str(lock)},
        pass_fds=(lock,),
    )
    lines: queue.Queue[str | None] = queue.Queue()
    # A pipe cannot be read with a timeout, and the progress line must move between Snakemake's
    # lines.
    threading.Thread(target=_pump, args=(child.stdout, lines), daemon=True).start()
    try:
        while (line := _next(lines)) is not None:
            # Empty: no line came in time, and only the progress line has to move.
            if line:
                log_file.write(line)
                log_file.flush()
            follower.take(line)
    except BaseException:  # whatever ends this process must not leave Snakemake behind
        _end(child)
        follower.end()
        raise
    follower.end()
    return child.wait()


def _end(child: subprocess.Popen) -> None:
    """Wait until Snakemake and its jobs have ended; send them signals if they do not.

    Ctrl-C in a terminal reaches them all, a signal to this process alone reaches none of them.
    """
    # First only wait: after Ctrl-C they are already ending, and a second SIGINT would disturb that.
    for number in (None, signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        for process in _family(child.pid) if number else []:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(number)
        try:
            child.wait(timeout=_SECONDS_TO_END)
            return
        except subprocess.TimeoutExpired:
            continue


def _family(pid: int) -> list[psutil.Process]:
    """Return a process and all below it, leaves first: a shell must not outlive its job."""
    try:
        process = psutil.Process(pid)
        return [*reversed(process.children(recursive=True)), process]
    except psutil.NoSuchProcess:
        return []


def _pump(stream, lines: queue.Queue) -> None:
    for line in stream:
        lines.put(line)
    lines.put(None)


def _next(lines: queue.Queue) -> str | None:
    """Return the next line, an empty text if none came in time, or None at the end."""
    try:
        return lines.get(timeout=_SECONDS_BETWEEN_LOOKS)
    except queue.Empty:
        return ""


class _Follower:
    """Keep count of the jobs and draw the progress line."""

    def __init__(self, root: Path, cores: int):
        self._root = root
        self._cores = cores
        self._events = EventReader()
        self._display = Display(sys.stdout, root / ".progress")
        self._forecast: Forecast | None = None
        self._running: dict[int, tuple[str, float]] = {}
        self._done = 0
        self._total = 0
        self.nothing_to_do = False

    def take(self, line: str) -> None:
        """Count the job that a line of Snakemake's log reports, if any, and redraw the progress."""
        event = self._events.read(line) if line else None
        now = time.monotonic()
        if isinstance(event, JobCounts):
            counts = {rule: n for rule, n in event.counts.items() if rule != "all"}
            self._total = sum(counts.values())
            self._forecast = Forecast(counts, self._cores, earlier_costs(self._root))
        elif isinstance(event, JobStarted) and event.rule != "all":
            self._running[event.jobid] = (event.rule, now)
        elif isinstance(event, JobFinished) and event.jobid in self._running:
            rule, started = self._running.pop(event.jobid)
            self._done += 1
            if self._forecast:
                self._forecast.finished(rule, now - started)
        elif isinstance(event, NothingToDo):
            self.nothing_to_do = True
        if self._total:
            self._display.show(self._done, self._total, self._seconds_left(now))

    def _seconds_left(self, now: float) -> float | None:
        if self._forecast is None:
            return None
        running: dict[str, list[float]] = {}
        for rule, started in self._running.values():
            running.setdefault(rule, []).append(now - started)
        return self._forecast.seconds_left(running)

    def end(self) -> None:
        """Draw the final count at once, and leave the progress line."""
        if self._total:
            self._display.show(self._done, self._total, None, now=True)
        self._display.clear()


def earlier_costs(root: Path) -> dict[str, float]:
    """Return the mean seconds of each rule's jobs in earlier runs in this folder."""
    seen: dict[str, list[float]] = {}
    for path in sorted((root / "costs").glob("*.json")):
        try:
            cost = json.loads(path.read_text(encoding="utf-8"))
            rule = _RULES.get(cost["stage"], cost["stage"])
            seen.setdefault(rule, []).append(float(cost["wall_s"]))
        except (OSError, ValueError, KeyError):
            continue
    return {rule: sum(values) / len(values) for rule, values in seen.items()}


def _failure_text(root: Path, log_path: Path, code: int) -> str:
    # Jobs leave their messages as files. If there are none, Snakemake itself failed, and the end of
    # its log is all that is known.
    failures = [path.read_text(encoding="utf-8") for path in sorted(root.glob("failures/*.txt"))]
    if not failures:
        lines = [line for line in log_path.read_text(encoding="utf-8").splitlines() if line]
        failures = ["The last lines of Snakemake:\n" + "\n".join(lines[-15:])]
    count = f"{len(failures)} jobs" if len(failures) > 1 else "a job"
    return (
        f"{count} failed (Snakemake ended with {code}).\n\n"
        + "\n\n".join(failures)
        + f"\n\nFinished work is kept. Fix the cause and run again.\nFull log: {log_path}"
    )
