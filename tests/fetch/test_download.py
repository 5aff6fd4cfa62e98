"""Downloads: whatever a server does, only the right bytes count, and nothing is asked in vain."""

import base64
import errno
import hashlib
import json
import threading
import time
import tracemalloc
from collections import Counter

import pytest
import xxhash

from clusterscan.config.execution import DownloadSettings
from clusterscan.fetch.download.batch import Meter, download_all, probe_all
from clusterscan.fetch.download.checks import ContentError, check_fits
from clusterscan.fetch.download.store import Item, Store, locked_part


def get(server, folder, settings, paths=("/a.fits",), token="v1", check=check_fits):
    items = [Item(path, server.base + path, token, check) for path in paths]
    return download_all(items, Store(folder), settings)


RECOVERABLE = {
    "429": ("status", 429),
    "503 with Retry-After": ("retry_after", 503, 0),
    "500": ("status", 500),
    "reset": ("reset",),
    "truncated": ("truncate", 5000),
    "stalled": ("stall", 1.0),
    "HTML as 200": ("html",),
    "HTML as FITS": ("html", "application/fits"),
    "short on the server": ("short", 9000),
}


@pytest.mark.parametrize("fault", RECOVERABLE.values(), ids=RECOVERABLE.keys())
def test_after_a_fault_the_right_bytes_arrive(server, tmp_path, quick_downloads, fits_bytes, fault):
    server.files["/a.fits"] = fits_bytes()
    server.faults["/a.fits"] = [fault, fault]
    outcome = get(server, tmp_path, quick_downloads())["/a.fits"]
    assert outcome.status == "ok", outcome.words
    assert outcome.path.read_bytes() == server.files["/a.fits"]
    assert server.counted()["/a.fits"] == 3
    assert sorted(p.suffix for p in outcome.path.parent.iterdir()) == [".fits", ".json"]


@pytest.mark.parametrize("fault", RECOVERABLE.values(), ids=RECOVERABLE.keys())
def test_what_stays_bad_is_never_kept(server, tmp_path, quick_downloads, fits_bytes, fault):
    server.files["/a.fits"] = fits_bytes()
    server.faults["/a.fits"] = [fault] * 9
    server.has_etags = False  # and what is cut short cannot be continued
    server.headers["/a.fits"]["Accept-Ranges"] = "none"
    outcome = get(server, tmp_path, quick_downloads(retries=1))["/a.fits"]
    if fault[0] == "truncate":
        return  # a Last-Modified date lets it be continued: covered above
    assert outcome.status == "failed"
    assert outcome.path is None
    assert not list(tmp_path.rglob("*.fits"))
    assert server.counted()["/a.fits"] == 2


@pytest.mark.parametrize("kind", ["Content-MD5", "Repr-Digest", "Digest", "DATASUM"])
def test_a_flipped_bit_is_seen_where_there_is_a_checksum(
    server, tmp_path, quick_downloads, fits_bytes, kind
):
    data = fits_bytes(checksum=kind == "DATASUM")
    server.files["/a.fits"] = data
    sha = base64.b64encode(hashlib.sha256(data).digest()).decode()
    stated = {
        "Content-MD5": base64.b64encode(hashlib.md5(data).digest()).decode(),
        "Repr-Digest": f"sha-256=:{sha}:",
        "Digest": f"sha-256={sha}",
    }
    if kind in stated:
        server.headers["/a.fits"][kind] = stated[kind]
    server.faults["/a.fits"] = [("flip", 8000), ("flip", 3000)]
    outcome = get(server, tmp_path, quick_downloads())["/a.fits"]
    assert outcome.path.read_bytes() == data
    assert server.counted()["/a.fits"] == 3


def test_a_wrong_checksum_is_a_failure_in_words(server, tmp_path, quick_downloads, fits_bytes):
    server.files["/a.fits"] = fits_bytes()
    server.headers["/a.fits"]["Content-MD5"] = base64.b64encode(b"0" * 16).decode()
    outcome = get(server, tmp_path, quick_downloads(retries=1))["/a.fits"]
    assert outcome.status == "failed"
    assert "md5" in outcome.words


def test_files_without_the_last_padding_are_whole(server, tmp_path, quick_downloads, fits_bytes):
    data = fits_bytes(padded=False)
    assert len(data) % 2880
    server.files = {"/a.fits": data, "/b.fits": data[:-1], "/c.fits": data + b"junk" * 800}
    found = get(server, tmp_path, quick_downloads(retries=0), ["/a.fits", "/b.fits", "/c.fits"])
    assert found["/a.fits"].status == "ok"
    assert "truncated" in found["/b.fits"].words
    assert "extra bytes follow" in found["/c.fits"].words


def cards(*lines):
    text = b"".join(line.ljust(80) for line in (*lines, b"END"))
    return text + b" " * (-len(text) % 2880)


def test_headers_that_never_end_or_lead_backwards_are_damage(tmp_path):
    first = cards(b"SIMPLE  =" + b"T".rjust(21), b"BITPIX  =  8", b"NAXIS   =  0")
    table = [b"XTENSION= 'BINTABLE'", b"BITPIX  =  8", b"NAXIS   =  2", b"NAXIS1  =  0"]
    table += [b"NAXIS2  =  0", b"GCOUNT  =  1", b"TFIELDS =  0"]
    path = tmp_path / "a.fits"
    path.write_bytes(first + cards(*table, b"PCOUNT  =  -2880"))
    with pytest.raises(ContentError, match="PCOUNT -2880"):
        check_fits(path)
    with path.open("wb") as handle:  # sparse: 58 MB of zeros
        handle.write(b"SIMPLE  =".ljust(2880))
        handle.truncate(2880 * 20_000)
    tracemalloc.start()
    with pytest.raises(ContentError, match="has no END"):
        check_fits(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1_000_000


def test_permanent_failures_are_asked_once_and_keep_the_servers_words(
    server, tmp_path, quick_downloads
):
    server.faults["/a.fits"] = [("status", 403, "<html><b>Members</b> only.</html>")]
    server.faults["/r.fits"] = [("redirect", "/r.fits")] * 20
    found = get(server, tmp_path, quick_downloads(), ["/a.fits", "/r.fits", "/gone.fits"])
    assert found["/a.fits"].status == "failed"
    assert "HTTP 403" in found["/a.fits"].words
    assert "Members only." in found["/a.fits"].words
    assert "redirected more than 5 times" in found["/r.fits"].words
    assert found["/gone.fits"].status == "absent"
    assert "No such tile here." in found["/gone.fits"].words
    counted = server.counted()
    assert (counted["/a.fits"], counted["/gone.fits"]) == (1, 1)
    assert counted["/r.fits"] <= 6


def test_a_redirect_is_followed(server, tmp_path, quick_downloads, fits_bytes):
    server.files["/b.fits"] = fits_bytes()
    server.faults["/a.fits"] = [("redirect", "/b.fits")]
    outcome = get(server, tmp_path, quick_downloads())["/a.fits"]
    assert outcome.path.read_bytes() == server.files["/b.fits"]


def test_a_broken_transfer_goes_on_where_it_broke(server, tmp_path, quick_downloads, fits_bytes):
    server.files["/a.fits"] = fits_bytes()
    server.faults["/a.fits"] = [("truncate", 9000)]
    outcome = get(server, tmp_path, quick_downloads())["/a.fits"]
    assert outcome.path.read_bytes() == server.files["/a.fits"]
    second = server.requests[1][2]
    assert second["Range"] == "bytes=9000-"
    assert second["If-Range"].startswith('"')


def test_a_later_run_goes_on_where_an_ended_one_broke(
    server, tmp_path, quick_downloads, fits_bytes
):
    server.files["/a.fits"] = fits_bytes()
    server.faults["/a.fits"] = [("truncate", 9000)]
    assert get(server, tmp_path, quick_downloads(retries=0))["/a.fits"].status == "failed"
    outcome = get(server, tmp_path, quick_downloads(retries=0))["/a.fits"]
    assert outcome.path.read_bytes() == server.files["/a.fits"]
    assert server.requests[1][2]["Range"] == "bytes=9000-"


def test_a_file_that_changes_between_requests_is_never_patched_together(
    server, tmp_path, quick_downloads, fits_bytes
):
    old, new = fits_bytes(), fits_bytes(padded=True, OBJECT="new")
    server.files["/a.fits"] = old
    server.faults["/a.fits"] = [("truncate", 9000)]
    get(server, tmp_path, quick_downloads(retries=0))
    server.files["/a.fits"] = new
    outcome = get(server, tmp_path, quick_downloads(retries=0))["/a.fits"]
    assert outcome.path.read_bytes() == new


def test_a_kept_file_is_not_asked_for_again_under_the_same_token(
    server, tmp_path, quick_downloads, fits_bytes
):
    server.files["/a.fits"] = fits_bytes()
    get(server, tmp_path, quick_downloads())
    get(server, tmp_path, quick_downloads())
    assert len(server.requests) == 1


def test_a_new_token_asks_whether_the_file_changed(server, tmp_path, quick_downloads, fits_bytes):
    server.files["/a.fits"] = fits_bytes()
    first = get(server, tmp_path, quick_downloads(), token="v1")["/a.fits"]
    before = first.path.stat().st_mtime_ns
    get(server, tmp_path, quick_downloads(), token="v2")
    assert server.requests[1][2]["If-None-Match"].startswith('"')
    assert first.path.stat().st_mtime_ns == before
    server.files["/a.fits"] = fits_bytes(OBJECT="new")
    third = get(server, tmp_path, quick_downloads(), token="v3")["/a.fits"]
    assert third.path.read_bytes() == server.files["/a.fits"]
    assert len(server.requests) == 3


def test_a_file_of_another_size_than_noted_is_fetched_anew(
    server, tmp_path, quick_downloads, fits_bytes
):
    server.files["/a.fits"] = fits_bytes()
    outcome = get(server, tmp_path, quick_downloads())["/a.fits"]
    outcome.path.write_bytes(b"SIMPLE")
    again = get(server, tmp_path, quick_downloads())["/a.fits"]
    assert again.path.read_bytes() == server.files["/a.fits"]


def test_offline_asks_nobody_and_says_what_is_missing(
    server, tmp_path, quick_downloads, fits_bytes
):
    server.files["/a.fits"] = fits_bytes()
    get(server, tmp_path, quick_downloads())
    asked = len(server.requests)
    found = get(server, tmp_path, quick_downloads(offline=True), ["/a.fits", "/b.fits"], token="v9")
    assert found["/a.fits"].status == "ok"
    assert "offline" in found["/b.fits"].words
    assert "/b.fits" in found["/b.fits"].words
    assert len(server.requests) == asked


def test_retry_after_holds_back_all_requests_to_the_server(
    server, tmp_path, quick_downloads, fits_bytes
):
    paths = [f"/{i}.fits" for i in range(8)]
    server.files = dict.fromkeys(paths, fits_bytes())
    server.faults["/0.fits"] = [("retry_after", 503, 1)]
    settings = quick_downloads(connections_per_host=2)
    assert {o.status for o in get(server, tmp_path, settings, paths).values()} == {"ok"}
    # What was under way when it was said may still arrive: then there is a second of silence.
    gaps = [b - a for a, b in zip(server.times, server.times[1:], strict=False)]
    assert max(gaps) > 0.8
    assert server.times.index(server.times[gaps.index(max(gaps))]) <= 4


def test_a_wait_longer_than_the_deadline_is_a_failure_at_once(server, tmp_path, quick_downloads):
    server.faults["/a.fits"] = [("retry_after", 503, 4000)]
    started = time.monotonic()
    outcome = get(server, tmp_path, quick_downloads())["/a.fits"]
    assert "asks to wait 4000 s" in outcome.words
    assert time.monotonic() - started < 5


def test_the_deadline_ends_a_file_that_never_comes(server, tmp_path, quick_downloads, fits_bytes):
    server.files["/a.fits"] = fits_bytes()
    server.faults["/a.fits"] = [("stall", 3.0)] * 20
    settings = quick_downloads(deadline_s=0.7, stall_s=5.0)
    assert "deadline_s" in get(server, tmp_path, settings)["/a.fits"].words


def test_a_server_that_is_down_is_left_alone(tmp_path, quick_downloads, server):
    paths = [f"/{i}.fits" for i in range(200)]
    for path in paths:
        server.faults[path] = [("status", 500)] * 9
    settings = quick_downloads(retries=1, give_up_after=5, connections_per_host=2)
    found = get(server, tmp_path, settings, paths)
    assert {outcome.status for outcome in found.values()} == {"failed"}
    assert len(server.requests) <= 2 * (5 + 2)
    assert "5 files in a row failed" in found["/199.fits"].words


def test_there_is_no_request_storm(server, tmp_path, quick_downloads, fits_bytes):
    paths = [f"/{i}.fits" for i in range(60)]
    server.files = dict.fromkeys(paths, fits_bytes())
    faults = list(RECOVERABLE.values())
    for i, path in enumerate(paths[::6]):
        server.faults[path] = [faults[i % len(faults)]]
    planned = sum(map(len, server.faults.values()))
    found = get(server, tmp_path, quick_downloads(), paths)
    assert Counter(o.status for o in found.values()) == {"ok": len(paths)}
    assert len(server.requests) <= 1.2 * len(paths) + planned


def test_no_more_connections_than_allowed(server, tmp_path, quick_downloads, fits_bytes):
    paths = [f"/{i}.fits" for i in range(30)]
    server.files = dict.fromkeys(paths, fits_bytes())
    seen, lock = [], threading.Lock()
    process = server.process_request

    def counted(request, address):
        with lock:
            seen.append(address)
        process(request, address)

    server.process_request = counted
    get(server, tmp_path, quick_downloads(connections_per_host=3), paths)
    assert 1 <= len(seen) <= 3  # few, and used again


def test_requests_say_who_asks(server, tmp_path, quick_downloads, fits_bytes):
    server.files["/a.fits"] = fits_bytes()
    get(server, tmp_path, quick_downloads(contact="me@example.org"))
    agent = server.requests[0][2]["User-Agent"]
    assert agent.startswith("clusterscan/")
    assert "me@example.org" in agent


@pytest.mark.parametrize("has_head", [True, False])
def test_versions_are_asked_without_the_files(server, tmp_path, quick_downloads, has_head):
    server.files["/a.fits"] = b"x" * 2_000_000
    server.has_head = has_head
    items = [Item(p, server.base + p) for p in ("/a.fits", "/b.fits")]
    found = probe_all(items, Store(tmp_path), quick_downloads())
    assert found["/a.fits"].version.length == 2_000_000
    assert found["/a.fits"].version.is_strong
    assert found["/b.fits"].status == "absent"
    server.has_etags = False
    found = probe_all(items[:1], Store(tmp_path), quick_downloads())
    assert not found["/a.fits"].version.is_strong
    assert found["/a.fits"].version.token == "Wed, 01 Jan 2020 00:00:00 GMT, 2000000 bytes"
    assert not list(tmp_path.rglob("*"))


def test_two_jobs_fetch_a_file_once(server, tmp_path, quick_downloads, fits_bytes):
    server.files["/a.fits"] = fits_bytes()
    entry = Store(tmp_path).entry(server.base + "/a.fits")
    with locked_part(entry) as handle:
        assert handle is not None
        thread = threading.Thread(target=get, args=(server, tmp_path, quick_downloads()))
        thread.start()
        time.sleep(0.5)
        assert not server.requests
    thread.join()
    assert len(server.requests) == 1
    assert entry.path.read_bytes() == server.files["/a.fits"]


def test_the_settings_refuse_nonsense():
    for bad in ({"retries": -1}, {"stall_s": 0}, {"connections_per_host": 0}, {"contact": "a\nb"}):
        with pytest.raises(ValueError, match=next(iter(bad))):
            DownloadSettings(**bad)


def test_progress_tells_rate_and_time_left():
    meter = Meter(10, None, "files")
    meter.received(3_000_000)
    for _ in range(4):
        meter.finished_one()
    assert meter.text(2.0) == "4 of 10 files, 1.5 MB/s, 0 min 03 s left"


def test_records_name_url_version_and_checksum(server, tmp_path, quick_downloads, fits_bytes):
    server.files["/a.fits"] = fits_bytes()
    outcome = get(server, tmp_path, quick_downloads())["/a.fits"]
    record = json.loads(outcome.path.with_name("a.fits.json").read_text(encoding="utf-8"))
    assert record["checksum"] == xxhash.xxh3_128(server.files["/a.fits"]).hexdigest()
    assert record["url"] == server.base + "/a.fits"
    assert record["etag"]


def test_a_full_disk_is_seen_as_what_it_is(server, tmp_path, quick_downloads, fits_bytes):
    server.files["/a.fits"] = fits_bytes()

    def full(path):
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        get(server, tmp_path, quick_downloads(), check=full)
    assert not list(tmp_path.rglob("a.fits"))
