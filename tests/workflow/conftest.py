"""Runs of the whole workflow on the mini sky, each in a folder of its own."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
CATALOGUE = ("clusters.fits", "clusters.vot", "clusters.parquet")


class Run:
    """A run's folder and the commands that work in it."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.root = folder / "results"

    def start(self, *arguments: str) -> subprocess.Popen:
        """Start a command in a process group of its own."""
        scripts = str(Path(sys.executable).parent)
        return subprocess.Popen(
            [sys.executable, "-m", *arguments],
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            process_group=0,
            env={**os.environ, "PATH": scripts + os.pathsep + os.environ["PATH"]},
            # A shell's background job ignores Ctrl-C, and so would its children.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )

    def do(self, *arguments: str, expect: int = 0) -> str:
        """Run a command to its end and return what it said."""
        child = self.start(*arguments)
        try:
            text, _ = child.communicate(timeout=900)
        finally:
            kill_group(child)
        assert child.returncode == expect, text
        return text

    def clusterscan(self, command: str, *arguments: str, expect: int = 0) -> str:
        """Run a clusterscan command on this folder's configuration."""
        return self.do("clusterscan", command, "config.yaml", *arguments, expect=expect)

    def snakemake(self, *arguments: str) -> str:
        """Run plain Snakemake."""
        common = ["--snakefile", str(PROJECT / "Snakefile"), "--configfile", "config.yaml"]
        return self.do("snakemake", *common, "--cores", "1", "--nocolor", *arguments)

    def catalogue(self) -> dict[str, str]:
        """Return the sha256 of the catalogue's files."""
        folder = self.root / "catalogue"
        return {n: hashlib.sha256((folder / n).read_bytes()).hexdigest() for n in CATALOGUE}

    def configure(self, text: str) -> None:
        """Write the configuration."""
        (self.folder / "config.yaml").write_text(text, encoding="utf-8")

    def copy(self, folder: Path) -> Run:
        """Return a copy with the files' times, as a backup keeps them."""
        shutil.copytree(self.folder, folder, symlinks=True)
        return Run(folder)


def kill_group(child: subprocess.Popen) -> None:
    """End a command and all its children at once, as a power cut would."""
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


@pytest.fixture(scope="session")
def run_in() -> type[Run]:
    """Return what makes a run of a folder."""
    return Run


@pytest.fixture
def fresh(tmp_path: Path, mini_text: Callable[..., str]) -> Run:
    """Return a folder with the mini configuration and nothing else."""
    run = Run(tmp_path / "fresh")
    run.folder.mkdir()
    run.configure(mini_text())
    return run


@pytest.fixture(scope="session")
def finished(tmp_path_factory, mini_text, worker_id) -> Run:
    """Return the finished mini run: made once, also where tests run side by side."""
    shared = tmp_path_factory.getbasetemp()
    if worker_id != "master":
        shared = shared.parent
    run = Run(shared / "mini-run")
    with (shared / "mini-run.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (run.folder / "said.txt").exists():
            shutil.rmtree(run.folder, ignore_errors=True)
            run.folder.mkdir()
            run.configure(mini_text())
            said = run.clusterscan("run", "--cores", "1")
            (run.folder / "said.txt").write_text(said, encoding="utf-8")
    return run


@pytest.fixture
def copy(finished: Run, tmp_path: Path) -> Run:
    """Return a copy of the finished run."""
    return finished.copy(tmp_path / "copy")
