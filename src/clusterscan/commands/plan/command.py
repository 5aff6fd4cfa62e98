"""The command ``clusterscan plan``: its options, and its table of estimated and measured costs.

The parts that load networks are imported by `run` alone, because every command reads the options.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from clusterscan.commands.plan.downloads import Download
    from clusterscan.commands.plan.work import StagePlan

# Where each stage's products lie, for the disk that they take.
_FOLDERS = {
    "fetch": ("raw", "catalogs"),
    "preprocess": ("tiles",),
    "sample": ("samples",),
    "train": ("models",),
    "scan": ("maps",),
    "detect": ("candidates",),
    "merge": ("merged",),
    "validate": ("validation",),
    "publish": ("catalogue",),
}
_STAGE_OF = {"catalogue": "fetch"}
_HEAD = f"{'stage':<11}{'jobs':>8}{'tiles':>9}{'hours':>10}{'disk':>11}{'download':>11}"
_MEASURED_HEAD = f"{'| done':>9}{'hours':>10}{'disk':>11}{'memory':>11}"


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    here = len(os.sched_getaffinity(0))
    command.add_argument("--cores", type=cores, default=here, help="jobs side by side")
    command.add_argument(
        "--rates", type=Path, help="JSON file of rates; networks it lacks are timed here"
    )
    command.add_argument("--save-rates", type=Path, help="write the rates used to this file")


def cores(text: str) -> int:
    """Return a number of cores given on the command line."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of cores; give 1 or more")
    return int(text)


def run(args: argparse.Namespace) -> None:
    """Print the estimated cost of a configuration's run, beside its measured cost so far."""
    from clusterscan.commands.plan.rates import Rates, calibrate, read_rates
    from clusterscan.commands.plan.work import plan, planned_downloads
    from clusterscan.config.load import load_config
    from clusterscan.core import sky
    from clusterscan.flow.footprint import run_blocks, run_tiles

    config = load_config([args.config])
    rates = calibrate(config, read_rates(args.rates) if args.rates else Rates())
    if args.save_rates:
        args.save_rates.write_text(rates.model_dump_json(indent=1) + "\n", encoding="utf-8")
    tiles = run_tiles(config.sky)
    area_deg2 = len(tiles) * sky.cell_area_deg2(config.sky.tile_order)
    blocks = len(run_blocks(config.sky))
    print(f"{area_deg2:,.1f} deg2: {len(tiles):,} tiles in {blocks:,} blocks\n")
    costs = measured(Path(config.output))
    print(plan_text(plan(config, rates), costs, cores=args.cores, device=rates.device))
    if found := planned_downloads(config):
        print(downloads_text(found, rates.download_mb_s))


@dataclass(frozen=True)
class StageCost:
    """The measured cost of a stage: finished jobs, processor hours, disk and memory."""

    jobs: int
    cpu_h: float
    disk_gib: float
    peak_gib: float


def measured(root: Path) -> dict[str, StageCost]:
    """Return the cost of each stage that has run, from its jobs' notes and the files on disk.

    Each job records only its last run, which skipped the tiles that were up to date.
    """
    jobs: dict[str, list[dict]] = {}
    for path in sorted((root / "costs").glob("*.json")):
        cost = json.loads(path.read_text(encoding="utf-8"))
        jobs.setdefault(_STAGE_OF.get(cost["stage"], cost["stage"]), []).append(cost)
    found = {}
    for stage, costs in jobs.items():
        folders = [root / folder for folder in _FOLDERS.get(stage, ())]
        files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
        found[stage] = StageCost(
            jobs=len(costs),
            cpu_h=sum(c["cpu_s"] for c in costs) / 3600,
            disk_gib=sum(path.stat().st_size for path in files) / 2**30,
            peak_gib=max(c["peak_mib"] for c in costs) / 1024,
        )
    return found


def plan_text(
    plans: Sequence[StagePlan], costs: Mapping[str, StageCost], *, cores: int, device: str
) -> str:
    """Return the table of stages with their sum.

    Parameters
    ----------
    plans : sequence of StagePlan
        In the order of the stages.
    costs : mapping of str to StageCost
        Measured costs by stage; empty before a run.
    cores : int
        Jobs that run side by side.
    device : str
        The device that the networks run on.
    """
    rows = [
        (p.stage, p.jobs, p.tiles, p.cpu_h, p.disk_gib, p.download_gib, costs.get(p.stage))
        for p in plans
    ]
    of_all = StageCost(
        sum(c.jobs for c in costs.values()),
        sum(c.cpu_h for c in costs.values()),
        sum(c.disk_gib for c in costs.values()),
        max((c.peak_gib for c in costs.values()), default=0.0),
    )
    cpu_h = sum(p.cpu_h for p in plans)
    disk_gib, download_gib = sum(p.disk_gib for p in plans), sum(p.download_gib for p in plans)
    jobs, tiles = sum(p.jobs for p in plans), sum(p.tiles for p in plans)
    rows.append(("all", jobs, tiles, cpu_h, disk_gib, download_gib, of_all))
    lines = [_HEAD + (_MEASURED_HEAD if costs else "")]
    for stage, jobs, tiles, hours, disk, download, cost in rows:
        line = f"{stage:<11}{jobs:>8,}{tiles:>9,}{hours:>10.3f}{size(disk):>11}{size(download):>11}"
        if costs and cost is None:
            line += f"{'| 0':>9}"
        elif costs and cost is not None:
            line += f"{f'| {cost.jobs:,}':>9}{cost.cpu_h:>10.3f}"
            line += f"{size(cost.disk_gib):>11}{size(cost.peak_gib):>11}"
        lines.append(line)
    on_gpu = "" if device == "cpu" else f"; of train and scan those of one GPU ({device})"
    several = "s" if cores > 1 else ""
    lines += [
        "",
        f"Hours are those of one core ({cpu_h / cores:.2f} h on {cores} core{several}){on_gpu}.",
    ]
    if costs:
        lines.append("Measured: each job's last run, which left out what was up to date.")
    return "\n".join(lines)


def downloads_text(downloads: Sequence[Download], download_mb_s: float) -> str:
    """Return the downloads, one a line, and their hours at a rate of 10^6 bytes a second."""
    hours = sum(d.gib for d in downloads) * 2**30 / 1e6 / download_mb_s / 3600
    first = f"Downloads take {hours:,.1f} h more at {download_mb_s:g} MB/s (--rates):"
    return "\n".join([first, *(f"  {download}" for download in downloads)])


def size(gib: float) -> str:
    """Return a size for people, such as '1.4 GiB'."""
    if gib == 0:
        return "-"
    for unit, factor in (("TiB", 1 / 1024), ("GiB", 1.0), ("MiB", 1024.0)):
        if gib * factor >= 1:
            return f"{gib * factor:,.1f} {unit}"
    return "< 1 MiB"
