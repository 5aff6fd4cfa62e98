"""Requests: what libcurl is told, and what its failures are called."""

import asyncio
import shutil
import ssl
import subprocess

import pytest

from clusterscan.fetch.download.checks import PermanentError, TransientError
from clusterscan.fetch.download.transport import Transport


def get(settings, url, headers=()):
    """Return an answer's head and body."""
    pieces = []

    async def ask():
        async with Transport(settings) as transport:
            return await transport.get(url, lambda response: pieces.append, headers)

    return asyncio.run(ask()), b"".join(pieces)


def test_the_body_comes_in_pieces_after_the_head(server, quick_downloads):
    server.files["/a"] = bytes(range(256)) * 10_000
    server.headers["/a"]["X-Note"] = "one"
    response, body = get(quick_downloads(), server.base + "/a")
    assert body == server.files["/a"]
    assert response.status == 200
    assert response.headers["x-note"] == "one"
    assert response.headers["content-length"] == str(len(body))


def test_the_head_is_that_of_the_last_answer_of_a_redirected_request(server, quick_downloads):
    server.files["/b"] = b"there"
    server.faults["/a"] = [("redirect", "/b")]
    response, body = get(quick_downloads(), server.base + "/a")
    assert (response.status, body) == (200, b"there")
    assert "location" not in response.headers


def test_urls_may_hold_spaces_and_letters_of_all_alphabets(server, quick_downloads):
    server.files["/a%20b/%C3%A9.fits?x=1%2C2&y=a|b"] = b"x"
    server.files["/a%20b/%C3%A9.fits?x=1%2C2&y=a%7Cb"] = b"x"
    _, body = get(quick_downloads(), server.base + "/a b/é.fits?x=1%2C2&y=a|b")
    assert body == b"x"


@pytest.mark.parametrize("raised", [ValueError("no"), KeyboardInterrupt(), OSError(28, "full")])
def test_what_the_receiver_raises_ends_the_transfer(server, quick_downloads, raised):
    server.files["/a"] = b"x" * 1_000_000

    async def ask():
        async with Transport(quick_downloads()) as transport:
            await transport.get(server.base + "/a", lambda response: fail)

    def fail(piece):
        raise raised

    with pytest.raises(type(raised)):
        asyncio.run(ask())


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/a", "http://", "http://127.0.0.1:99999/"])
def test_urls_that_are_none_are_permanent_faults(quick_downloads, url):
    with pytest.raises(PermanentError):
        get(quick_downloads(), url)


def test_a_server_that_is_not_there_may_come_back(quick_downloads):
    with pytest.raises(TransientError, match="connect"):
        get(quick_downloads(), "http://127.0.0.1:9/")


def test_nobody_is_led_from_a_server_to_files_of_this_machine(server, quick_downloads, tmp_path):
    (tmp_path / "secret").write_text("x", encoding="utf-8")
    server.faults["/a"] = [("redirect", f"file://{tmp_path}/secret")]
    with pytest.raises(PermanentError):
        get(quick_downloads(), server.base + "/a")


def test_a_transfer_that_stalls_is_given_up_and_a_slow_one_is_not(server, quick_downloads):
    server.files["/a"] = b"x" * 600_000
    server.pace_s = 0.1  # ten pieces
    _, body = get(quick_downloads(stall_s=0.4), server.base + "/a")
    assert len(body) == 600_000
    server.faults["/a"] = [("stall", 1.0)]
    with pytest.raises(TransientError, match=r"stall_s = 0\.4"):
        get(quick_downloads(stall_s=0.4), server.base + "/a")


def test_the_proxy_that_the_environment_names_is_asked(server, quick_downloads, monkeypatch):
    server.files["http://far.example.org/a"] = b"by proxy"
    monkeypatch.setenv("http_proxy", server.base)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    _, body = get(quick_downloads(), "http://far.example.org/a")
    assert body == b"by proxy"


@pytest.fixture
def secure_server(server, tmp_path):
    """Give the server a certificate that it signed itself; return the certificate's file."""
    if shutil.which("openssl") is None:
        pytest.skip("there is no openssl to make a certificate with")
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes"
    more = ["-days", "2", "-subj", "/CN=127.0.0.1"]
    more += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", "key.pem", "-out", "cert.pem"]
    subprocess.run([*command.split(), *more], cwd=tmp_path, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    return tmp_path / "cert.pem"


def test_certificates_are_checked_against_those_that_python_trusts(
    server, secure_server, quick_downloads, monkeypatch
):
    server.files["/a"] = b"secret"
    url = server.base.replace("http:", "https:") + "/a"
    with pytest.raises(PermanentError, match="certificate"):
        get(quick_downloads(), url)
    monkeypatch.setenv("SSL_CERT_FILE", str(secure_server))
    _, body = get(quick_downloads(), url)
    assert body == b"secret"
    # A folder of certificates by hash is all that Debian has.
    monkeypatch.setenv("SSL_CERT_FILE", str(secure_server.with_name("none.pem")))
    command = ["openssl", "x509", "-hash", "-noout", "-in", secure_server]
    name = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    folder = secure_server.with_name("trusted")
    folder.mkdir()
    shutil.copy(secure_server, folder / f"{name}.0")
    monkeypatch.setenv("SSL_CERT_DIR", str(folder))
    _, body = get(quick_downloads(), url)
    assert body == b"secret"
