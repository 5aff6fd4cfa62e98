"""A report as one self-contained HTML page, readable offline and on a phone, or as Markdown.

Runs and studies build a `Document` from the pieces defined here: sections with text, pictures,
tables, cards and folded details. Only this module knows the template and the style sheet. All text
is escaped, and equal documents always give equal bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from clusterscan import __version__
from clusterscan.core.atomic import atomic_path


@dataclass(frozen=True)
class Picture:
    """An image as a data URI, with a description for readers who cannot see it."""

    uri: str
    alt: str
    caption: str = ""
    wide: bool = False


@dataclass(frozen=True)
class Table:
    """A table of formatted text; in a numeric table all columns but the first align right."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""
    numeric: bool = True


@dataclass(frozen=True)
class Card:
    """One object of a gallery; a badge is a word that the style sheet may colour."""

    title: str
    badges: Sequence[str]
    facts: str
    pictures: Sequence[Picture]


@dataclass(frozen=True)
class Group:
    """Gallery cards of one kind."""

    title: str
    lead: str
    cards: Sequence[Card]


@dataclass(frozen=True)
class Details:
    """A part of a section that opens on a click: pictures, or preformatted text."""

    summary: str
    lead: str = ""
    pictures: Sequence[Picture] = ()
    text: str = ""
    is_open: bool = False


@dataclass(frozen=True)
class Section:
    """One section; a document leaves out sections with nothing to show."""

    key: str
    title: str
    lead: str = ""
    pictures: Sequence[Picture] = ()
    tables: Sequence[Table] = ()
    groups: Sequence[Group] = ()
    notes: Sequence[str] = ()
    details: Sequence[Details] = ()
    is_warning: bool = False

    @property
    def is_empty(self) -> bool:
        """Return True if there is nothing to show except perhaps notes."""
        return not (self.pictures or self.tables or self.groups or self.details)


@dataclass(frozen=True)
class Banner:
    """A coloured line above the title; ``link`` is the key of a section and the text of a link."""

    kind: str  # simulated, observed or reduced
    label: str
    text: str
    link: tuple[str, str] | None = None


@dataclass(frozen=True)
class HeadlineFigure:
    """One figure at the top of a page: a value, its name, and a note."""

    value: str
    label: str
    note: str = ""


@dataclass(frozen=True)
class Document:
    """A whole page.

    Attributes
    ----------
    title : str
    kicker : str
        Small line above the title, such as the version and the configuration.
    banners : sequence of Banner
    leads : sequence of str
        Paragraphs below the title.
    headline : sequence of HeadlineFigure
    sections : sequence of Section
    footer : str
    """

    title: str
    kicker: str = ""
    banners: Sequence[Banner] = ()
    leads: Sequence[str] = ()
    headline: Sequence[HeadlineFigure] = ()
    sections: Sequence[Section] = ()
    footer: str = ""

    @property
    def shown_sections(self) -> list[Section]:
        """Sections that have something to show or a note."""
        return [section for section in self.sections if section.notes or not section.is_empty]


def to_html(document: Document) -> str:
    """Return the document as an HTML page that needs no other file."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("clusterscan.report", "templates"),
        autoescape=True,  # names come from catalogues that others wrote
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    template = environment.get_template("document.html.j2")
    return template.render(document=document, version=__version__)


def to_markdown(document: Document, keys: Sequence[str]) -> str:
    """Return title, leads and the tables and notes of some sections as Markdown."""
    blocks = [f"# {document.title}"]
    blocks += [f"**{banner.label}.** {banner.text}" for banner in document.banners]
    blocks += document.leads
    for section in document.shown_sections:
        if section.key in keys and (section.tables or section.notes):
            blocks += [f"## {section.title}", section.lead, *section.notes]
            for table in section.tables:
                if table.caption:
                    blocks.append(f"{table.caption.rstrip('.')}:")
                first = 1 if table.numeric else len(table.header)
                blocks.append(pipe_table(table.header, table.rows, left_columns=first))
    return "\n\n".join(block.strip() for block in blocks if block) + "\n"


def pipe_table(header: Sequence[str], rows: Iterable[Sequence[str]], *, left_columns: int) -> str:
    """Return a Markdown table; all columns after the first ``left_columns`` align right."""

    def line(cells: Sequence[str]) -> str:
        escaped = (c.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ") for c in cells)
        return f"| {' | '.join(escaped)} |"

    # In Markdown a colon after the dashes aligns a column right.
    marks = ["---" if k < left_columns else "---:" for k in range(len(header))]
    return "\n".join(line(cells) for cells in (header, marks, *rows))


def write_text(path: Path, text: str) -> None:
    """Write a page, replacing the file atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
