"""Tables of stars and galaxies are fetched once, checked and kept; the servers are local."""

import io
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs

import healpy as hp
import numpy as np
import pytest
from astropy.io.votable import from_table
from astropy.io.votable.tree import Info
from astropy.table import Table
from astroquery.vizier import VizierClass
from pydantic import TypeAdapter

from clusterscan.commands.cli import main
from clusterscan.config.catalogs import ReferenceTable
from clusterscan.config.execution import DownloadSettings
from clusterscan.core import sky
from clusterscan.core.errors import CatalogueError, SourceError
from clusterscan.known import reference_tables
from clusterscan.known.reference_tables import Sky, reference_files, reference_table

QUICK = DownloadSettings(retries=1, backoff_s=0.01, stall_s=2.0)
OFFLINE = QUICK.model_copy(update={"offline": True})
TILES = Sky((17681, 17683), 6, 0.5)
COLUMNS = {"ra_deg": "ra", "dec_deg": "dec", "mag": "mag"}


def stars(count=3000):
    """Return stars around the tiles, with identifiers as Gaia's, and some far away."""
    rng = np.random.default_rng(1)
    ra, dec = sky.cell_centres(np.array(TILES.tiles), 6)
    near = rng.normal(0, 1.0, (2, count))
    ra = np.append(ra.mean() + near[0], rng.uniform(0, 360, 200)) % 360
    dec = np.append(dec.mean() + near[1], rng.uniform(-80, 80, 200))
    cell = hp.ang2pix(4096, ra, dec, nest=True, lonlat=True).astype(np.int64)
    table = Table({"source_id": (cell << 35) + np.arange(ra.size), "ra": ra, "dec": dec})
    table["phot_g_mean_mag"] = rng.uniform(5, 15, ra.size)
    return table


class Server(ThreadingHTTPServer):
    """Speaks TAP and VizieR's ASU, and serves one file."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked = []
        self.stars = stars()
        self.limit = 10**6  # of rows, whatever the client asks for
        self.silent = False  # cuts off without a word

    @property
    def host(self):
        return f"127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def do_HEAD(self):
        self.send(b"", "text/csv")

    def do_GET(self):
        self.server.asked.append(self.path)
        self.send(b"ra,dec,mag\n10,5,7.5\n11,6,8.5\n", "text/csv")

    def do_POST(self):
        text = self.rfile.read(int(self.headers["Content-Length"])).decode()
        if self.path == "/tap/sync":
            self.tap({key: texts[0] for key, texts in parse_qs(text).items()})
        else:  # ASU: a line for each parameter
            self.vizier(dict(line.partition("=")[::2] for line in text.splitlines()))

    def tap(self, values):
        self.server.asked.append(values["QUERY"])
        low, high = (int(n) for n in re.findall(r"source_id >=? ?(\d+)|< (\d+)", values["QUERY"])
                     for n in n if n)  # fmt: skip
        faintest = float(re.search(r"phot_g_mean_mag <= (\S+)", values["QUERY"])[1])
        table = self.server.stars
        kept = (table["source_id"] >= low) & (table["source_id"] < high)
        found = table[kept & (table["phot_g_mean_mag"] <= faintest)]
        most = min(int(values["MAXREC"]), self.server.limit)
        cut = len(found) > most
        self.votable(found[:most], "OVERFLOW" if cut and not self.server.silent else "OK")

    def vizier(self, values):
        self.server.asked.append(values)
        faintest = float(values.get("VTmag", "<99").removeprefix("<"))
        table = self.server.stars["ra", "dec", "phot_g_mean_mag"]
        self.votable(table[table["phot_g_mean_mag"] < faintest], "OK")

    def votable(self, table, status):
        votable = from_table(table)
        resource = votable.resources[0]
        resource.type = "results"
        resource.infos.append(Info(name="QUERY_STATUS", value=status))
        resource.tables[0].name = "I/259/tyc2"
        buffer = io.BytesIO()
        votable.to_xml(buffer)
        self.send(buffer.getvalue(), "application/x-votable+xml")

    def send(self, body, kind):
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def server(monkeypatch, tmp_path):
    made = Server()
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    monkeypatch.setattr(reference_tables, "TABLES", str(tmp_path / "tables"))
    yield made
    made.shutdown()
    made.server_close()
    thread.join()


def table(**values):
    return TypeAdapter(ReferenceTable).validate_python(values)


def gaia(server, **values):
    return table(
        kind="gaia", server=f"http://{server.host}/tap", **{"faintest_mag": 12.0, **values}
    )


def url(server, **values):
    there = f"http://{server.host}/stars.csv"
    return table(kind="url", url=there, version="1", format="csv", columns=COLUMNS, **values)


def expected(server, faintest=12.0):
    """Return the identifiers of the stars of the cells that the sky touches."""
    cells = TILES.cells(reference_tables.GAIA_ORDER)
    shift = 59 - 2 * reference_tables.GAIA_ORDER
    found = np.isin(server.stars["source_id"] >> shift, cells)
    return set(
        map(str, server.stars["source_id"][found & (server.stars["phot_g_mean_mag"] <= faintest)])
    )


def test_gaia_is_asked_for_the_cells_around_the_footprint_alone_and_once(server):
    rows, name = reference_table(gaia(server), TILES, QUICK)
    assert set(rows["name"]) == expected(server)
    assert name == "Gaia gaiadr3 to G = 12"
    first = len(server.asked)
    assert first == len(TILES.cells(reference_tables.GAIA_ORDER))
    again, _ = reference_table(gaia(server), TILES, OFFLINE)
    assert again.equals(rows)
    assert len(server.asked) == first


@pytest.mark.parametrize("silent", [False, True])
def test_answers_that_a_service_cuts_off_are_asked_for_in_smaller_pieces(server, silent):
    server.limit, server.silent = (100, False) if not silent else (10**6, True)
    rows, _ = reference_table(gaia(server, max_rows=100 if silent else 2000), TILES, QUICK)
    assert set(rows["name"]) == expected(server)
    assert not rows["name"].duplicated().any()


def test_more_sky_asks_for_its_new_cells_alone(server):
    reference_files(gaia(server), TILES, QUICK)
    before = len(server.asked)
    more = Sky((*TILES.tiles, 40000), 6, 0.5)
    reference_files(gaia(server), more, QUICK)
    order = reference_tables.GAIA_ORDER
    assert len(server.asked) - before == len(set(more.cells(order)) - set(TILES.cells(order)))


def test_offline_says_what_is_missing_and_how_to_get_it(server):
    for one in (gaia(server), url(server)):
        with pytest.raises(
            SourceError, match=r"offline is set, but .* never downloaded.*download --c"
        ):
            reference_files(one, TILES, OFFLINE)
    assert server.asked == []


def test_a_service_that_does_not_answer_is_named(server):
    one = table(kind="gaia", server="http://127.0.0.1:9/tap", faintest_mag=9.0)
    with pytest.raises(SourceError, match=r"127\.0\.0\.1:9/tap.*try again later"):
        reference_files(one, TILES, QUICK)


def test_a_table_on_a_server_is_fetched_once_and_compared_with_its_record(server):
    rows, _ = reference_table(url(server), TILES, QUICK)
    assert rows["mag"].tolist() == [7.5, 8.5]
    (path,) = reference_files(url(server), TILES, OFFLINE)
    path.write_text("ra,dec,mag\n10,5,99\n")
    with pytest.raises(SourceError, match="differs from the file that was downloaded"):
        reference_files(url(server), TILES, OFFLINE)


@pytest.mark.parametrize(
    ("pin", "error", "words"),
    [
        ({"sha256": "0" * 64}, SourceError, "but 0000.* is pinned"),
        ({"rows": 3}, CatalogueError, "has 2 rows, but 3 are pinned"),
    ],
)
def test_another_version_than_the_one_that_was_pinned_is_refused_and_not_kept(
    server, pin, error, words
):
    with pytest.raises(error, match=words):
        reference_files(url(server, **pin), TILES, QUICK)
    with pytest.raises(SourceError, match="never downloaded"):
        reference_files(url(server, **pin), TILES, OFFLINE)


@pytest.fixture
def vizier(server, monkeypatch):
    """Have astroquery's own client speak to the local server, over http."""
    address = f"http://{server.host}/viz-bin/votable"
    monkeypatch.setattr(VizierClass, "_server_to_url", lambda *_, **__: address)
    columns = {"ra_deg": "ra", "dec_deg": "dec", "mag": "phot_g_mean_mag"}
    return {"kind": "vizier", "catalogue": "I/259/tyc2", "version": "2000", "columns": columns}


def test_vizier_is_asked_for_the_rows_that_fulfil_the_constraints(server, vizier):
    one = table(**vizier, constraints={"VTmag": "<8"})
    rows, _ = reference_table(one, TILES, QUICK)
    assert len(rows) == (server.stars["phot_g_mean_mag"] < 8).sum() > 100
    (asked,) = server.asked
    assert asked["-source"] == "I/259/tyc2"
    assert asked["VTmag"] == "<8"
    assert asked["-out.max"] == "unlimited"
    reference_table(one, TILES, OFFLINE)
    everything = table(**vizier)
    assert len(reference_table(everything, TILES, QUICK)[0]) == len(server.stars)


def test_the_command_fetches_what_a_configuration_names(server, mini_text, tmp_path, capsys):
    mask = {
        "kind": "stars", "use": "flag", "radius": {"kind": "legacy_surveys"},
        "table": {"kind": "gaia", "server": f"http://{server.host}/tap", "faintest_mag": 9.0},
    }  # fmt: skip
    path = tmp_path / "c.yaml"
    text = mini_text(surveys__act__preprocess={"masks": [mask]}, output=str(tmp_path / "run"))
    path.write_text(text, encoding="utf-8")
    main(["download", "--config", str(path)])
    assert re.search(r"act, stars: \d+ files in ", capsys.readouterr().out)
    assert list((tmp_path / "tables").glob("gaia-*/o3-*.parquet"))
