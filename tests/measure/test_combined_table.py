"""The combined table: experiments x surveys x seeds beside the published values."""

import html
import re

import numpy as np
import pandas as pd
import pytest

from clusterscan.core.errors import ProductError
from clusterscan.measure.combined_table import Run, combined_table, runs_table, value_and_interval
from clusterscan.measure.labelled import labelled
from clusterscan.measure.scores import metrics_of
from clusterscan.report.combined_text import (
    difference,
    figure,
    to_html,
    to_markdown,
    write_combined_table,
)


def metrics(accuracy, low, high, **more):
    return {"examples": 100, "objects": 50, "accuracy": accuracy, **more,
            "intervals": {"accuracy": [low, high]}}  # fmt: skip


RUNS = [
    Run("cn", metrics(0.90, 0.87, 0.92, f1=0.8), seed=1, survey="optical", title="CN | expert",
        published={"accuracy": (0.90, 0.03)}, facts={"parameters": 12}),
    Run("cn", metrics(0.94, 0.90, 0.95, f1=0.9), seed=2, survey="optical", title="CN | expert"),
    Run("mn", metrics(0.80, None, None, f1=None), seed=1, survey="X-ray <keV>",
        published={"accuracy": 0.88}),
]  # fmt: skip


def test_seeds_become_mean_and_sample_standard_deviation():
    table = combined_table(RUNS, ("accuracy", "f1"))
    assert table["experiment"].tolist() == ["cn", "mn"]
    first, second = table.to_dict("records")
    assert first["seeds"] == 2
    assert first["accuracy"] == pytest.approx(0.92)
    assert first["accuracy_std"] == pytest.approx(np.std([0.90, 0.94], ddof=1))
    # Distances below: 0.03 and 0.04; above: 0.02 and 0.01; averaged in quadrature.
    assert first["accuracy_low"] == pytest.approx(0.92 - np.sqrt((0.03**2 + 0.04**2) / 2))
    assert first["accuracy_high"] == pytest.approx(0.92 + np.sqrt((0.02**2 + 0.01**2) / 2))
    assert np.isnan(second["accuracy_std"])
    assert np.isnan(second["accuracy_low"])
    assert np.isnan(second["f1"])
    assert first["parameters"] == 12


def test_published_values_stand_beside_with_the_difference():
    first, second = combined_table(RUNS, ("accuracy", "f1")).to_dict("records")
    assert first["accuracy_published"] == 0.90
    assert first["accuracy_published_std"] == 0.03
    assert first["accuracy_difference"] == pytest.approx(0.02)
    assert second["accuracy_difference"] == pytest.approx(-0.08)
    assert "f1_published" not in first


def test_every_run_has_a_row_of_its_own():
    table = runs_table(RUNS, ("accuracy", "f1", "brier"))
    assert table["seed"].tolist() == [1, 2, 1]
    assert table["accuracy"].tolist() == [0.90, 0.94, 0.80]
    assert "brier" not in table  # no run has it


def test_the_same_training_twice_is_refused():
    with pytest.raises(ProductError, match=r"'seed': 1.*twice"):
        combined_table([RUNS[0], RUNS[0]], ("accuracy",))


def test_no_runs_make_an_empty_table(tmp_path):
    table = write_combined_table(tmp_path, [], ("accuracy",))
    assert len(table) == 0
    assert "| Seeds |" in (tmp_path / "table.md").read_text()


def test_measures_come_from_metrics_json_and_from_nested_scores(binary):
    found = metrics_of(labelled(*binary, "ab"))
    value, low, high = value_and_interval(found, "f1")
    assert (value, [low, high]) == (found["f1"], found["intervals"]["f1"])
    nested = {"f1": {"value": value, "low": low, "high": high}}
    assert value_and_interval(nested, "f1") == (value, low, high)
    assert np.isnan(value_and_interval(found, "speed")).all()


def test_files_hold_the_same_table_and_the_same_bytes_again(tmp_path):
    for folder in (tmp_path / "a", tmp_path / "b"):
        table = write_combined_table(folder, RUNS, ("accuracy", "f1"), caption="Simulated sky.")
    names = ["table.csv", "table.html", "table.md", "table.parquet", "table_runs.csv",
             "table_runs.parquet"]  # fmt: skip
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == names
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    back = pd.read_parquet(tmp_path / "a" / "table.parquet")
    pd.testing.assert_frame_equal(back, table, check_dtype=False)
    csv = pd.read_csv(tmp_path / "a" / "table.csv", keep_default_na=True)
    assert csv["accuracy"].tolist() == pytest.approx(table["accuracy"].tolist(), rel=1e-5)
    assert len(pd.read_csv(tmp_path / "a" / "table_runs.csv")) == 3


def test_markdown_and_html_say_the_same_and_escape_what_others_wrote():
    table = combined_table(RUNS, ("accuracy", "f1"))
    text = to_markdown(table, ("accuracy", "f1"), caption="Simulated sky.")
    lines = [line for line in text.splitlines() if line.startswith("|")]
    cells = [re.split(r"(?<!\\)\|", line)[1:-1] for line in lines]
    assert {len(row) for row in cells} == {len(cells[0])}
    wanted = ["CN \\| expert", "optical", "2", "50", "0.920 ± 0.028 [0.885, 0.936]",
              "0.900 ± 0.030", "+0.020", "0.850 ± 0.071"]  # fmt: skip
    assert [cell.strip() for cell in cells[2]] == wanted
    markup = to_html(table, ("accuracy", "f1"), caption="Simulated sky.")
    assert "X-ray &lt;keV&gt;" in markup
    found = [html.unescape(c) for c in re.findall(r"<td[^>]*>([^<]*)</td>", markup)]
    assert found[: len(wanted)] == ["CN | expert", *wanted[1:]]
    assert "Simulated sky." in text
    assert "Simulated sky." in markup


def test_figures_show_only_what_is_known():
    assert figure(0.9) == "0.900"
    assert figure(0.9, 0.01, (0.8, 0.95), digits=2) == "0.90 ± 0.01 [0.80, 0.95]"
    assert figure(float("nan"), 0.1) == figure(None) == difference(float("nan")) == "–"
    assert difference(-0.0032) == "−0.003"
