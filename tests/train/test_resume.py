import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("killed_training.py")


@pytest.fixture(scope="module")
def tries(tmp_path_factory):
    """What became of trainings that were killed several times each."""
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(tmp_path_factory.mktemp("killed")), "20"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert not done.returncode, done.stderr
    return {row["task"]: row for row in map(json.loads, done.stdout.splitlines())}


@pytest.mark.parametrize("task", ["plain", "stages", "fusion"])
def test_a_training_killed_anywhere_ends_with_the_same_bytes(tries, task):
    """Weights, card, history and predictions; SIGKILL at steps, moments and in checkpoints."""
    assert tries[task]["kills"] >= 2
    assert tries[task]["same"]


@pytest.mark.parametrize("task", ["plain", "stages", "fusion"])
def test_the_last_try_goes_on_and_does_not_start_anew(tries, task):
    assert tries[task]["last_steps"] < tries[task]["steps"]
