"""summary.json counts, compares, and adds up what stages cost."""

import json

import numpy as np
import pandas as pd
import pytest

from clusterscan.core.records import BlockManifest, TileRecord
from clusterscan.publish.catalogue import catalogue_rows
from clusterscan.publish.report_inputs import read_scores
from clusterscan.publish.summary import (
    build_summary,
    read_costs,
    read_problems,
    stage_costs,
    write_summary,
)


def summary_of(run):
    return build_summary(
        release=run.release, title=run.title, catalogue=run.catalogue, models=run.models,
        scores=read_scores(run.validation), n_tiles=len(run.tiles), costs=run.costs,
        problems=run.problems, versions=run.versions,
    )  # fmt: skip


def test_counts_add_up_and_the_filter_stands_beside_the_networks(run, tmp_path):
    summary = summary_of(run)
    counts = summary["counts"]
    assert counts["objects"] == len(run.catalogue["name"])
    assert counts["above_threshold"] == (run.catalogue["prob"] >= summary["threshold"]).sum()
    assert (
        counts["new_above_threshold"] + counts["known_above_threshold"] == counts["above_threshold"]
    )
    assert summary["networks"]["completeness"] > summary["filter_baseline"]["completeness"]
    assert summary["headline"]
    write_summary(tmp_path / "summary.json", summary)
    again = json.loads((tmp_path / "summary.json").read_text())
    assert again["seed"] == 7
    assert again["simulated"] is True


def test_a_run_without_validation_has_a_summary_too(run):
    summary = build_summary(
        release=run.release, title="x", catalogue=run.catalogue, models=run.models,
        scores=read_scores({}), n_tiles=2,
    )  # fmt: skip
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


def test_an_object_is_true_only_by_a_cluster_that_counts_and_each_cluster_once():
    objects = pd.DataFrame(
        {
            "ra_deg": [10.0, 10.01, 20.0], "dec_deg": [0.0, 0.0, 0.0], "prob": [0.6, 0.9, 0.8],
            "known_row": [0, -1, -1], "forced_act_net": [0.5, 0.6, 0.7], "split": ["test"] * 3,
        }
    )  # fmt: skip
    known = pd.DataFrame(
        {
            "catalogues": ["sz"], "sz_name": ["A"], "sz_sep_arcsec": [3.0], "z": [0.3],
            "z_type": ["spec"], "z_source": ["sz"], "m500c_msun": [3e14], "m500c_source": ["sz"],
            "conflicts": [2], "sz_row": [1], "sz_ra_deg": [10.0], "sz_dec_deg": [0.01],
        }
    )  # fmt: skip
    truth = pd.DataFrame(
        {
            "name": ["big", "small"], "ra_deg": [10.006, 20.0], "dec_deg": [0.0, 0.0],
            "z": [0.3, 0.2], "m500c_msun": [4e14, 1e13],
        }
    )  # fmt: skip
    rows = catalogue_rows(
        objects, known, known_names=["sz"], purities=(0.8,), truth=truth,
        truth_cut={"m500c_msun": (5e13, None)}, filter_snr={"act": np.array([1.0, 2.0, 3.0])},
    )  # fmt: skip
    assert rows["truth_name"].tolist() == ["", "big", ""]
    assert rows["truth_sep_arcsec"][1] == pytest.approx(0.004 * 3600)
    assert rows["class"].tolist() == ["recovered", "new", "new"]  # in the test region
    assert rows["sz_name"].tolist() == ["A", "", ""]
    # From the object itself to that catalogue's own position.
    np.testing.assert_allclose(rows["sz_sep_arcsec"], [36.0, np.nan, np.nan])
    assert 0 <= rows["sz_p_chance"][0] < 1e-3
    assert rows["known_conflicts"].tolist() == [2, -1, -1]
    np.testing.assert_allclose(rows["purity"], [2.3 / 3, 0.9, 0.85])
    np.testing.assert_array_equal(rows["purity_sample"], [np.nan, 0.8, 0.8])
    assert rows["prob_act_net"].tolist() == [0.5, 0.6, 0.7]
    assert rows["snr_act_filter"].tolist() == [1.0, 2.0, 3.0]
