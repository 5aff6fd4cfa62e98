"""The combined table as text and as files: Markdown for documents, HTML for reports.

Each measure is the mean ± standard deviation over seeds, with the 68 % bootstrap interval in
brackets. The published value and the difference (ours − published) follow.
"""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from clusterscan.formats.tables import write_table
from clusterscan.measure.combined_table import (
    DEFAULT_MEASURES,
    TITLES,
    Run,
    combined_table,
    runs_table,
)
from clusterscan.report.document import pipe_table, write_text

DASH = "–"
LEGEND = (
    "Mean ± standard deviation over seeds; in brackets the 68 % interval from a bootstrap over "
    "test objects. Δ: ours − published."
)


def cells(
    table: pd.DataFrame, measures: Sequence[str], *, digits: int = 3
) -> tuple[list[str], list[list[str]]]:
    """Return the table's header and rows as text.

    Parameters
    ----------
    table : DataFrame
        From `combined_table`.
    measures : sequence of str
        Measures to show, in this order.
    digits : int
        Digits after the decimal point.

    Returns
    -------
    header : list of str
    rows : list of list of str
        Survey and network only if any row has one; published columns only for measures of
        which something was published.
    """
    named = [("title", "Experiment"), ("survey", "Survey"), ("network", "Network")]
    named = [(c, t) for c, t in named if c in table and (table[c].astype(str) != "").any()]
    header = [t for _, t in named] + ["Seeds", "Objects"]
    for m in measures:
        header.append(TITLES.get(m, m))
        if f"{m}_published" in table:
            header += ["published", "Δ"]
    rows = []
    for row in table.to_dict("records"):
        line = [str(row[c]) for c, _ in named] + [str(row["seeds"]), f"{row['objects']:,}"]
        for m in measures:
            ends = (row.get(f"{m}_low"), row.get(f"{m}_high"))
            line.append(figure(row.get(m), row.get(f"{m}_std"), ends, digits=digits))
            if f"{m}_published" in row:
                line.append(figure(row[f"{m}_published"], row[f"{m}_published_std"], digits=digits))
                line.append(difference(row[f"{m}_difference"], digits=digits))
        rows.append(line)
    return header, rows


def figure(
    value: float | None,
    std: float | None = None,
    ends: tuple[float | None, float | None] = (None, None),
    *,
    digits: int = 3,
) -> str:
    """Format "0.912 ± 0.011 [0.901, 0.923]" without unknown parts, or a dash if all are unknown."""
    if not _known(value):
        return DASH
    text = f"{value:.{digits}f}"
    if _known(std):
        text += f" ± {std:.{digits}f}"
    if _known(ends[0]) and _known(ends[1]):
        text += f" [{ends[0]:.{digits}f}, {ends[1]:.{digits}f}]"
    return text


def difference(value: float | None, *, digits: int = 3) -> str:
    """Format "+0.012", "−0.003", or a dash."""
    if not _known(value):
        return DASH
    # A minus sign is as wide as a plus sign; a hyphen is not.
    return f"{value:+.{digits}f}".replace("-", "−")


def to_markdown(table: pd.DataFrame, measures: Sequence[str], *, caption: str = "") -> str:
    """Return the table in Markdown (pipe table) with its legend."""
    header, rows = cells(table, measures)
    above = f"{caption}\n\n" if caption else ""
    lines = pipe_table(header, rows, left_columns=header.index("Seeds"))
    return f"{above}{lines}\n\n{LEGEND}\n"


def to_html(table: pd.DataFrame, measures: Sequence[str], *, caption: str = "") -> str:
    """Return the table as an HTML fragment for the style sheet of a report."""
    header, rows = cells(table, measures)
    left = header.index("Seeds")

    def line(tag: str, values: Sequence[str]) -> str:
        marks = [' class="text"' if k < left else "" for k in range(len(values))]
        scope = ' scope="col"' if tag == "th" else ""
        return "".join(
            f"<{tag}{scope}{mark}>{html.escape(value)}</{tag}>"
            for mark, value in zip(marks, values, strict=True)
        )

    body = "\n".join(f"<tr>{line('td', row)}</tr>" for row in rows)
    text = " ".join(part for part in (caption, LEGEND) if part)
    return (
        '<table class="numeric combined">\n'
        f"<caption>{html.escape(text)}</caption>\n"
        f"<thead><tr>{line('th', header)}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>\n"
    )


def _known(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def write_combined_table(
    folder: Path,
    runs: Sequence[Run],
    measures: Sequence[str] = DEFAULT_MEASURES,
    *,
    name: str = "table",
    caption: str = "",
) -> pd.DataFrame:
    """Write the combined table as Parquet, CSV, Markdown and HTML, and a table of all runs.

    Parameters
    ----------
    folder : Path
        Gets <name>.parquet, .csv, .md, .html and <name>_runs.parquet, .csv; each atomically.
    runs, measures
        As for `combined_table`; the table of runs has all measures.
    name : str
        Stem of the file names.
    caption : str
        Caption in Markdown and HTML, e.g. that the sky is simulated.

    Returns
    -------
    DataFrame
        The combined table.
    """
    table = combined_table(runs, measures)
    for stem, frame in ((name, table), (f"{name}_runs", runs_table(runs))):
        write_table(folder / f"{stem}.parquet", frame)
        write_text(folder / f"{stem}.csv", frame.to_csv(index=False, float_format="%.6g"))
    write_text(folder / f"{name}.md", to_markdown(table, measures, caption=caption))
    write_text(folder / f"{name}.html", to_html(table, measures, caption=caption))
    return table
