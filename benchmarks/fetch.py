"""Measure the speed of downloading many tiles, beside `curl --parallel` from the same server.

Prints one JSON object per line. Needs no arguments and about four minutes; `--full` takes 20,000
tiles. Both sides use the same number of connections, and both write files; ours also checks each
as FITS, computes its checksum and writes its record. `jobs` is the number of our processes, which
share the tiles and the connections; the workflow runs two on two cores. Starting them is not
timed. The server is a separate process on the same machine, so it takes its share of the cores
from both; runs alternate, and the best of each side counts. HiPS servers hold tiles of 512 px
(1 MiB); tiles of 64 px show the cost per file, apart from that of its bytes. Without a delay the
case shows the processor's cost; a delay of 20 ms before each response is typical of a server on
the same continent. `cpu_s` is the processor time of each client alone, without the server's.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from functools import partial
from multiprocessing.synchronize import Barrier
from pathlib import Path

import numpy as np
from aiohttp import web
from astropy.io import fits

from clusterscan.config.execution import DownloadSettings
from clusterscan.fetch.download.batch import download_all
from clusterscan.fetch.download.store import Item, Store
from clusterscan.fetch.hips_tiles import check_tile

CASES = ((512, 20), (512, 0), (64, 20), (64, 0))  # width of a tile [px], delay [ms]
JOBS = (1, 2)
CONNECTIONS = 8
GOAL = 0.8
_LONGEST_S = 600.0


def tile_bytes(width: int) -> bytes:
    """Return a HiPS tile as real servers send it: no WCS, no padding."""
    header = fits.PrimaryHDU(np.zeros((width, width), np.float32)).header.tostring()
    noise = np.random.default_rng(1).normal(size=(width, width))
    return header.encode() + noise.astype(">f4").tobytes()


async def serve() -> None:
    """Serve one tile of each width under every name, with an ETag, until the process is ended."""
    data = {str(width): tile_bytes(width) for width, _ in CASES}

    async def answer(request: web.Request) -> web.Response:
        await asyncio.sleep(float(request.match_info["delay"]) / 1000)
        body = data[request.match_info["width"]]
        return web.Response(body=body, headers={"ETag": '"1"'}, content_type="application/fits")

    application = web.Application()
    application.router.add_get("/{delay}/{width}/{name:.*}", answer)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


def places(count: int) -> list[str]:
    """Return the tiles' paths."""
    return [f"Norder5/Dir{n // 10000 * 10000}/Npix{n}.fits" for n in range(count)]


def job(
    base: str, share: list[str], width: int, connections: int, folder: Path, gate: Barrier, used
) -> None:
    """Fetch and check one job's share between two barriers, and record the seconds used."""
    check = partial(check_tile, frame="icrs", order=5, ipix=0, width=width)
    items = [Item(place, f"{base}/{place}", "1", check) for place in share]
    settings = DownloadSettings(connections_per_host=connections)
    gate.wait(_LONGEST_S)
    started = time.process_time()
    try:
        outcomes = download_all(items, Store(folder), settings)
        assert all(outcome.status == "ok" for outcome in outcomes.values())
    except BaseException:
        gate.abort()
        raise
    used.put(time.process_time() - started)
    gate.wait(_LONGEST_S)


def time_ours(base: str, count: int, folder: Path, *, width: int, jobs: int) -> tuple[float, float]:
    """Return seconds for our client, of the clock and of its processor; every file is checked."""
    context = multiprocessing.get_context("spawn")
    gate, used = context.Barrier(jobs + 1), context.Queue()
    shares = [places(count)[i::jobs] for i in range(jobs)]
    fixed = (width, CONNECTIONS // jobs, folder, gate, used)
    running = [context.Process(target=job, args=(base, share, *fixed)) for share in shares]
    for process in running:
        process.start()
    gate.wait(_LONGEST_S)
    started = time.perf_counter()
    gate.wait(_LONGEST_S)
    seconds = time.perf_counter() - started
    used_s = sum(used.get() for _ in running)
    for process in running:
        process.join()
    return seconds, used_s


def time_curl(base: str, count: int, folder: Path) -> tuple[float, float]:
    """Return seconds, of the clock and of its processor, for curl with its URLs in a file."""
    lines = [f'url = "{base}/{p}"\noutput = "{folder / p}"\n' for p in places(count)]
    config = folder / "curl.txt"
    config.write_text("".join(lines), encoding="utf-8")
    command = ["curl", "--no-progress-meter", "--fail", "--create-dirs", "--parallel"]
    command += ["--parallel-max", str(CONNECTIONS), "--config", str(config)]
    started, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    seconds = time.perf_counter() - started, used
    assert len(list(folder.rglob("*.fits"))) == count
    return seconds


def once(measure, base: str, count: int) -> tuple[float, float]:
    """Return the seconds of one run in a fresh folder, of the clock and of the processor."""
    # In memory where that can be had: a disk that others use would decide.
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        return measure(base, count, Path(folder))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--serve", action="store_true", help="be the server (used by itself)")
    args = parser.parse_args()
    if args.serve:
        asyncio.run(serve())
        return
    if shutil.which("curl") is None:
        sys.exit("fetch.py: there is no curl to compare with; install it")
    count = 20_000 if args.full else 2_000
    command = [sys.executable, __file__, "--serve"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            base = f"http://127.0.0.1:{server.stdout.readline().strip()}"
            for width, delay_ms in CASES:
                measure(f"{base}/{delay_ms}/{width}", count, width, delay_ms)
        finally:
            server.terminate()


def measure(base: str, count: int, width: int, delay_ms: int) -> None:
    """Print the rates of both sides, a line for each number of jobs."""
    sides = {jobs: partial(time_ours, width=width, jobs=jobs) for jobs in JOBS}
    runs: dict[int, list[tuple[float, float]]] = {0: [], **{jobs: [] for jobs in JOBS}}
    for _ in range(3):  # in turn: what else the machine does falls on all
        for jobs, side in {0: time_curl, **sides}.items():
            runs[jobs].append(once(side, base, count))
    rates = {jobs: count / min(seconds for seconds, _ in runs[jobs]) for jobs in runs}
    for jobs in JOBS:
        both = {"ours": runs[jobs], "curl": runs[0]}
        line = {
            "measure": "fetch.vs_curl",
            "case": f"{count} tiles of {width} px, {CONNECTIONS} connections, {delay_ms} ms delay",
            "jobs": jobs,
            "ours": round(rates[jobs], 1),
            "other": round(rates[0], 1),
            "unit": "tiles/s",
            "ratio": round(rates[jobs] / rates[0], 3),
            "goal": GOAL,
            "cpu_s": {key: round(min(used for _, used in side), 2) for key, side in both.items()},
            "conditions": {key: [round(s, 2) for s, _ in side] for key, side in both.items()},
        }
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
