"""What a run has computed, and what failed: from its manifests, records and messages."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from clusterscan.provenance.records import read_record


def status_text(root: Path) -> str:
    """Return a table of tiles by stage and status, and the last run's failures."""
    counts: dict[str, Counter[str]] = {}
    reasons: list[str] = []
    for path in sorted((root / "records").rglob("*.json")):
        record = read_record(path)
        if record is None:
            continue
        stage = path.relative_to(root / "records").parts[0]
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
    failures = sorted((root / "failures").glob("*.txt"))
    lines += [path.read_text(encoding="utf-8") for path in failures]
    finished = not failures and (root / "summary.json").is_file()
    lines.append("finished" if finished else "not finished")
    return "\n".join(lines)
