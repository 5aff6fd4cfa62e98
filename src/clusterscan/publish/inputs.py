"""What the report is made from, and the pieces it is made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from clusterscan.config.model import FUSION
from clusterscan.publish.release import Release

RegionOf = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class ReportInputs:
    """All that the report shows; the publish script assembles it.

    Attributes
    ----------
    root : Path
        The run's output folder: maps, tiles and models are read from it.
    release : Release
        Version, configuration, seed, area, simulated or not.
    title : str
        The run's title.
    config : mapping
        The whole configuration as plain values.
    catalogue : mapping of str to array
        From `clusterscan.publish.catalogue.build_catalogue`.
    models : sequence of (survey, model)
        What was scanned, filters included.
    tiles : sequence of int
        The footprint.
    known, truth : DataFrame or None
        Known clusters and (simulated runs) true clusters: ra_deg, dec_deg, z, m500c_msun ...
    validation : mapping
        validation.json; empty where there was no validation.
    selection : mapping
        selection.json; empty where there is none.
    costs : sequence of mapping
        Each job's stage, wall_s, cpu_s, peak_mib.
    problems : sequence of mapping
        Failed and partial tiles: stage, key, tile, status, reason.
    versions : mapping of str to str
        Versions of the software.
    region_of : callable or None
        (ra_deg, dec_deg) -> 'train', 'validation' or 'test'.
    """

    root: Path
    release: Release
    title: str
    config: Mapping[str, Any]
    catalogue: Mapping[str, np.ndarray]
    models: Sequence[tuple[str, str]]
    tiles: Sequence[int] = ()
    known: pd.DataFrame | None = None
    truth: pd.DataFrame | None = None
    validation: Mapping[str, Any] = field(default_factory=dict)
    selection: Mapping[str, Any] = field(default_factory=dict)
    costs: Sequence[Mapping[str, Any]] = ()
    problems: Sequence[Mapping[str, Any]] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    region_of: RegionOf | None = None

    @property
    def noun(self) -> str:
        """What is looked for: real runs may look for anything that a catalogue lists."""
        return "cluster" if self.release.simulated else "catalogued object"

    @property
    def surveys(self) -> list[str]:
        """Surveys, in the models' order."""
        return list(dict.fromkeys(survey for survey, _ in self.models if survey != FUSION))

    def survey_settings(self, survey: str) -> Mapping[str, Any]:
        """Return a survey's part of the configuration, {} where there is none."""
        return self.config.get("surveys", {}).get(survey, {})

    def map_folder(self, survey: str, model: str) -> Path:
        """Return the folder of a map."""
        return self.root / "maps" / survey / model


@dataclass(frozen=True)
class Picture:
    """An image as a data URI, with its text for those who cannot see it."""

    uri: str
    alt: str
    caption: str = ""
    wide: bool = False


@dataclass(frozen=True)
class Table:
    """A table of plain text cells; numbers are already formatted."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""
    numeric: bool = True


@dataclass(frozen=True)
class Card:
    """One object of the gallery."""

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
class Section:
    """One section of the report; what is empty is left out."""

    key: str
    title: str
    lead: str = ""
    pictures: Sequence[Picture] = ()
    tables: Sequence[Table] = ()
    groups: Sequence[Group] = ()
    notes: Sequence[str] = ()

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to show but perhaps notes."""
        return not (self.pictures or self.tables or self.groups)
