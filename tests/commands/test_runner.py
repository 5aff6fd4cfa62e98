"""One run a folder, and what a failed run says."""

import errno
import fcntl
import json
import logging
import os
import subprocess
import sys
import time
from argparse import Namespace
from pathlib import Path

import psutil
import pytest

from clusterscan.commands.cli import main
from clusterscan.commands.run import runner
from clusterscan.commands.run.closing import closing_text
from clusterscan.commands.sync.offline import sync_offline
from clusterscan.config.load import load_config
from clusterscan.core.errors import ClusterscanError, ImageError
from clusterscan.flow import lock
from clusterscan.flow.job import block_arguments, run_stage
from clusterscan.flow.lock import hold_lock, job_at_work


def test_a_second_run_in_a_folder_is_refused_until_the_first_ends(tmp_path):
    with (
        hold_lock(tmp_path / "results"),
        pytest.raises(ClusterscanError, match=r"another run is at work in .*results; wait"),
        hold_lock(tmp_path / "results"),
    ):
        pass
    with hold_lock(tmp_path / "results"):
        pass


def test_a_killed_run_leaves_no_lock(tmp_path):
    code = (
        "import sys, time; from pathlib import Path\n"
        "from clusterscan.flow.lock import hold_lock\n"
        "with hold_lock(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout.readline() == "held\n"
    with pytest.raises(ClusterscanError, match="another run"), hold_lock(tmp_path):
        pass
    child.kill()
    child.communicate()
    with hold_lock(tmp_path):
        pass


def test_the_lock_is_held_as_long_as_a_child_that_got_it_lives(tmp_path):
    with hold_lock(tmp_path) as lock:
        child = subprocess.Popen(["sleep", "60"], pass_fds=(lock,))
    with pytest.raises(ClusterscanError, match="another run"), hold_lock(tmp_path):
        pass
    child.kill()
    child.wait()
    with hold_lock(tmp_path):
        pass


def test_a_file_system_without_locks_is_told_apart_from_a_second_run(tmp_path, monkeypatch):
    def flock(*_):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(ClusterscanError, match="gives no locks"), hold_lock(tmp_path):
        pass


def test_a_folder_is_refused_while_a_job_of_a_killed_run_is_still_at_work(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "SECONDS_FOR_JOBS", 0.2)
    with (
        job_at_work(tmp_path),
        job_at_work(tmp_path),  # jobs do not hinder each other
        pytest.raises(ClusterscanError, match="a job of an earlier run"),
        hold_lock(tmp_path),
    ):
        pass
    with hold_lock(tmp_path), job_at_work(tmp_path):  # nor does a run hinder its own
        pass


def test_a_run_of_some_jobs_ends_without_the_summary_of_all(tmp_path):
    assert closing_text(tmp_path, True, 3.0) == "Done in 00:03."


@pytest.fixture
def snakemake_says(monkeypatch):
    """Return a function that replaces Snakemake by a Python text."""

    def replace(code):
        monkeypatch.setattr(runner, "_command", lambda *_: [sys.executable, "-c", code])

    return replace


@pytest.mark.parametrize("command", ["run", "sync", "unpin"])
def test_a_refused_command_changes_nothing_of_the_first_run(tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    root, mini = tmp_path / "results", Path(__file__).parents[1] / "mini.yaml"
    (root / "failures").mkdir(parents=True)
    (root / "failures/fetch.txt").write_text("of the first run")
    with hold_lock(root), pytest.raises(SystemExit, match="another run is at work in results"):
        main([command, str(mini)])
    assert {p.name for p in root.iterdir()} == {"failures", ".lock"}


def test_a_run_freezes_its_configuration_and_an_edit_meanwhile_changes_nothing(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    mini = (Path(__file__).parents[1] / "mini.yaml").read_text(encoding="utf-8")
    Path("config.yaml").write_text(mini)
    seen = []

    def edit_and_look(config_file, cores, extra):
        Path("config.yaml").write_text(mini.replace("seed: 3", "seed: 4"))
        seen.append(load_config([config_file]))
        return [sys.executable, "-c", "raise SystemExit(1)"]

    monkeypatch.setattr(runner, "_command", edit_and_look)
    with pytest.raises(SystemExit, match="failed"):
        main(["run", "config.yaml"])
    assert seen[0].seed == 3
    Path("config.yaml").write_text(mini)
    assert seen[0] == load_config(["config.yaml"])


@pytest.mark.parametrize(
    ("arguments", "shows"),
    [
        ("", False),
        ("-n", True),
        ("-np", True),
        ("--dry-run", True),
        ("--dryrun --until sample", True),
        ("--executor dryrun", True),
        ("--summary", True),
        ("--list", True),
        ("--lint", True),
        ("--dag", True),
        ("--rulegraph mermaid-js", True),
        ("--report page.html", True),
        ("--report page.html --report-after-run", False),
        ("--until sample -k", False),
        ("--touch", False),
        ("--delete-all-output", False),
    ],
)
def test_arguments_that_only_show_something_are_told_from_those_that_run_jobs(arguments, shows):
    assert runner.only_shows(arguments.split()) is shows


def test_arguments_that_snakemake_does_not_know_end_the_command_with_its_message(capsys):
    with pytest.raises(SystemExit):
        runner.only_shows(["--no-such-option"])
    assert "--no-such-option" in capsys.readouterr().err


def test_a_failed_run_shows_every_jobs_own_message_and_how_to_go_on(tmp_path, snakemake_says):
    folder = tmp_path / "failures"
    snakemake_says(
        f"import pathlib; p = pathlib.Path({str(folder)!r}); p.mkdir()\n"
        "(p / 'a.txt').write_text('fetch act block 1 failed:\\ntile 4: cut short')\n"
        "(p / 'b.txt').write_text('scan act/baseline block 2 failed:\\nno weights')\n"
        "raise SystemExit(1)"
    )
    with pytest.raises(ClusterscanError) as caught:
        runner.run_workflow(tmp_path, os.open(tmp_path, os.O_RDONLY), Path("c.yaml"), 1)
    text = str(caught.value)
    assert text.startswith("2 jobs failed (Snakemake ended with 1).")
    for part in ("tile 4: cut short", "no weights", "Fix the cause and run again"):
        assert part in text
    assert text.endswith(f"Full log: {tmp_path / 'logs/snakemake.log'}")


def test_a_failure_outside_any_job_shows_snakemakes_last_lines(tmp_path, snakemake_says):
    snakemake_says("[print('line', n) for n in range(40)]; raise SystemExit(3)")
    with pytest.raises(ClusterscanError, match=r"(?s)lines of Snakemake:\nline 25\n.*line 39\n"):
        runner.run_workflow(tmp_path, os.open(tmp_path, os.O_RDONLY), Path("c.yaml"), 1)


def test_a_run_says_whether_there_was_anything_to_do(tmp_path, snakemake_says):
    snakemake_says("print('Nothing to be done (all requested files are present).')")
    assert not runner.run_workflow(tmp_path, os.open(tmp_path, os.O_RDONLY), Path("c.yaml"), 1)
    snakemake_says("print('Job stats:')\nprint('total   0')")
    assert runner.run_workflow(tmp_path, os.open(tmp_path, os.O_RDONLY), Path("c.yaml"), 1)


def test_ending_a_child_that_was_not_told_ends_all_below_it_too(monkeypatch):
    monkeypatch.setattr(runner, "_SECONDS_TO_END", 0.5)
    code = (
        "import signal, subprocess, sys, time\n"
        "signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "subprocess.Popen(['sleep', '60']); print('started', flush=True); time.sleep(60)"
    )
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert child.stdout.readline() == "started\n"
    below = psutil.Process(child.pid).children()
    runner._end(child)
    child.stdout.close()
    gone, alive = psutil.wait_procs(below, timeout=5)
    assert (child.poll() is not None, len(gone), alive) == (True, 1, [])


def test_earlier_costs_are_means_by_rule_and_survive_damaged_files(tmp_path):
    costs = tmp_path / "costs"
    costs.mkdir()
    for name, stage, seconds in (("a", "scan", 2.0), ("b", "scan", 4.0), ("c", "catalogue", 3.0)):
        (costs / f"{name}.json").write_text(json.dumps({"stage": stage, "wall_s": seconds}))
    (costs / "d.json").write_text("{")
    assert runner.earlier_costs(tmp_path) == {"scan": 3.0, "fetch_catalogue": 3.0}


@pytest.fixture
def stage(tmp_path):
    """Return a function that runs a stage script's body and gives its exit."""
    parser = block_arguments("scan", "a test")
    arguments = ["--root", tmp_path, "--settings", "{}", "--output", tmp_path / "out.json"]
    arguments += ["--log", tmp_path / "logs/scan.log", "--key", "act/filter", "--block", "0"]

    def run(main):
        run_stage(parser, main, [str(a) for a in arguments])

    yield run
    logging.captureWarnings(False)  # a job's settings of logging must not outlast the test
    for handler in logging.getLogger().handlers[:]:
        if isinstance(handler, logging.FileHandler):
            logging.getLogger().removeHandler(handler)
            handler.close()


def fail_with(error):
    def main(args: Namespace, progress) -> None:
        raise error

    return main


def test_a_mendable_error_ends_a_job_with_its_message_block_and_log(tmp_path, stage):
    with pytest.raises(SystemExit) as caught:
        stage(fail_with(ImageError("tile 7: cut short; fetch it anew")))
    text = str(caught.value)
    assert text.startswith("scan act/filter block 0 failed:\ntile 7: cut short; fetch it anew\n")
    assert text.endswith(f"The job's log: {tmp_path / 'logs/scan.log'}")
    assert (tmp_path / "failures/scan-act-filter-0.txt").read_text() == text + "\n"
    assert "cut short" in (tmp_path / "logs/scan.log").read_text()
    assert not list((tmp_path / ".progress").glob("*"))


def test_a_bug_keeps_its_traceback_and_is_noted_too(tmp_path, stage):
    with pytest.raises(ZeroDivisionError):
        stage(fail_with(ZeroDivisionError("division by zero")))
    noted = (tmp_path / "failures/scan-act-filter-0.txt").read_text()
    assert "ZeroDivisionError: division by zero" in noted
    assert "Traceback" in (tmp_path / "logs/scan.log").read_text()


def test_a_retry_that_works_removes_the_message_and_notes_the_cost(tmp_path, stage):
    with pytest.raises(SystemExit):
        stage(fail_with(ImageError("a passing fault")))
    stage(lambda args, progress: time.sleep(0.01))
    assert not list((tmp_path / "failures").glob("*"))
    cost = json.loads((tmp_path / "costs/scan-act-filter-0.json").read_text())
    assert (cost["stage"], cost["block"]) == ("scan", 0)
    assert cost["peak_mib"] > 1


def test_a_full_disk_ends_snakemake_too_and_is_named(tmp_path, snakemake_says, monkeypatch):
    monkeypatch.setattr(runner, "_SECONDS_TO_END", 0.5)
    mark = tmp_path / "pid"
    snakemake_says(
        f"import os, time; open({str(mark)!r}, 'w').write(str(os.getpid()))\n"
        "print('hello', flush=True); time.sleep(60)"
    )

    def full(self, line):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(runner._Follower, "take", full)
    with pytest.raises(ClusterscanError, match="No space left on device"):
        runner.run_workflow(tmp_path, os.open(tmp_path, os.O_RDONLY), Path("c.yaml"), 1)
    assert not psutil.pid_exists(int(mark.read_text()))


@pytest.mark.parametrize("cores", ["0", "-3", "x"])
def test_impossible_cores_are_refused(cores, capsys):
    with pytest.raises(SystemExit) as caught:
        main(["run", "config.yaml", f"--cores={cores}"])
    assert caught.value.code == 2
    assert "no number of cores" in capsys.readouterr().err


def test_a_folder_that_cannot_be_written_to_is_named(tmp_path):
    mini = Path(__file__).parents[1] / "mini.yaml"
    (tmp_path / "file").write_text("")
    with pytest.raises(ClusterscanError, match="file/run: cannot be written to"):
        sync_offline(load_config([mini], {"output": str(tmp_path / "file/run")}))


def test_a_job_that_finds_the_disk_full_says_so_without_a_traceback(tmp_path):
    def stage_main(args, progress):
        raise OSError(28, "No space left on device")

    argv = ["--root", str(tmp_path), "--settings", "{}", "--block", "3"]
    argv += ["--output", str(tmp_path / "out"), "--log", str(tmp_path / "job.log")]
    with pytest.raises(SystemExit, match="No space left on device; make room on that disk"):
        run_stage(block_arguments("fetch", ""), stage_main, argv)


def test_a_file_in_the_place_of_the_run_s_folder_is_named(tmp_path, monkeypatch):
    config = tmp_path / "my.yaml"
    mini = (Path(__file__).parents[1] / "mini.yaml").read_text(encoding="utf-8")
    config.write_text(mini.replace("output: results", f"output: {tmp_path}/taken"))
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(SystemExit, match=r"taken: cannot be read or written \(File exists\)"):
        main(["unpin", str(config)])
    assert (tmp_path / "taken").read_text() == "a file"


@pytest.mark.parametrize("second", ["--configfile", "--configfile=b.yaml", "--config"])
def test_a_run_refuses_a_second_configuration(second, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="a run has one configuration"):
        main(["run", "a.yaml", second])
    assert not list(tmp_path.iterdir())
