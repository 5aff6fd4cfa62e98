"""The text at the end of a run: the places of its products, and the headline figures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from clusterscan.core.display import clock


def closing_text(root: Path, did_something: bool, seconds: float) -> str:
    """Return the last lines of a run."""
    try:
        summary = json.loads((root / "summary.json").read_text(encoding="utf-8"))
    except FileNotFoundError:  # Snakemake was asked for a part of the jobs only
        return outcome_line(did_something, seconds)
    lines = [
        outcome_line(did_something, seconds),
        f"  catalogue  {root}/catalogue/clusters.fits (.vot, .parquet)",
        f"  report     {root}/report.html",
        f"  summary    {root}/summary.json",
    ]
    return "\n".join(lines + [f"  {text}" for text in headline(summary)])


def outcome_line(did_something: bool, seconds: float) -> str:
    """Return the line that reports the run's time, or that there was nothing to do."""
    if did_something:
        return f"Done in {clock(seconds)}."
    return f"Nothing to be done: all products are up to date ({seconds:.1f} s)."


def headline(summary: dict[str, Any]) -> list[str]:
    """Return the headline figures of a summary."""
    return [str(text) for text in summary.get("headline", [])]
