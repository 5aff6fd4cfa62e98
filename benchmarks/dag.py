"""Measure the cost of the workflow engine at full-sky scale: the dry run, and the sync before it.

Prints one JSON object per line. Needs no arguments and about two minutes; `--full` adds a case
with four times as many blocks.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

PROJECT = Path(__file__).resolve().parents[1]


def full_sky_config(folder: Path, block_order: int) -> Path:
    """Write the default configuration with the whole sky as its footprint."""
    settings = yaml.safe_load((PROJECT / "config.yaml").read_text(encoding="utf-8"))
    settings["output"] = str(folder / "run")
    settings["sky"]["footprint"] = {"kind": "all"}
    settings["sky"]["block_order"] = block_order
    path = folder / "full_sky.yaml"
    path.write_text(yaml.safe_dump(settings), encoding="utf-8")
    return path


def dry_run(config: Path) -> tuple[int, float, float]:
    """Return jobs, CPU seconds and peak MiB of `snakemake -n`."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [
        sys.executable,
        "-m",
        "snakemake",
        "-n",
        "--quiet",
        "rules",
        "--configfile",
        str(config),
    ]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    total = [
        line.split()
        for line in (done.stdout + done.stderr).splitlines()
        if line.startswith("total")
    ]
    return int(total[0][1]), cpu, after.ru_maxrss / 1024


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true")
    orders = (2, 3) if parser.parse_args().full else (2,)
    for order in orders:
        with tempfile.TemporaryDirectory() as folder:
            config = full_sky_config(Path(folder), order)
            started = time.monotonic()
            jobs, first_cpu, _ = dry_run(config)  # also writes the source manifests
            first_wall = time.monotonic() - started
            jobs, cpu, peak = dry_run(config)
        case = f"full sky, 12288 tiles, block_order {order}, {jobs} jobs"
        rows = [
            ("dag.dry_run", "value", cpu, 15.0, "CPU s"),
            ("dag.dry_run_memory", "value", peak, 1024.0, "MiB"),
            ("dag.sync_and_dry_run", "value", first_cpu, 30.0, "CPU s"),
        ]
        for measure, key, value, limit, unit in rows:
            line = {"measure": measure, "case": case, key: round(value, 2), "limit": limit}
            print(
                json.dumps({**line, "unit": unit, "conditions": {"wall_s": round(first_wall, 1)}})
            )


if __name__ == "__main__":
    main()
