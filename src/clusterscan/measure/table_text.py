"""The combined table as text: Markdown for documents, HTML for reports.

A measure is written as mean ± standard deviation over seeds, with the 68 % bootstrap interval in
brackets; beside it the published value and the difference (ours − published).
"""

from __future__ import annotations

import html
import math
from collections.abc import Sequence

import pandas as pd

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
        From `clusterscan.measure.table.combined_table`.
    measures : sequence of str
        Which measures, in their order.
    digits : int
        After the decimal point.

    Returns
    -------
    header : list of str
    rows : list of list of str
        Survey and network only where any row has one, seeds always; published columns only of
        measures of which something was published.
    """
    from clusterscan.measure.table import TITLES

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
    """Return "0.912 ± 0.011 [0.901, 0.923]", without what is not known; a dash for nothing."""
    if not _known(value):
        return DASH
    text = f"{value:.{digits}f}"
    if _known(std):
        text += f" ± {std:.{digits}f}"
    if _known(ends[0]) and _known(ends[1]):
        text += f" [{ends[0]:.{digits}f}, {ends[1]:.{digits}f}]"
    return text


def difference(value: float | None, *, digits: int = 3) -> str:
    """Return "+0.012", "−0.003", or a dash."""
    if not _known(value):
        return DASH
    return f"{value:+.{digits}f}".replace("-", "−")


def to_markdown(table: pd.DataFrame, measures: Sequence[str], *, caption: str = "") -> str:
    """Return the table in Markdown (pipe tables), with what its figures mean."""
    header, rows = cells(table, measures)
    left = _text_columns(header)
    lines = [
        _pipes(header),
        _pipes(["---" if k < left else "---:" for k in range(len(header))]),
        *(_pipes(row) for row in rows),
    ]
    above = f"{caption}\n\n" if caption else ""
    return above + "\n".join(lines) + f"\n\n{LEGEND}\n"


def to_html(table: pd.DataFrame, measures: Sequence[str], *, caption: str = "") -> str:
    """Return the table as an HTML fragment that a report's style sheet dresses."""
    header, rows = cells(table, measures)
    left = _text_columns(header)

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


def _text_columns(header: Sequence[str]) -> int:
    return header.index("Seeds")


def _pipes(values: Sequence[str]) -> str:
    escaped = (v.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ") for v in values)
    return f"| {' | '.join(escaped)} |"


def _known(value: float | None) -> bool:
    return value is not None and math.isfinite(value)
