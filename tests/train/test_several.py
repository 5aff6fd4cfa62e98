import dataclasses

import numpy as np
import pytest

from clusterscan.config.networks import FusionSettings, NetworkSettings
from clusterscan.config.train import TrainSettings
from clusterscan.core.atomic import write_json
from clusterscan.core.errors import ModelError
from clusterscan.train.loop import train
from clusterscan.train.prepare import make_task
from clusterscan.train.several_devices import (
    raise_error,
    read_result,
    read_task,
    write_result,
    write_task,
)

NETWORK = NetworkSettings(size_px=16, window_px=8, output_stride=4)
SETTINGS = TrainSettings(epochs=1, batch_size=16, learning_rate=1e-3, device="cpu", precision="32")


def test_a_task_is_the_same_on_the_other_side(examples, made_view, tmp_path):
    columns = {"r_mag": np.arange(160.0), "field": np.repeat("north", 160)}
    views = (*examples.views, made_view(examples.label, name="act", bands=1))
    both = dataclasses.replace(examples, views=views, columns=columns)
    network = FusionSettings(branches={"unwise": NETWORK, "act": NETWORK})
    task = make_task(both, network, SETTINGS, None)
    write_task(tmp_path, task, tmp_path / "checkpoint")
    found, checkpoint = read_task(tmp_path)
    assert (found.network, found.settings, found.start_from) == (network, SETTINGS, None)
    assert checkpoint == tmp_path / "checkpoint"
    assert found.examples.sha256() == both.sha256()
    for name, values in columns.items():
        np.testing.assert_array_equal(found.examples.columns[name], values)


def test_a_result_is_the_same_on_the_other_side(examples, tmp_path):
    result = train(examples, NETWORK, SETTINGS)
    write_result(tmp_path, result)
    found = read_result(tmp_path)
    assert (found.card, found.history, found.range_curves) == (
        result.card,
        result.history,
        result.range_curves,
    )
    assert found.predictions.equals(result.predictions)
    for name, value in result.network.state_dict().items():
        assert found.network.state_dict()[name].equal(value)


def test_two_processes_train_one_network(examples):
    told = []
    settings = SETTINGS.model_copy(update={"devices": 2})
    result = train(examples, NETWORK, settings, progress=lambda *args: told.append(args))
    assert len(result.history) == 1
    assert np.isfinite(result.history[0]["loss"])
    share = [done for done, _, _ in told]
    assert share == sorted(share)
    assert share[-1] == 1


def test_an_error_of_the_processes_is_raised_as_it_was(tmp_path):
    write_json(tmp_path / "error.json", {"kind": "ModelError", "message": "no GPU; set device"})
    with pytest.raises(ModelError, match="no GPU; set device"):
        raise_error(tmp_path, "Traceback ...")
    (tmp_path / "error.json").unlink()
    with pytest.raises(RuntimeError, match="Traceback"):
        raise_error(tmp_path, "Traceback ...")
