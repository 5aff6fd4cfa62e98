"""A path in a config means the same file wherever it stands, and whoever reads it."""

from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from mocpy import MOC
from safetensors.torch import save_file

from clusterscan.config.execution import DownloadSettings
from clusterscan.config.model import Config
from clusterscan.core.data_paths import PROJECT_ROOT, expand_path
from clusterscan.core.errors import ConfigError, ModelError, SourceError
from clusterscan.fetch.download.store import Access
from clusterscan.flow.paths import Paths
from clusterscan.formats.catalogue_columns import FLAGS
from clusterscan.networks.pretrained import read_weights
from clusterscan.publish.quality import moc_flags

MINI = yaml.safe_load((Path(__file__).parents[1] / "mini.yaml").read_text(encoding="utf-8"))
PLACES = [
    ("${CLUSTERSCAN_DATA}/given", "{data}/given"),
    ("~/given", "{home}/given"),
    ("given", f"{PROJECT_ROOT}/given"),
    ("/given", "/given"),
]


@pytest.fixture(autouse=True)
def folders(tmp_path, monkeypatch):
    """Data and home lie in folders of the test, and the process is in another."""
    folders = {name: tmp_path / name for name in ("data", "home", "elsewhere")}
    for folder in folders.values():
        folder.mkdir()
    monkeypatch.setenv("CLUSTERSCAN_DATA", str(folders["data"]))
    monkeypatch.setenv("HOME", str(folders["home"]))
    monkeypatch.chdir(folders["elsewhere"])
    return folders


@pytest.mark.parametrize(("named", "meant"), PLACES)
def test_the_workflow_waits_for_the_mocs_that_are_meant(named, meant, folders):
    config = deepcopy(MINI) | {"publish": {"flag_mocs": {"dust": named}}}
    assert Paths(Config.model_validate(config)).flag_mocs() == [meant.format(**folders)]


@pytest.mark.parametrize(("named", "meant"), PLACES)
def test_downloads_are_kept_in_the_folder_that_is_meant(named, meant, folders):
    access = Access.of(DownloadSettings(cache=named), Path("results"))
    assert str(access.root) == meant.format(**folders)


def test_the_moc_of_a_flag_is_read_among_the_reference_data(folders):
    whole_sky = MOC.from_healpix_cells(np.arange(12, dtype=np.uint64), np.zeros(12, np.uint8), 0)
    whole_sky.save(str(folders["data"] / "dust.fits"), format="fits")
    here = np.array([45.0]), np.array([10.0])
    assert moc_flags({"dust": "${CLUSTERSCAN_DATA}/dust.fits"}, *here) == FLAGS["dust"][0]
    with pytest.raises(ConfigError, match=r"flag_mocs\.star.*set the .* variable CLUSTERSCAN_DATA"):
        moc_flags({"star": "${CLUSTERSCAN_DATA}/star.fits"}, *here)


def test_first_weights_are_read_among_the_reference_data(folders):
    save_file({"weight": torch.arange(3.0)}, folders["data"] / "first.safetensors")
    assert read_weights("${CLUSTERSCAN_DATA}/first.safetensors")["weight"].tolist() == [0, 1, 2]
    with pytest.raises(ModelError, match=r"data/other\.safetensors: give an existing"):
        read_weights("${CLUSTERSCAN_DATA}/other.safetensors")


def test_the_home_of_nobody_is_an_error_in_words():
    with pytest.raises(SourceError, match=r"~no_such_user/x: .*correct the path in the config"):
        expand_path("~no_such_user/x", must_exist=False)
