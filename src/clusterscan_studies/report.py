"""report.html of a study: one self-contained page, readable offline and on a phone."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from clusterscan import __version__
from clusterscan.core.atomic import atomic_path
from clusterscan.publish.inputs import Picture, Section
from clusterscan_studies.figures import Drawn


@dataclass(frozen=True)
class Part:
    """One experiment's part of the page."""

    title: str
    facts: str
    pictures: Sequence[Picture]


@dataclass(frozen=True)
class Page:
    """All that the page shows.

    Attributes
    ----------
    name : str
        The study's name.
    study : mapping
        Its settings as plain values.
    quick : bool
        Whether this is the reduced form.
    reduced : sequence of (key, full, reduced)
        What that form changes.
    sections : sequence of Section
        Sections; empty ones without a note are left out.
    experiments : sequence of Part
        The experiments' figures.
    """

    name: str
    study: Mapping[str, Any]
    quick: bool
    reduced: Sequence[Sequence[str]]
    sections: Sequence[Section]
    experiments: Sequence[Part]


def write_page(path: Path, page: Page) -> None:
    """Write the page, replacing the file atomically."""
    from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

    packages = ("clusterscan_studies", "clusterscan.publish")
    loaders = [PackageLoader(name, "templates") for name in packages]
    environment = Environment(
        loader=ChoiceLoader(loaders),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    text = environment.get_template("study.html.j2").render(
        version=__version__,
        name=page.name,
        study=page.study,
        quick=page.quick,
        reduced=page.reduced,
        sections=[s for s in page.sections if not s.is_empty or s.notes],
        experiments=page.experiments,
        settings_text=yaml.safe_dump(dict(page.study), sort_keys=False, allow_unicode=True),
    )
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def embedded(drawn: Drawn, colours: int = 128) -> Picture:
    """Return a figure's PNG as a picture inside the page, with a palette: a third of the size."""
    from PIL import Image

    with Image.open(drawn.file) as image:
        shown = image.convert("RGB")
    buffer = io.BytesIO()
    small = shown.quantize(colours, kmeans=1, dither=Image.Dither.NONE)
    small.save(buffer, "PNG", optimize=True)
    uri = f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
    return Picture(uri, drawn.alt, drawn.caption, drawn.wide)
