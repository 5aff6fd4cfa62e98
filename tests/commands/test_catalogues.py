"""A run's published catalogues are fetched once, kept as they came, and named when offline."""

import json
from dataclasses import replace

import numpy as np
import pytest
from astropy.table import Table
from astroquery.vizier import VizierClass

from clusterscan.catalogs.published import LAYOUTS
from clusterscan.commands.cli import main
from clusterscan.commands.sync.catalogues import fetch_catalogues
from clusterscan.config.load import load_config
from clusterscan.core.errors import SourceError


class Answer(list):
    def keys(self):
        return ["t"]


@pytest.fixture
def vizier(monkeypatch, tmp_path):
    """Stand for VizieR with one small table of XXL; return what it was asked."""
    layout = LAYOUTS["xxl"]
    monkeypatch.setitem(LAYOUTS, "xxl", replace(layout, remote=replace(layout.remote, rows=None)))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    table = Table()
    for ours, theirs in layout.columns.items():
        column = theirs[0] if isinstance(theirs, tuple) else theirs
        values = np.linspace(0.1, 0.9, 5)
        table[column] = [f"N{n}" for n in range(5)] if ours == "name" else values
    asked = []

    def answer(self, catalog, **_):
        asked.append(catalog)
        return Answer([table])

    monkeypatch.setattr(VizierClass, "get_catalogs", answer)
    return asked


@pytest.fixture
def config(mini_text, tmp_path):
    """Return a function that loads a configuration that names XXL without a file."""

    def load(catalogue=None, **execution):
        catalogue = catalogue or {"kind": "xxl", "name": "xxl"}
        text = mini_text(catalogs=[catalogue], execution={"download": execution})
        (tmp_path / "config.yaml").write_text(text)
        return load_config([tmp_path / "config.yaml"])

    return load


def kept(tmp_path):
    return tmp_path / "home/.cache/clusterscan/catalogs/xxl"


def test_a_missing_catalogue_is_fetched_once_and_kept(vizier, config, tmp_path):
    (line,) = fetch_catalogues(config())
    assert line.startswith("catalogue xxl: downloaded")
    before = kept(tmp_path).read_bytes()
    assert fetch_catalogues(config()) == []
    assert vizier == [LAYOUTS["xxl"].remote.table]
    assert kept(tmp_path).read_bytes() == before


def test_offline_a_missing_catalogue_is_named_with_the_command_and_a_kept_one_serves(
    vizier, config
):
    with pytest.raises(SourceError, match="clusterscan download xxl"):
        fetch_catalogues(config(offline=True))
    assert vizier == []
    fetch_catalogues(config())
    assert fetch_catalogues(config(offline=True)) == []


def test_a_missing_catalogue_that_cannot_be_downloaded_is_named_with_its_place(vizier, config):
    with pytest.raises(SourceError, match=r"cannot download this kind; put the file at .*/abell"):
        fetch_catalogues(config({"kind": "abell", "name": "abell"}))


def test_a_missing_file_is_reported_before_any_download(vizier, config, tmp_path):
    absent = str(tmp_path / "absent.csv")
    with pytest.raises(SourceError, match=r"absent\.csv"):
        fetch_catalogues(config({"kind": "xxl", "name": "xxl", "path": absent}))
    assert vizier == []


def test_a_kept_catalogue_of_other_bytes_is_refused(vizier, config, tmp_path):
    fetch_catalogues(config())
    kept(tmp_path).write_bytes(kept(tmp_path).read_bytes() + b" ")
    with pytest.raises(SourceError, match="differs from the downloaded file"):
        fetch_catalogues(config())
    assert len(vizier) == 1


def test_a_catalogue_put_there_by_hand_is_left_alone(vizier, config, tmp_path):
    kept(tmp_path).parent.mkdir(parents=True)
    kept(tmp_path).write_text("by hand")
    assert fetch_catalogues(config()) == []
    assert vizier == []


def test_the_command_fetches_into_the_place_where_runs_look(vizier, config, tmp_path, capsys):
    main(["download", "xxl"])
    assert capsys.readouterr().out.strip() == str(kept(tmp_path))
    assert json.loads(kept(tmp_path).with_name("xxl.json").read_text())["rows"] == 5
    assert fetch_catalogues(config(offline=True)) == []
