"""The plan as text: a table of stages, their sum, and what was measured beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from clusterscan.commands.plan.downloads import Download
from clusterscan.commands.plan.measured import StageCost
from clusterscan.commands.plan.work import StagePlan

_HEAD = f"{'stage':<11}{'jobs':>8}{'tiles':>9}{'hours':>10}{'disk':>11}{'download':>11}"
_MEASURED_HEAD = f"{'| done':>9}{'hours':>10}{'disk':>11}{'memory':>11}"


def plan_text(
    plans: Sequence[StagePlan],
    costs: Mapping[str, StageCost],
    *,
    tiles: int,
    blocks: int,
    area_deg2: float,
    cores: int,
    device: str,
    downloads: Sequence[Download] = (),
    download_mb_s: float = 20.0,
) -> str:
    """Return the table.

    Parameters
    ----------
    plans : sequence of StagePlan
        In the order of the stages.
    costs : mapping of str to StageCost
        What was measured, by stage; empty before a run.
    tiles, blocks : int
        Of the footprint.
    area_deg2 : float
        Its area [deg2].
    cores : int
        Jobs that run side by side.
    device : str
        What the networks run on.
    downloads : sequence of Download
        What each survey brings here.
    download_mb_s : float
        How fast [10^6 bytes a second].
    """
    first = f"{area_deg2:,.1f} deg2: {tiles:,} tiles in {blocks:,} blocks"
    lines = [first, "", _HEAD + (_MEASURED_HEAD if costs else "")]
    lines += [_row(p) + (_measured(costs.get(p.stage)) if costs else "") for p in plans]
    total = StagePlan(
        "all",
        sum(p.jobs for p in plans),
        sum(p.tiles for p in plans),
        sum(p.cpu_h for p in plans),
        sum(p.disk_gib for p in plans),
        sum(p.download_gib for p in plans),
    )
    lines.append(_row(total) + (_measured(_sum(costs)) if costs else ""))
    side_by_side = f"{total.cpu_h / cores:.2f} h on {cores} core{'s' if cores > 1 else ''}"
    lines += ["", f"Hours are those of one core ({side_by_side})" + _on_gpu(device)]
    if downloads:
        hours = sum(d.gib for d in downloads) * 2**30 / 1e6 / download_mb_s / 3600
        lines.append(f"Downloads take {hours:,.1f} h more at {download_mb_s:g} MB/s (--rates):")
        lines += [f"  {download}" for download in downloads]
    if costs:
        lines.append("Measured: of each job's last run, which left out what was up to date.")
    return "\n".join(lines)


def _on_gpu(device: str) -> str:
    return "." if device == "cpu" else f"; of train and scan those of one GPU ({device})."


def _row(p: StagePlan) -> str:
    amounts = f"{size(p.disk_gib):>11}{size(p.download_gib):>11}"
    return f"{p.stage:<11}{p.jobs:>8,}{p.tiles:>9,}{p.cpu_h:>10.3f}{amounts}"


def _measured(cost: StageCost | None) -> str:
    if cost is None:
        return f"{'| 0':>9}"
    done = f"| {cost.jobs:,}"
    return f"{done:>9}{cost.cpu_h:>10.3f}{size(cost.disk_gib):>11}{size(cost.peak_gib):>11}"


def _sum(costs: Mapping[str, StageCost]) -> StageCost:
    return StageCost(
        sum(c.jobs for c in costs.values()),
        sum(c.cpu_h for c in costs.values()),
        sum(c.disk_gib for c in costs.values()),
        max(c.peak_gib for c in costs.values()),
    )


def size(gib: float) -> str:
    """Return a size for people, such as '1.4 GiB'."""
    if gib == 0:
        return "-"
    for unit, factor in (("TiB", 1 / 1024), ("GiB", 1.0), ("MiB", 1024.0)):
        if gib * factor >= 1:
            return f"{gib * factor:,.1f} {unit}"
    return "< 1 MiB"
