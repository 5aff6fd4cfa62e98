import json
import pickle

import pytest
import torch
from safetensors import safe_open

from clusterscan.config.networks import NetworkSettings
from clusterscan.config.train import TrainSettings
from clusterscan.train.checkpoint import FILE, discard, read, write
from clusterscan.train.loop import train
from clusterscan.train.prepare import Task, fingerprint_of

NETWORK = NetworkSettings(size_px=16, window_px=8, output_stride=4)
STATE = {
    "optimizer_states": [{"state": {0: {"step": torch.tensor(3.0)}, 1: {}}, "betas": (0.9, 0.999)}],
    "loops": {"done": True, "nothing": None, "text": "µ", "rate": 0.1 + 0.2},
    "weights": torch.arange(6.0).reshape(2, 3),
    "counts": torch.tensor([1, 2**40]),
}


def same(a, b):
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b) and a.dtype == b.dtype
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return type(a) is type(b) and all(map(same, a, b))
    return a == b and type(a) is type(b)


def test_a_checkpoint_gives_back_what_was_written(tmp_path):
    write(tmp_path, STATE, "mine")
    assert same(read(tmp_path, "mine"), STATE)
    write(tmp_path, {"a": 1}, "mine")
    assert read(tmp_path, "mine") == {"a": 1}
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


def test_tensors_lie_in_memory_as_they_did(tmp_path):
    kernel = torch.randn(4, 3, 5, 5).to(memory_format=torch.channels_last)
    write(tmp_path, {"last": kernel, "first": kernel.contiguous()}, "mine")
    found = read(tmp_path, "mine")
    assert torch.equal(found["last"], kernel)
    assert found["last"].stride() == kernel.stride()
    assert found["first"].is_contiguous()


def test_a_checkpoint_of_another_training_or_a_damaged_one_is_not_used(tmp_path, caplog):
    assert read(tmp_path, "mine") is None
    write(tmp_path, STATE, "other")
    assert read(tmp_path, "mine") is None
    for damage in (b"", b"\0" * 100, (tmp_path / FILE).read_bytes()[:-3]):
        (tmp_path / FILE).write_bytes(damage)
        assert read(tmp_path, "other") is None
    assert "starting from the beginning" in caplog.text


def test_nothing_is_pickled_and_a_pickle_is_not_read(tmp_path):
    write(tmp_path, STATE, "mine")
    with safe_open(tmp_path / FILE, "pt") as file:
        header = json.loads(file.metadata()["clusterscan"])
    assert header["fingerprint"] == "mine"
    (tmp_path / FILE).write_bytes(pickle.dumps(STATE))
    assert read(tmp_path, "mine") is None
    with pytest.raises(TypeError, match="cannot hold type"):
        write(tmp_path, {"class": dict}, "mine")


def test_a_discarded_checkpoint_leaves_no_folder_behind(tmp_path):
    write(tmp_path / "own", STATE, "mine")
    discard(tmp_path / "own")
    assert not (tmp_path / "own").exists()
    discard(tmp_path / "own")
    write(tmp_path, STATE, "mine")
    (tmp_path / "weights.safetensors").touch()
    discard(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["weights.safetensors"]


def test_the_fingerprint_is_of_all_that_determines_the_weights(examples):
    def mark(network=NETWORK, data=None, device="cpu", **settings):
        task = Task(examples, network, TrainSettings(**settings))
        return fingerprint_of(task, data or examples.sha256(), torch.device(device))

    assert mark() == mark()
    assert mark() == mark(checkpoint_every_steps=7)
    others = [
        mark(seed=2),
        mark(learning_rate=0.01),
        mark(threads=2),
        mark(data="0"),
        mark(device="cuda"),
        mark(network=NETWORK.model_copy(update={"dropout": 0.4})),
    ]
    assert len({mark(), *others}) == 1 + len(others)


def test_a_training_does_not_go_on_from_a_checkpoint_of_other_settings(examples, tmp_path):
    settings = TrainSettings(epochs=1, batch_size=16, learning_rate=1e-3, device="cpu")
    often = settings.model_copy(update={"checkpoint_every_steps": 3})
    train(examples, NETWORK, often.model_copy(update={"seed": 2}), checkpoint=tmp_path)
    assert (tmp_path / FILE).exists()
    told = []
    found = train(examples, NETWORK, often, checkpoint=tmp_path, progress=lambda *a: told.append(a))
    fresh = train(examples, NETWORK, settings)
    for name, value in fresh.network.state_dict().items():
        assert torch.equal(found.network.state_dict()[name], value)
    # With its own checkpoint it resumes and has fewer steps to report.
    again = []
    train(examples, NETWORK, often, checkpoint=tmp_path, progress=lambda *a: again.append(a))
    assert len(again) < len(told)
