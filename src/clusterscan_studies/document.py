"""report.md of a study: the page's tables and explanations as Markdown, for other documents."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from clusterscan.core.atomic import atomic_path
from clusterscan.publish.inputs import Section, Table
from clusterscan_studies.report import Page

SHOWN = ("result", "gaps", "reduced", "data", "costs")


def write_document(path: Path, page: Page) -> None:
    """Write the page's tables as Markdown, replacing the file atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(document(page), encoding="utf-8")


def document(page: Page) -> str:
    """Return the page's tables and explanations as Markdown."""
    study = page.study
    paper = study["paper"]
    form = "Reduced form (`--quick`)." if page.quick else "Full form."
    kind = "**Simulated images.**" if study["simulated"] else "Real images."
    blocks = [
        f"# {study['title']}",
        f"{form} {kind} {study['data_note']}",
        study["about"],
        f"Published: {paper['authors']} {paper['year']}, *{paper['title']}*, {paper['reference']}.",
    ]
    for section in page.sections:
        if section.key in SHOWN and (section.tables or section.notes):
            blocks += _section(section)
    return "\n\n".join(block.strip() for block in blocks) + "\n"


def _section(section: Section) -> Iterable[str]:
    yield f"## {section.title}"
    if section.lead:
        yield section.lead
    yield from section.notes
    for table in section.tables:
        if table.caption:
            yield f"{table.caption.rstrip('.')}:"
        yield _table(table)


def _table(table: Table) -> str:
    left = 1 if table.numeric else len(table.header)
    marks = ["---" if k < left else "---:" for k in range(len(table.header))]
    return "\n".join(_line(cells) for cells in (table.header, marks, *table.rows))


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"
