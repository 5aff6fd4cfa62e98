"""The report's tables and figures of networks, from what training leaves."""

import json

import numpy as np
import pandas as pd
import pytest

from clusterscan.measure.breakdown import recall_by_redshift
from clusterscan.measure.combined_table import combined_table
from clusterscan.measure.labelled import labelled
from clusterscan.measure.scores import metrics_of
from clusterscan.publish.report_inputs import ReportInputs
from clusterscan.publish.report_networks import (
    examples_section,
    network_runs,
    training_section,
    write_networks_table,
)

CURVE = {"learning_rate": [1e-4, 1e-3, 1e-2, 1e-1], "loss": [0.7, 0.6, 0.4, 3.0], "chosen": 3e-3}
MODELS = [("infrared", "resnet18"), ("microwave", "resnet18"), ("infrared", "filter")]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory, release_module):
    tmp_path = tmp_path_factory.mktemp("networks")
    rng = np.random.default_rng(5)
    for survey, model in MODELS[:2]:
        label = rng.integers(2, size=300)
        probability = np.clip(rng.normal(0.3 + 0.4 * label, 0.2), 0, 1)
        test = metrics_of(labelled(label, probability, ("other", "cluster")), bootstrap=50)
        test["calibrated"] = {"ece": 0.0123}
        test["recall_by_redshift"] = recall_by_redshift(
            rng.uniform(0, 1, label.sum()), probability[label == 1]
        )
        history = {
            "epochs": [{"epoch": 1, "loss": 0.5, "validation_loss": 0.6}],
            "range_test": CURVE,
            "range_tests": [CURVE, None, CURVE],
        }
        card = {"seed": 7, "weights": {"parameters": 12}, "training": {"learning_rate": 0.1}}
        folder = tmp_path / "models" / f"{survey}-{model}"
        folder.mkdir(parents=True)
        for name, value in (("metrics", {"test": test}), ("history", history), ("model", card)):
            (folder / f"{name}.json").write_text(json.dumps(value))
    return ReportInputs(tmp_path, release_module, "A run", {}, {}, MODELS)


def test_the_table_shows_every_network_with_its_intervals(inputs):
    section = examples_section(inputs)
    (table,) = section.tables
    assert [row[0] for row in table.rows] == ["resnet18 on infrared", "resnet18 on microwave"]
    assert {len(row) for row in table.rows} == {len(table.header)}
    runs = network_runs(inputs)
    area = runs[0].metrics["roc_auc"]
    low, high = runs[0].metrics["intervals"]["roc_auc"]
    assert table.rows[0][3] == f"{area:.3f} ± {(high - low) / 2:.3f}"
    assert table.rows[0][-1] == "0.012"
    assert len(section.pictures) == 4


def test_the_networks_of_a_run_fill_the_combined_table(inputs):
    table = combined_table(network_runs(inputs))
    assert table["survey"].tolist() == ["infrared", "microwave"]
    assert table["parameters"].tolist() == [12, 12]
    assert table["f1"].between(0.5, 1).all()


def test_the_combined_table_lies_beside_the_models(inputs):
    write_networks_table(inputs)
    stored = pd.read_parquet(inputs.root / "models/networks.parquet")
    assert stored["network"].tolist() == ["resnet18", "resnet18"]
    expected = [run.metrics["brier"] for run in network_runs(inputs)]
    assert stored["brier"].tolist() == pytest.approx(expected)
    assert len(pd.read_csv(inputs.root / "models/networks.csv")) == 2


def test_every_range_test_of_a_staged_training_is_drawn(inputs):
    alts = [picture.alt for picture in training_section(inputs).pictures]
    assert sum("range test" in alt for alt in alts) == 4
    assert "Learning rate range test of resnet18 on microwave, stage 2" in alts


def test_a_run_without_networks_has_empty_sections(tmp_path, release):
    inputs = ReportInputs(tmp_path, release, "A run", {}, {}, MODELS)
    assert examples_section(inputs).is_empty
    assert training_section(inputs).is_empty
    assert network_runs(inputs) == []
