"""docs/catalogue.md, generated from the column specification."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from clusterscan.publish.columns import (
    FILTER,
    FLAGS,
    IDENTITY,
    POSITION,
    SCORES,
    SHAPE,
    TRUTH,
    Column,
    known_columns,
    model_columns,
)

INTRODUCTION = """\
# The catalogue

One row per object. `clusters.fits`, `clusters.vot` and `clusters.parquet` hold the same rows and
columns, sorted by descending `prob`, then `name`; the same run always gives the same bytes.
Positions are ICRS, HEALPix cells NESTED. This page is generated from the column specification in
`clusterscan.publish.columns`.

Headers (FITS cards, VOTable PARAMs, Parquet metadata) carry the version (`CSVERS`), the
configuration's name (`CSCONFIG`), the seed (`CSSEED`), the searched area without masks
(`AREADEG2`), the orders of tiles and map pixels (`TILEORD`, `MAPORD`), and whether the sky is
simulated (`SIMULATD`).

Names follow the IAU's rules: coordinates are truncated, never rounded, to the digits shown, and
objects that would share a name get a letter (a, b, ...).

Null: how an unknown value is written (a Parquet null in `clusters.parquet`); columns without
one always have a value. Text is printable ASCII.
"""

SECTIONS: tuple[tuple[str, str, tuple[Column, ...]], ...] = (
    ("Position", "", POSITION),
    ("Probability", "", SCORES),
    (
        "One set per model",
        "`<survey>` and `<model>` as in the configuration, in lower case; other characters than "
        "letters and digits become `_`. The plain filter has a signal-to-noise ratio alone.",
        (*model_columns("<survey>", "<model>"), *model_columns("<survey>", FILTER)),
    ),
    ("Detection", "", SHAPE),
    ("Quality, identification, redshift and mass", "", IDENTITY),
    ("One pair per known catalogue", "", known_columns("<catalogue>")),
    (
        "Simulated runs only",
        "On a simulated sky the truth is known. **These columns are no measurement**: they say "
        "what was put into the images, for validation, and no other column uses them.",
        TRUTH,
    ),
)


def catalogue_markdown() -> str:
    """Return the text of docs/catalogue.md."""
    parts = [INTRODUCTION]
    for title, note, columns in SECTIONS:
        parts.append(f"\n## {title}\n\n")
        if note:
            parts.append(note + "\n\n")
        parts.extend(_rows(columns))
    parts.append("\n## Flags\n\nThe bits of `flags`; 0 means that nothing is known against it.\n\n")
    parts.append("| bit | name | meaning |\n|---|---|---|\n")
    parts.extend(f"| {v} | {name} | {meaning} |\n" for name, (v, meaning) in FLAGS.items())
    return "".join(parts)


def write_catalogue_markdown(path: Path) -> None:
    """Write docs/catalogue.md."""
    Path(path).write_text(catalogue_markdown(), encoding="utf-8")


def _rows(columns: Iterable[Column]) -> Iterable[str]:
    yield "| column | type | unit | UCD | null | meaning |\n|---|---|---|---|---|---|\n"
    for c in columns:
        name = c.name if "<" not in c.description else _placeholder(c.name)
        yield (
            f"| `{name}` | {c.dtype} | {c.unit or '–'} | `{c.ucd}` | {c.null or '–'} "
            f"| {c.description.replace('<', '&lt;').replace('>', '&gt;')} |\n"
        )


def _placeholder(name: str) -> str:
    # Column names are cleaned of < and >: show again which parts stand for a name of the run.
    for word in ("survey", "model", "catalogue"):
        name = name.replace(f"_{word}_", f"<{word}>")
    return name
