"""What a run has cost so far, stage by stage: from what its jobs noted and what lies on disk."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

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


@dataclass(frozen=True)
class StageCost:
    """What a stage took: jobs that are done, their hours of processor time, disk, memory."""

    jobs: int
    cpu_h: float
    disk_gib: float
    peak_gib: float


def measured(root: Path) -> dict[str, StageCost]:
    """Return the costs of the stages that have run below a run's folder.

    Each job notes its last run alone: where tiles were up to date, it did not compute them again.
    """
    jobs: dict[str, list[dict]] = {}
    for path in sorted((root / "costs").glob("*.json")):
        cost = json.loads(path.read_text(encoding="utf-8"))
        jobs.setdefault(_STAGE_OF.get(cost["stage"], cost["stage"]), []).append(cost)
    return {
        stage: StageCost(
            jobs=len(costs),
            cpu_h=sum(c["cpu_s"] for c in costs) / 3600,
            disk_gib=sum(_size(root / folder) for folder in _FOLDERS.get(stage, ())) / 2**30,
            peak_gib=max(c["peak_mib"] for c in costs) / 1024,
        )
        for stage, costs in jobs.items()
    }


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
