"""summary.json counts, compares, and adds up what stages cost."""

import dataclasses
import json

from clusterscan.core.records import BlockManifest, TileRecord
from clusterscan.publish.summary import (
    build_summary,
    read_costs,
    read_problems,
    stage_costs,
)


def test_counts_add_up_and_the_filter_stands_beside_the_networks(run):
    summary = build_summary(run)
    counts = summary["counts"]
    assert counts["objects"] == len(run.catalogue["name"])
    assert counts["above_threshold"] == (run.catalogue["prob"] >= summary["threshold"]).sum()
    assert (
        counts["new_above_threshold"] + counts["known_above_threshold"] == counts["above_threshold"]
    )
    assert summary["networks"]["completeness"] > summary["filter_baseline"]["completeness"]
    assert summary["headline"]
    assert summary["seed"] == 7
    assert summary["simulated"] is True
    assert counts["known_clusters_in_footprint"] == len(run.known)


def test_a_run_without_validation_has_a_summary_too(run):
    summary = build_summary(dataclasses.replace(run, validation={}, known=None))
    assert summary["networks"] is None
    assert summary["filter_baseline"] is None
    json.dumps(summary, allow_nan=False)


def test_stage_costs_are_sums_of_time_and_the_largest_memory():
    costs = [
        {"stage": "scan", "wall_s": 2.0, "cpu_s": 1.5, "peak_mib": 300},
        {"stage": "scan", "wall_s": 3.0, "cpu_s": 2.5, "peak_mib": 200},
        {"stage": "train", "wall_s": 9.0, "cpu_s": 8.0, "peak_mib": 900},
    ]
    assert stage_costs(costs)["scan"] == {"jobs": 2, "wall_s": 5.0, "cpu_s": 4.0, "peak_mib": 300}


def test_costs_and_problems_are_read_from_the_run_s_files(tmp_path):
    (tmp_path / "costs").mkdir()
    (tmp_path / "costs" / "a.json").write_text('{"stage": "scan", "wall_s": 1}')
    (tmp_path / "costs" / "b.json").write_text('{"stage": "sc')  # the job was killed
    assert [c["stage"] for c in read_costs(tmp_path)] == ["scan"]
    records = (
        TileRecord(5, "ok", "f", "maps/x.fits", 1, "s"),
        TileRecord(6, "failed", "f", reason="no disk"),
    )
    manifest = BlockManifest("scan", 1, "act/baseline", 3, 0, 5, records)
    manifest.write(tmp_path / "manifests" / "scan" / "act" / "baseline" / "o3-0.json")
    (problem,) = read_problems(tmp_path)
    assert problem["tile"] == 6
    assert problem["reason"] == "no disk"
    assert problem["key"] == "act/baseline"
