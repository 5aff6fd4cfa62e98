"""The progress line says what runs, how far it is and how long it takes."""

import io
import json

from clusterscan.commands.run.events import (
    EventReader,
    JobCounts,
    JobFinished,
    JobStarted,
    NothingToDo,
)
from clusterscan.commands.run.forecast import Forecast
from clusterscan.core.display import Display, bar, clock, running_jobs

LOG = """\
Building DAG of jobs...
Job stats:
job        count
-------  -------
all            1
fetch          4
scan          12
total         17

[Sat Nov 21 01:59:44 2026]
rule fetch:
    input: a.json
    jobid: 5
    wildcards: survey=unwise
[Sat Nov 21 01:59:50 2026]
Finished jobid: 5 (Rule: fetch)
1 of 17 steps (6%) done
[Sat Nov 21 01:59:50 2026]
localrule all:
    input: a.json
    jobid: 0
"""


def test_snakemakes_lines_become_events():
    reader = EventReader()
    events = [event for line in LOG.splitlines() if (event := reader.read(line))]
    assert events == [
        JobCounts({"all": 1, "fetch": 4, "scan": 12}),
        JobStarted("fetch", 5),
        JobFinished(5),
        JobStarted("all", 0),
    ]
    assert isinstance(reader.read("Nothing to be done (all present)."), NothingToDo)


def test_the_forecast_learns_from_finished_jobs_and_shrinks_with_running_ones():
    forecast = Forecast({"fetch": 4}, cores=2, earlier_s={"fetch": 10.0})
    assert forecast.seconds_left({}) == 20.0
    forecast.finished("fetch", 40.0)
    assert forecast.seconds_left({}) == 3 * 25.0 / 2
    assert forecast.seconds_left({"fetch": [10.0]}) == (3 * 25.0 - 10.0) / 2


def test_a_finished_run_has_nothing_left():
    forecast = Forecast({"merge": 1}, cores=2)
    forecast.finished("merge", 3.0)
    assert forecast.seconds_left({}) == 0.0


def test_a_line_names_each_running_job_with_its_share(tmp_path):
    job = {"title": "train act/baseline", "done": 2, "total": 5, "text": "epoch 2"}
    (tmp_path / "a.json").write_text(json.dumps(job))
    (tmp_path / "b.json").write_text("{half")
    assert running_jobs(tmp_path) == ["train act/baseline 40 % epoch 2"]
    stream = io.StringIO()
    Display(stream, tmp_path).show(3, 12, 75.0)
    assert stream.getvalue() == (
        "[#####...............] 3/12 jobs, 00:00 gone, about 01:15 left | "
        "train act/baseline 40 % epoch 2\n"
    )


def test_bars_and_clocks():
    assert bar(0, 0) == "[" + 20 * "." + "]"
    assert bar(7, 7) == "[" + 20 * "#" + "]"
    assert clock(59.6) == "01:00"
    assert clock(3723) == "1:02:03"
