"""A small web server on this machine that can be told to misbehave."""

import hashlib
import io
import socket
import struct
import threading
import time
from collections import Counter, defaultdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import healpy as hp
import numpy as np
import pytest
from astropy.io import fits

from clusterscan.config.execution import DownloadSettings


class Server(ThreadingHTTPServer):
    """Files by path; ``faults[path]`` are used up, one a request, before it is served well."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files = {}
        self.headers = defaultdict(dict)  # more headers of a path
        self.faults = defaultdict(list)
        self.requests = []  # (method, path, headers)
        self.times = []
        self.has_etags = True
        self.has_head = True
        self.pace_s = 0.0  # before each 64 KiB of an answer
        self.lock = threading.Lock()

    @property
    def base(self):
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request, client_address):
        pass  # clients that leave are part of the tests

    def counted(self, method="GET"):
        return Counter(path for m, path, _ in self.requests if m == method)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 20

    def log_message(self, *args):
        pass

    def do_GET(self):
        self.answer(body=True)

    def do_HEAD(self):
        if not self.server.has_head:
            self.error(501, "no HEAD here")
            return
        self.answer(body=False)

    def answer(self, *, body):
        with self.server.lock:
            self.server.requests.append((self.command, self.path, dict(self.headers)))
            self.server.times.append(time.monotonic())
            waiting = self.server.faults[self.path]
            fault = waiting.pop(0) if waiting else None
        if fault is not None:
            getattr(self, f"fault_{fault[0]}")(*fault[1:])
        elif self.path in self.server.files:
            self.serve(self.server.files[self.path], body)
        else:
            self.error(404, "<html><title>x</title><p>No such tile here.</p></html>")

    def serve(self, data, body=True, cut=None):
        etag = f'"{hashlib.md5(data).hexdigest()}"'
        start = 0
        wanted = self.headers.get("Range")
        if wanted and self.headers.get("If-Range", etag) == etag:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
        if self.server.has_etags and self.headers.get("If-None-Match") == etag:
            self.send_response(304)
            self.send_header("ETag", etag)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(data) - start))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        if self.server.has_etags:
            self.send_header("ETag", etag)
        self.send_header("Last-Modified", "Wed, 01 Jan 2020 00:00:00 GMT")
        for name, value in self.server.headers[self.path].items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            self.send_paced(data[start:] if cut is None else data[start:cut])

    def send_paced(self, data):
        if not self.server.pace_s:
            self.wfile.write(data)
            return
        for start in range(0, len(data), 65536):
            time.sleep(self.server.pace_s)
            self.wfile.write(data[start : start + 65536])

    def error(self, status, text, **headers):
        data = text.encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def fault_status(self, status, text="busy", **headers):
        self.error(status, text, **headers)

    def fault_retry_after(self, status, seconds):
        self.error(status, "slow down", Retry_After=str(seconds))

    def fault_reset(self):
        self.close_connection = True
        linger = struct.pack("ii", 1, 0)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.connection.close()

    def fault_truncate(self, length):
        self.serve(self.server.files[self.path], cut=length)
        self.close_connection = True
        self.wfile.flush()
        self.connection.shutdown(socket.SHUT_RDWR)

    def fault_stall(self, seconds):
        data = self.server.files[self.path]
        self.serve(data, cut=len(data) // 2)
        self.wfile.flush()
        time.sleep(seconds)
        self.close_connection = True

    def fault_html(self, content_type="text/html"):
        data = b"<html><head><title>Maintenance</title></head><body>Back soon.</body></html>"
        self.send_response(200)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def fault_flip(self, at):
        data = bytearray(self.server.files[self.path])
        data[at] ^= 0x10
        etag = f'"{hashlib.md5(self.server.files[self.path]).hexdigest()}"'
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("ETag", etag)
        for name, value in self.server.headers[self.path].items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(bytes(data))

    def fault_short(self, length):
        """A whole response, as far as HTTP goes, of a file that is cut on the server's disk."""
        self.serve(self.server.files[self.path][:length])

    def fault_change(self, data):
        """Half of the file as it was; from then on the server has another one."""
        old = self.server.files[self.path]
        self.serve(old, cut=len(old) // 2)
        self.server.files[self.path] = data
        self.close_connection = True
        self.wfile.flush()
        self.connection.shutdown(socket.SHUT_RDWR)

    def fault_redirect(self, target):
        self.error(302, "over there", Location=target)


@pytest.fixture
def server():
    made = Server()
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield made
    made.shutdown()
    made.server_close()
    thread.join()


@pytest.fixture(scope="session")
def quick_downloads():
    """Return a function that makes download settings that lose no time."""

    def settings(**values):
        quick = {"retries": 3, "backoff_s": 0.01, "backoff_max_s": 0.05, "stall_s": 0.4}
        return DownloadSettings(**{**quick, "deadline_s": 10.0, **values})

    return settings


@pytest.fixture(scope="session")
def fits_bytes():
    """Return a function that makes a FITS file's bytes."""

    def make(array=None, padded=True, checksum=False, **header):
        array = np.arange(4096, dtype=np.float32).reshape(64, 64) if array is None else array
        hdu = fits.PrimaryHDU(array)
        hdu.header.update(header)
        buffer = io.BytesIO()
        hdu.writeto(buffer, checksum=checksum)
        data = buffer.getvalue()
        return data if padded else data[: len(data) - (-array.nbytes % 2880)]

    return make


HIPS_ORDER, HIPS_WIDTH = 3, 16
PROPERTIES = """creator_did = ivo://test
# hips_order = 9
hips_order = {order}
hips_frame = {frame}
hips_tile_width = {width}
hips_tile_format = jpeg fits
hips_release_date = 2020-01-01T00:00Z
"""


def smooth_sky(lon, lat):
    """Return a sky of known values that turns slowly: about 1 in each direction of 20 deg."""
    x, y, z = hp.ang2vec(lon, lat, lonlat=True).T
    return 5.0 + x - 2.0 * y + np.sin(3.0 * z) * x + np.cos(4.0 * y) + z


def hips_files(frame):
    """Return the files of a whole-sky HiPS tree: path -> bytes, laid out by healpy's pix2xyf."""
    nside = 2**HIPS_ORDER * HIPS_WIDTH
    header = fits.PrimaryHDU(np.zeros((HIPS_WIDTH, HIPS_WIDTH), np.float32)).header.tostring()
    text = PROPERTIES.format(order=HIPS_ORDER, frame=frame, width=HIPS_WIDTH)
    files = {"properties": text.encode()}
    pixels = np.arange(HIPS_WIDTH**2)
    for cell in range(12 * 4**HIPS_ORDER):
        ipix = cell * HIPS_WIDTH**2 + pixels
        x, y, _ = hp.pix2xyf(nside, ipix, nest=True)
        array = np.zeros((HIPS_WIDTH, HIPS_WIDTH), ">f4")
        values = smooth_sky(*hp.pix2ang(nside, ipix, nest=True, lonlat=True))
        array[HIPS_WIDTH - 1 - x % HIPS_WIDTH, y % HIPS_WIDTH] = values
        # No padding of the last block, as real servers leave it out.
        files[f"Norder{HIPS_ORDER}/Dir0/Npix{cell}.fits"] = header.encode() + array.tobytes()
    return files


@pytest.fixture(scope="session")
def sky_function():
    return smooth_sky


@pytest.fixture(scope="session")
def hips_trees(tmp_path_factory):
    """Return the folder of two synthetic trees, `equatorial` and `galactic`."""
    root = tmp_path_factory.mktemp("hips")
    for frame in ("equatorial", "galactic"):
        for name, data in hips_files(frame).items():
            path = root / frame / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
    return root
