"""Answers that no web server should give: each ends in words or in the right bytes."""

import json
import socket
import struct
import threading
import time

import pytest

from clusterscan.fetch.download.batch import download_all, download_checked, probe_all
from clusterscan.fetch.download.client import Transfer
from clusterscan.fetch.download.store import Item, Store, Version, locked_part
from clusterscan.fetch.download.transport import Response

OK = b"HTTP/1.1 200 OK\r\n"
RESET = "reset"


def whole(body=b"hello", *headers, status=b"200 OK"):
    """Return an answer's bytes."""
    lines = [b"HTTP/1.1 " + status, *headers, b"Content-Length: %d" % len(body)]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


class Scripted:
    """Answers the n-th request with ``script(n, request)``: bytes, seconds to wait, or RESET."""

    def __init__(self, script, stays=False):
        self._script, self._stays = script, stays
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self.base = f"http://127.0.0.1:{self.port}"
        self.requests = []
        self.times = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=[connection], daemon=True).start()

    def _serve(self, connection):
        connection.settimeout(10)
        try:
            with connection:
                while self._answer(connection) and self._stays:
                    pass
        except OSError:
            pass  # a client that left

    def _answer(self, connection):
        request = b""
        while b"\r\n\r\n" not in request:
            if not (piece := connection.recv(65536)):
                return False
            request += piece
        self.requests.append(request)
        self.times.append(time.monotonic())
        answer = self._script(len(self.requests), request)
        for piece in [answer] if isinstance(answer, bytes) else answer:
            if piece == RESET:
                linger = struct.pack("ii", 1, 0)
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                return False
            if isinstance(piece, float):
                time.sleep(piece)
            else:
                connection.sendall(piece)
        return True

    def close(self):
        self._socket.close()


@pytest.fixture
def scripted():
    """Return a function that makes servers that answer by a script."""
    made = []

    def make(script, stays=False):
        made.append(Scripted(script if callable(script) else lambda n, request: script, stays))
        return made[-1]

    yield make
    for server in made:
        server.close()


@pytest.fixture
def get(tmp_path, quick_downloads):
    """Return a function that downloads one file."""

    def act(url, token="v1", do=download_all, **settings):
        settings = quick_downloads(**{"retries": 1, **settings})
        return do([Item("a", url, token)], Store(tmp_path), settings)["a"]

    return act


NOT_HTTP = {
    "no HTTP": b"hello there",
    "HTTP/0.9 or binary": bytes(range(256)),
    "no status": b"HTTP/1.1 OK\r\n\r\n",
    "a header that looks like a status line": OK + b"HTTP/x: y\r\nContent-Length: 5\r\n\r\nhello",
    "cut within the head": OK + b"Content-Le",
    "cut after the status": OK,
    "an endless line": [OK + b"X: "] + [b"z" * 60_000] * 9,
}


@pytest.mark.parametrize("answer", NOT_HTTP.values(), ids=NOT_HTTP.keys())
def test_what_is_no_http_answer_is_a_fault_that_may_pass(scripted, get, answer):
    server = scripted(lambda n, request: answer if n < 3 else whole())
    found = get(server.base + "/a", retries=1)
    assert found.status == "failed"
    assert found.words.removeprefix(f"{server.base}/a: ")
    assert get(server.base + "/a", retries=4).status == "ok"


LENIENT = {
    "a status without words": b"HTTP/1.1 200\r\nContent-Length: 5\r\n\r\nhello",
    "words without a space": b"HTTP/1.1 200OK\r\nContent-Length: 5\r\n\r\nhello",
    "tabs": b"HTTP/1.1\t200\tOK\r\nContent-Length: 5\r\n\r\nhello",
    "line feeds alone": b"HTTP/1.1 200 OK\nContent-Length: 5\n\nhello",
    "a length of many digits": OK + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\nhello",
    "heads before the head": b"HTTP/1.1 103 Hints\r\nX: y\r\n\r\n" + whole(),
    "trailers": OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nETag: x\r\n\r\n",
    "more than its length": whole() + b", world",
}


@pytest.mark.parametrize("answer", LENIENT.values(), ids=LENIENT.keys())
def test_sloppy_answers_that_can_be_understood_are(scripted, get, answer):
    found = get(scripted(answer).base + "/a")
    assert (found.status, found.path.read_bytes()) == ("ok", b"hello")


def test_trailers_are_no_headers_of_an_empty_file(scripted, get):
    answer = OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\nETag: x\r\n\r\n"
    assert get(scripted(answer).base + "/a").version.etag == ""


CUT_PAGES = {
    "absent": (b"404 No", [], "absent"),
    "permanent": (b"403 No", [], "failed"),
    "a wait": (b"503 Busy", [b"Retry-After: 99999"], "failed"),
}


@pytest.mark.parametrize("stalls", [False, True])
@pytest.mark.parametrize(("status", "more", "outcome"), CUT_PAGES.values(), ids=CUT_PAGES.keys())
def test_an_error_page_that_breaks_off_tells_its_status_all_the_same(
    scripted, get, status, more, outcome, stalls
):
    page = whole(b"not here" + b" " * 500, *more, status=status)[:-400]
    server = scripted([page, 0.8] if stalls else page)
    found = get(server.base + "/a")
    assert found.status == outcome
    assert f"HTTP {status.decode()}: not here" in found.words
    assert len(server.requests) == 1


def test_a_long_page_with_a_416_still_lets_the_file_be_asked_for_anew(scripted, get):
    long = whole(b"n" * 40_000, status=b"416 Range")
    server = scripted(lambda n, request: long if n == 1 else whole())
    assert get(server.base + "/a").path.read_bytes() == b"hello"


def test_an_unasked_304_makes_no_file_of_an_absent_one(scripted, get):
    unchanged = b"HTTP/1.1 304 Unchanged\r\n\r\n"
    server = scripted(lambda n, request: whole(status=b"404 No") if n == 1 else unchanged)
    assert get(server.base + "/a").status == "absent"
    assert get(server.base + "/a", token="v2").status == "failed"


def test_compressed_bytes_are_not_taken_for_the_file_unless_it_is_compressed(scripted, get):
    server = scripted(whole(b"\x1f\x8b\x08...", b"Content-Encoding: gzip"))
    found = get(server.base + "/properties")
    assert found.status == "failed"
    assert "compressed the file (gzip)" in found.words
    assert get(server.base + "/a.fits.gz").path.read_bytes() == b"\x1f\x8b\x08..."


def test_an_etag_of_any_letters_is_sent_back_as_it_came(scripted, get):
    server = scripted(whole(b"hello", b'ETag: "\xe9"'))
    get(server.base + "/a")
    record = get(server.base + "/a", token="v2").path.with_name("a.json")
    assert b'If-None-Match: "\xe9"\r\n' in server.requests[1]
    noted = record.read_text(encoding="utf-8")
    record.write_text(noted.replace("\\u00e9", "\\udce9"), encoding="utf-8")
    assert noted != record.read_text(encoding="utf-8")
    get(server.base + "/a", token="v3")  # as stores noted it that aiohttp filled
    assert b'If-None-Match: "\xe9"\r\n' in server.requests[2]


def test_a_cookie_that_a_redirect_sets_is_sent_back(scripted, get):
    def script(n, request):
        if b"Cookie: passed=1" in request:
            return whole()
        return whole(b"", b"Set-Cookie: passed=1; Path=/", b"Location: /a", status=b"302 Go")

    server = scripted(script)
    assert get(server.base + "/a").status == "ok"
    assert len(server.requests) == 2


def test_what_may_not_stand_in_a_path_is_quoted(scripted, get):
    server = scripted(whole())
    get(server.base + "/100%/%20/[1]?x=%zz|[2]")
    assert server.requests[0].startswith(b"GET /100%25/%20/%5B1%5D?x=%25zz%7C%5B2%5D HTTP/1.1")


def test_a_proxy_in_capital_letters_is_heeded_for_http(scripted, get, monkeypatch):
    for name in ("http_proxy", "no_proxy", "NO_PROXY", "REQUEST_METHOD"):
        monkeypatch.delenv(name, raising=False)
    server = scripted(whole(b"by proxy"))
    monkeypatch.setenv("HTTP_PROXY", server.base)
    assert get("http://far.example.org/a").path.read_bytes() == b"by proxy"
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert get(scripted(whole()).base + "/a").path.read_bytes() == b"hello"


SLOW = {
    "redirects": lambda n, request: (
        [0.3, whole(b"", b"Location: /b", status=b"302 Go")] if n < 4 else [0.3, whole()]
    ),
    "provisional answers": [*[b"HTTP/1.1 102 Wait\r\n\r\n", 0.3] * 3, whole()],
    "a head": [OK, *[b"X: y\r\n", 0.2] * 4, b"Content-Length: 5\r\n\r\nhello"],
}


@pytest.mark.parametrize("script", SLOW.values(), ids=SLOW.keys())
def test_a_server_that_is_slow_but_says_something_does_not_stall(scripted, get, script):
    found = get(scripted(script, stays=True).base + "/a", retries=0, stall_s=0.45)
    assert (found.status, found.words) == ("ok", "")


def test_a_connection_may_take_longer_than_a_silence(get):
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        waiting = [socket.socket() for _ in range(3)]  # Linux drops what does not fit the queue
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(full.getsockname())
        url = f"http://127.0.0.1:{full.getsockname()[1]}/a"
        found = get(url, retries=0, stall_s=0.1, connect_s=0.6)
        for one in waiting:
            one.close()
    assert "onnect" in found.words
    assert "stall" not in found.words


def test_a_limit_of_any_length_is_one(scripted, get):
    assert get(scripted(whole()).base + "/a", connect_s=1e300, stall_s=1e300).status == "ok"


def test_a_lost_request_is_repeated_at_once_only_once(scripted, tmp_path, quick_downloads):
    # Six connections are kept, and then every request on any of them is reset.
    def script(n, request):
        return [0.2, whole()] if request.startswith(b"GET /first") else [RESET]

    server = scripted(script, stays=True)
    settings = quick_downloads(retries=0, connections_per_host=6)
    items = [Item(f"{i}", f"{server.base}/first{i}", "v") for i in range(6)]
    items.append(Item("last", f"{server.base}/last", "v"))
    found = download_all(items, Store(tmp_path), settings)
    assert found["last"].status == "failed"
    assert len(server.requests) <= 6 + 2


def test_a_server_without_head_says_why_a_file_is_absent(scripted, get):
    refusal = b"HTTP/1.1 501 No HEAD\r\nContent-Length: 0\r\n\r\n"
    absent = whole(b"never was here", status=b"404 No")
    server = scripted(
        lambda n, request: refusal if request.startswith(b"HEAD") else absent, stays=True
    )
    found = get(server.base + "/a", do=probe_all)
    assert (found.status, found.words) == ("absent", "HTTP 404 No: never was here")


@pytest.mark.parametrize("kept", [b"", b"old bytes"])
def test_an_answer_from_the_start_forgets_of_what_the_part_was(tmp_path, quick_downloads, kept):
    item = Item("a", "http://h.org/a")
    entry = Store(tmp_path).entry(item.url)
    with locked_part(entry) as part:
        entry.note_part(item, Version('"old"', "", 9_000_000))
        part.write(kept)
        part.flush()
        transfer = Transfer(item, entry, part, None, quick_downloads(), int)
        assert bool(transfer.conditions) == bool(kept)
        take = transfer.begin(Response(200, "OK", {"etag": '"new"', "content-length": "20"}))
        take(b"new bytes")
    # Killed here, the job leaves bytes that nobody may take for those of the old version.
    assert entry.part_version() is None
    assert entry.part.read_bytes() == b"new bytes"


@pytest.mark.parametrize("noted", ['{"size": "many"}', '{"etag": 3}', "[1]", "{", "3"])
def test_a_record_of_nonsense_is_none(scripted, get, tmp_path, noted):
    server = scripted(whole())
    path = get(server.base + "/a").path
    record = path.with_name("a.json")
    known = json.loads(record.read_text(encoding="utf-8"))
    if noted.endswith("}"):
        noted = json.dumps({**known, **json.loads(noted)})
    record.write_text(noted, encoding="utf-8")
    path.with_name("a.part.json").write_text(noted, encoding="utf-8")
    path.with_name("a.part").write_bytes(b"he")
    assert get(server.base + "/a").path.read_bytes() == b"hello"
    assert len(server.requests) == 2


def test_files_of_stores_that_noted_a_sha256_are_still_known(scripted, get):
    server = scripted(whole())
    path = get(server.base + "/a").path
    record = path.with_name("a.json")
    known = json.loads(record.read_text(encoding="utf-8"))
    del known["checksum"]
    record.write_text(json.dumps({**known, "sha256": "0" * 64}), encoding="utf-8")
    assert get(server.base + "/a").path == path
    assert get(server.base + "/a", do=download_checked).path == path
    assert get(server.base + "/a", offline=True).path == path
    assert len(server.requests) == 1


def test_no_url_is_kept_outside_of_the_store_or_in_the_way_of_another(tmp_path):
    store = Store(tmp_path / "root")
    paths = ["", "/", "/a", "/a/", "/a.json", "/a.part", "/a.part.json", "/a/b", "/%2e%2e/b"]
    paths += ["/../b", "/a?b", "/" + "x" * 400]
    entries = [store.entry("http://h.org" + path) for path in paths if path != "/a"]
    files = [entry.path for entry in entries]
    beside = {f"{file}{end}" for file in files for end in (".json", ".part", ".part.json")}
    assert not beside & {str(file) for file in files}
    folders = {folder for file in files for folder in file.parents}
    assert not folders & {store.entry(f"http://h.org{path}").path for path in ("/a/", "/a.json")}
    for url in ("http://../b", "http://./b", "http://h/../../b", "http:///b"):
        path = store.entry(url).path
        assert ".." not in path.parts
        assert path.is_relative_to(store.root)
