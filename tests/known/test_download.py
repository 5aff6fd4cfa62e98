"""Published catalogues are fetched whole, checked and recorded, or refused; from local servers."""

import hashlib
import http.server
import json
import threading
from dataclasses import replace

import numpy as np
import pytest
from astropy.table import Table
from astroquery.vizier import VizierClass
from pydantic import TypeAdapter

from clusterscan.catalogs.layouts import Remote
from clusterscan.catalogs.published import LAYOUTS
from clusterscan.catalogs.reading import catalogue_token, read_catalogue
from clusterscan.commands.cli import main
from clusterscan.config.catalogs import DOWNLOADS, CatalogueSettings
from clusterscan.core.errors import CatalogueError, SourceError
from clusterscan.known.download import download

REMOTE = sorted(kind for kind, layout in LAYOUTS.items() if layout.remote is not None)
VIZIER = [kind for kind in REMOTE if LAYOUTS[kind].remote.table]


def settings(kind, path=""):
    values = {"name": "mine", "kind": kind, "path": str(path)}
    return TypeAdapter(CatalogueSettings).validate_python(values)


def published(kind, rows=12):
    """Return a small table in the format that a declaration expects."""
    layout = LAYOUTS[kind]
    rng = np.random.default_rng(1)
    table = Table()
    for ours, theirs in layout.columns.items():
        column = theirs[0] if isinstance(theirs, tuple) else theirs
        if ours == "name":
            values = np.array([f"N{n}" for n in range(rows)])
        elif ours == "ra_deg":
            values = rng.uniform(0, 360, rows)
        elif ours == "dec_deg":
            values = rng.uniform(-80, 80, rows)
        elif ours == "m500c_msun":
            values = rng.uniform(1, 9, rows)
        elif ours == "z_type":
            values = np.array(list(layout.z_types) or ["spec", "phot"])[np.arange(rows) % 2]
        elif ours == "class":
            values = np.ones(rows, int)
        else:
            values = rng.uniform(0.1, 0.9, rows)
        table[column] = values
    return table


class Client:
    """Stands for VizieR: gives the tables it was made with."""

    def __init__(self, *tables):
        self.tables = {f"t{n}": table for n, table in enumerate(tables)}
        self.asked = []

    def get_catalogs(self, name):
        self.asked.append(name)

        return Answer(self.tables)


class Answer(list):
    """Tables with names, as the client gives them."""

    def __init__(self, tables):
        super().__init__(tables.values())
        self.names = list(tables)

    def keys(self):
        return self.names


def unpinned(monkeypatch, kind, **changes):
    remote = replace(LAYOUTS[kind].remote, **{"rows": None, "sha256": "", **changes})
    monkeypatch.setitem(LAYOUTS, kind, replace(LAYOUTS[kind], remote=remote))


@pytest.mark.parametrize("kind", VIZIER)
def test_every_table_from_vizier_is_read_as_declared(tmp_path, monkeypatch, kind):
    unpinned(monkeypatch, kind)
    client = Client(published(kind))
    path = download(kind, tmp_path, vizier=client)
    assert client.asked == [LAYOUTS[kind].remote.table]
    table = read_catalogue(settings(kind, path)).table
    assert len(table) == 12
    assert table["z"].notna().all()
    assert (table["m500c_msun"].isna() | (table["m500c_msun"] > 1e13)).all()
    if "z_type" in LAYOUTS[kind].columns or "z_spec" in LAYOUTS[kind].columns:
        assert set(table["z_type"]) <= {"spec", "phot"}
    record = json.loads((tmp_path / f"{kind}.json").read_text())
    assert record["rows"] == 12
    assert record["sha256"] == catalogue_token(settings(kind, path))


def test_the_query_asks_for_all_columns_and_rows(tmp_path, monkeypatch):
    unpinned(monkeypatch, "xxl")
    asked = {}

    def answer(self, catalog, **_):
        asked.update(columns=self.columns, rows=self.ROW_LIMIT, catalog=catalog)
        return Client(published("xxl")).get_catalogs(catalog)

    monkeypatch.setattr(VizierClass, "get_catalogs", answer)
    download("xxl", tmp_path)
    assert asked == {
        "columns": ["**", "_RAJ2000", "_DEJ2000"], "rows": -1, "catalog": "IX/52/xxl365gc",
    }  # fmt: skip


@pytest.fixture
def server(tmp_path):
    """Serve a folder on this machine."""
    folder = tmp_path / "served"
    folder.mkdir()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=str(folder))

        def log_message(self, *_):
            pass

    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=running.serve_forever)
    thread.start()
    yield folder, f"http://127.0.0.1:{running.server_port}"
    running.shutdown()
    thread.join()
    running.server_close()


def served(server, monkeypatch, kind, rows=12, **changes):
    folder, address = server
    published(kind, rows).write(folder / "it.fits", overwrite=True)
    unpinned(monkeypatch, kind, url=f"{address}/it.fits", **changes)
    return hashlib.sha256((folder / "it.fits").read_bytes()).hexdigest()


@pytest.mark.parametrize("kind", ["act_dr6", "erass1"])
def test_files_of_archives_are_fetched_byte_for_byte_and_read(tmp_path, monkeypatch, server, kind):
    expected = served(server, monkeypatch, kind)
    path = download(kind, tmp_path / "here")
    assert hashlib.sha256(path.read_bytes()).hexdigest() == expected
    table = read_catalogue(settings(kind, path)).table
    assert len(table) == 12
    assert table["m500c_msun"].between(1e13, 1e15).all()
    assert table["z"].notna().all()


def test_other_bytes_than_those_pinned_are_refused_and_not_kept(tmp_path, monkeypatch, server):
    served(server, monkeypatch, "act_dr6", sha256="0" * 64)
    with pytest.raises(SourceError, match=r"but 0000.* is pinned"):
        download("act_dr6", tmp_path / "here")
    assert list((tmp_path / "here").iterdir()) == []


def test_another_number_of_rows_is_another_version(tmp_path, monkeypatch):
    unpinned(monkeypatch, "mcxc2", rows=2221)
    with pytest.raises(CatalogueError, match="has 12 rows, but 2221 are declared"):
        download("mcxc2", tmp_path, vizier=Client(published("mcxc2")))


def test_a_missing_file_or_table_says_where_it_was_looked_for(tmp_path, monkeypatch, server):
    unpinned(monkeypatch, "act_dr6", url=f"{server[1]}/gone.fits")
    with pytest.raises(SourceError, match=r"gone\.fits.*404"):
        download("act_dr6", tmp_path)
    with pytest.raises(SourceError, match=r"2 tables .* instead of one"):
        download("xxl", tmp_path, vizier=Client(published("xxl"), published("xxl")))
    with pytest.raises(SourceError, match=r"psz2: clusterscan cannot download.*act_dr6"):
        download("psz2", tmp_path)


def test_a_table_without_a_declared_column_is_refused(tmp_path, monkeypatch):
    unpinned(monkeypatch, "xxl")
    table = published("xxl")
    table.remove_column("z")
    with pytest.raises(CatalogueError, match="no column z"):
        download("xxl", tmp_path, vizier=Client(table))


def test_the_command_puts_files_where_configurations_look(tmp_path, monkeypatch, server, capsys):
    served(server, monkeypatch, "act_dr6")
    main(["download", "act_dr6", "--folder", str(tmp_path / "here")])
    assert capsys.readouterr().out.strip() == str(tmp_path / "here" / "act_dr6")
    assert settings("act_dr6").path == f"{DOWNLOADS}/act_dr6"


def test_a_catalogue_not_downloaded_yet_says_how_to_get_it(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(SourceError, match="clusterscan download act_dr6"):
        read_catalogue(settings("act_dr6"))
    assert DOWNLOADS.startswith("~")


@pytest.mark.parametrize("kind", REMOTE)
def test_remote_declarations_are_whole(kind):
    layout = LAYOUTS[kind]
    assert isinstance(layout.remote, Remote)
    assert bool(layout.remote.table) != bool(layout.remote.url)
    assert layout.checked in ("columns", "declared")
    assert layout.reference
