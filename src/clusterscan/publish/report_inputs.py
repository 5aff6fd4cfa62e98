"""The inputs of a run's report and summary: `ReportInputs`, and validation.json as `Scores`.

Only this module knows the keys that `clusterscan.validate` writes. A missing or malformed entry
is read as unknown (NaN, None or an empty list), so that a report can always be written.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from clusterscan.config.model import FUSION
from clusterscan.core import sky
from clusterscan.formats.catalogue_columns import FILTER
from clusterscan.formats.map_tile import tiles_on_disk
from clusterscan.publish.release import Release

RegionOf = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class ReportInputs:
    """All inputs of the report.

    Attributes
    ----------
    root : Path
        The run's output folder, from which maps, tiles and models are read.
    release : Release
        Version, configuration, seed, area, simulated or not.
    title : str
        The run's title.
    config : mapping
        The whole configuration as plain values.
    catalogue : mapping of str to array
        From `clusterscan.publish.catalogue.build_catalogue`.
    models : sequence of (survey, model)
        The scanned models, filters included.
    tiles : sequence of int
        The footprint.
    known, truth : DataFrame or None
        Known clusters and (simulated runs) true clusters: ra_deg, dec_deg, z, m500c_msun ...
    validation, selection : mapping
        Contents of validation.json and selection.json; empty without them.
    costs : sequence of mapping
        Stage, wall_s, cpu_s, peak_mib of each job.
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
        """Name of the objects searched for; a real run may search for anything catalogued."""
        return "cluster" if self.release.simulated else "catalogued object"

    @property
    def surveys(self) -> list[str]:
        """Surveys in the order of the models."""
        return list(dict.fromkeys(survey for survey, _ in self.models if survey != FUSION))

    @property
    def networks(self) -> list[tuple[str, str]]:
        """Survey and name of the models that are networks."""
        return [(survey, model) for survey, model in self.models if model != FILTER]

    def survey_settings(self, survey: str) -> Mapping[str, Any]:
        """Return the configuration of a survey, {} if there is none."""
        return self.config.get("surveys", {}).get(survey, {})

    def map_tiles(self, survey: str, model: str) -> list[int]:
        """Return the footprint's tiles of a map, whose folder may hold more, of a larger one."""
        present = tiles_on_disk(self.map_folder(survey, model), self.release.tile_order)
        return sorted(set(present) & set(self.tiles))

    def in_footprint(self, table: pd.DataFrame) -> pd.DataFrame:
        """Return the rows of a table on the searched tiles, or all rows if no tiles are given."""
        if not len(table) or not self.tiles:
            return table
        ra, dec = (table[c].to_numpy(dtype=float) for c in ("ra_deg", "dec_deg"))
        own = sky.owning_cell(ra, dec, self.release.tile_order)
        return table[np.isin(own, np.asarray(self.tiles))]

    def map_folder(self, survey: str, model: str) -> Path:
        """Return the folder of a map."""
        return self.root / "maps" / survey / model

    def model_folder(self, survey: str, model: str) -> Path:
        """Return the folder of a trained network."""
        return self.root / "models" / f"{survey}-{model}"


Kind = Literal["combined", "network", "filter"]

DEFAULT_THRESHOLD = 0.5
COMBINED, FILTERS = "networks", "filters"  # methods that combine all models of a kind
_ORDER = {"combined": 0, "network": 1, "filter": 2}


@dataclass(frozen=True)
class Fraction:
    """A measured fraction with its interval and the number of trials; NaN if unknown."""

    value: float = np.nan
    low: float = np.nan
    high: float = np.nan
    n: int = 0


@dataclass(frozen=True)
class AtPurity:
    """Completeness at the lowest threshold with a purity; the threshold is NaN if none has it."""

    purity: float
    threshold: float
    completeness: Fraction
    n_objects: int

    @property
    def reached(self) -> bool:
        """Return True if a threshold reaches the purity."""
        return bool(np.isfinite(self.threshold))


@dataclass(frozen=True)
class Binned:
    """A fraction in bins of a column."""

    column: str
    edges: np.ndarray
    fractions: Sequence[Fraction]


@dataclass(frozen=True)
class Finder:
    """A method to find clusters: a network, a filter, or all of a kind combined."""

    name: str
    label: str
    kind: Kind
    completeness: np.ndarray
    purity: np.ndarray
    threshold: float
    at_purity: Sequence[AtPurity] = ()
    completeness_bins: Sequence[Binned] = ()
    purity_bins: Sequence[Binned] = ()
    known: Mapping[str, Fraction] = field(default_factory=dict)
    chance_rate: float = np.nan  # share of candidates that still match when shifted

    @property
    def is_filter(self) -> bool:
        """Return True if the method uses no network."""
        return self.kind == "filter"

    def at(self, purity: float) -> AtPurity | None:
        """Return the entry for a purity, None if it was not measured."""
        return next((a for a in self.at_purity if abs(a.purity - purity) < 1e-6), None)


@dataclass(frozen=True)
class Comparison:
    """Completeness of two finders compared at equal purity."""

    first: str
    second: str
    purity: float
    ratio: float
    difference: Fraction
    p_better: float


@dataclass(frozen=True)
class Scores:
    """The validation as the report and the summary show it."""

    region: str
    n_truth: int | None
    reference_purity: float
    confidence: float
    threshold: float
    finders: Sequence[Finder]
    comparisons: Sequence[Comparison]

    def finder(self, name: str) -> Finder | None:
        """Return a finder by name."""
        return next((f for f in self.finders if f.name == name), None)

    @property
    def combined(self) -> Finder | None:
        """All networks combined."""
        return self.finder(COMBINED)

    @property
    def best_filter(self) -> Finder | None:
        """The filter, or all filters combined, most complete at the reference purity."""

        def reach(finder: Finder) -> float:
            found = finder.at(self.reference_purity)
            return found.completeness.value if found is not None and found.reached else -1.0

        return max((f for f in self.finders if f.is_filter), key=reach, default=None)


def read_scores(validation: Mapping[str, Any], region: str = "test") -> Scores:
    """Read the content of validation.json; {} gives scores without finders."""
    reference = _number(validation.get("reference_purity"), 0.8)
    methods = _mapping(validation.get("methods"))
    finders = [_finder(str(k), _mapping(v)) for k, v in sorted(methods.items())]
    # The combination first, then networks, then filters with their combination first: the order of
    # all legends and tables.
    finders.sort(key=lambda f: (_ORDER[f.kind], f.name != FILTERS, f.name))
    combined = next((f for f in finders if f.name == COMBINED), None)
    threshold = combined.threshold if combined else np.nan
    n_truth = _mapping(validation.get("region")).get("n_completeness")
    return Scores(
        region=region,
        n_truth=None if n_truth is None else int(n_truth),
        reference_purity=reference,
        confidence=_number(validation.get("confidence"), np.nan),
        threshold=threshold if np.isfinite(threshold) else DEFAULT_THRESHOLD,
        finders=finders,
        comparisons=_comparisons(validation.get("comparisons")),
    )


def _finder(name: str, raw: Mapping[str, Any]) -> Finder:
    curve = _mapping(raw.get("curve"))
    completeness, purity = (_numbers(curve.get(key)) for key in ("completeness", "purity"))
    size = min(completeness.size, purity.size)
    bins = _mapping(raw.get("bins"))
    survey, _, model = name.partition("/")
    # "survey/filter" is one survey's plain filter, "filters" their combination.
    kind: Kind = "filter" if FILTER in (model, name.removesuffix("s")) else "network"
    labels = {COMBINED: "all networks", FILTERS: "all filters"}
    return Finder(
        name=name,
        label=labels.get(name, f"{model} on {survey}"),
        kind="combined" if name == COMBINED else kind,
        completeness=completeness[:size],
        purity=purity[:size],
        threshold=_number(_mapping(raw.get("reference")).get("threshold"), np.nan),
        at_purity=[_at_purity(a) for a in _list(raw.get("at_purity"))],
        completeness_bins=[_binned(b) for b in _list(bins.get("completeness"))],
        purity_bins=[_binned(b) for b in _list(bins.get("purity"))],
        known={str(k): _fraction(v) for k, v in sorted(_mapping(raw.get("known")).items())},
        chance_rate=_number(raw.get("chance_rate"), np.nan),
    )


def _at_purity(raw: Mapping[str, Any]) -> AtPurity:
    return AtPurity(
        purity=_number(raw.get("purity"), np.nan),
        threshold=_number(raw.get("threshold"), np.nan),
        completeness=Fraction(
            _number(raw.get("completeness"), np.nan),
            _number(raw.get("completeness_low"), np.nan),
            _number(raw.get("completeness_high"), np.nan),
            int(_number(raw.get("n_truth"), 0)),
        ),
        n_objects=int(_number(raw.get("n"), 0)),
    )


def _binned(raw: Mapping[str, Any]) -> Binned:
    keys = ("value", "low", "high", "n")
    columns = zip(*(_list(raw.get(key), plain=True) for key in keys), strict=False)
    return Binned(
        str(raw.get("column", "")),
        _numbers(raw.get("edges")),
        [_fraction(dict(zip(keys, values, strict=True))) for values in columns],
    )


def _comparisons(raw: Any) -> list[Comparison]:
    return [
        Comparison(
            first=str(each.get("first", "")),
            second=str(each.get("second", "")),
            purity=_number(at.get("purity"), np.nan),
            ratio=_number(each.get("ratio"), np.nan),
            difference=_fraction({**each, "value": each.get("difference")}),
            p_better=_number(each.get("p_better"), np.nan),
        )
        for at in _list(raw)
        for each in _list(at.get("differences"))
    ]


def _fraction(raw: Any) -> Fraction:
    raw = _mapping(raw)
    value, low, high = (_number(raw.get(key), np.nan) for key in ("value", "low", "high"))
    return Fraction(value, low, high, int(_number(raw.get("n"), 0)))


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(value: Any, *, plain: bool = False) -> list[Any]:
    found = value if isinstance(value, list) else []
    return found if plain else [v for v in found if isinstance(v, Mapping)]


def _number(value: Any, otherwise: float) -> float:
    try:
        return otherwise if value is None else float(value)
    except (TypeError, ValueError):
        return otherwise


def _numbers(values: Any) -> np.ndarray:
    return np.array([_number(v, np.nan) for v in _list(values, plain=True)])
