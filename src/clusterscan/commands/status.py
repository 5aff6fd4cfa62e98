"""Report the tiles that a run has computed and its failures, from its manifests and records."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from clusterscan.core.checksums import CHECKSUMS, FOLDER, read_checksums
from clusterscan.core.records import read_record
from clusterscan.flow.paths import SELECTION


def status_text(root: Path) -> str:
    """Return a table of tiles by stage and status, and the last run's failures."""
    counts: dict[str, Counter[str]] = {}
    reasons: list[str] = []
    # Records, not manifests: a block that failed has no manifest, but records of what it did
    # compute.
    bases = (root / "records", root / SELECTION / "records")
    for base, path in ((b, p) for b in bases for p in sorted(b.rglob("*.json"))):
        record = read_record(path)
        if record is None:
            continue
        stage = path.relative_to(base).parts[0]
        counts.setdefault(stage, Counter())[record.status] += 1
        if record.status in ("failed", "partial"):
            reasons.append(f"  {stage} tile {record.tile} {record.status}: {record.reason}")
    if not counts:
        return f"{root}: nothing has been computed yet"
    lines = [f"{'stage':<12}{'ok':>8}{'partial':>9}{'empty':>8}{'failed':>8}"]
    for stage, seen in counts.items():
        row = (seen["ok"], seen["partial"], seen["no_coverage"], seen["failed"])
        lines.append(f"{stage:<12}{row[0]:>8}{row[1]:>9}{row[2]:>8}{row[3]:>8}")
    lines += reasons[:50]
    lines.append(_published(root / FOLDER))
    failures = sorted((root / "failures").glob("*.txt"))
    lines += [path.read_text(encoding="utf-8") for path in failures]
    finished = not failures and (root / "summary.json").is_file()
    lines.append("finished" if finished else "not finished")
    return "\n".join(lines)


def _published(folder: Path) -> str:
    try:
        names = read_checksums(folder / CHECKSUMS)
        size = sum((folder / name).stat().st_size for name in names)
    except FileNotFoundError:
        return "published: nothing yet, or not all of it"
    except (OSError, ValueError):
        return f"published: {folder / CHECKSUMS} is damaged; `clusterscan verify` says more"
    return f"published: {len(names)} files, {size / 2**20:.1f} MiB in {folder}/"
