"""Settings of labels: how each object of a table gets its class."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field, model_validator

from clusterscan.config.base import Settings
from clusterscan.config.catalogs import GenericCatalogue, PublishedCatalogue

Value = int | float | str
Catalogue = Annotated[PublishedCatalogue | GenericCatalogue, Field(discriminator="kind")]

RESERVED = ("example_id", "label", "split", "kind", "image", "fold", "group", "class_name")
"""Columns of the examples' own; a label table must not use these names."""


class ClassMap(Settings):
    """Map the classes of a catalogue to fewer, for example seven morphologies to member or not."""

    kind: Literal["classes"]
    column: str = Field("class", description="Column (our name) with the catalogue's classes.")
    classes: dict[str, list[Value]] = Field(
        min_length=2,
        description="Our classes, in the order of their labels 0, 1, ... (of two, the second is "
        "the positive one): the catalogue's classes in each.",
    )
    dropped: list[Value] = Field(
        default_factory=list, description="Classes of the catalogue that are left out."
    )
    others: Literal["error", "drop"] = Field(
        "error", description="Values in neither list stop the run, or their rows are left out."
    )

    @model_validator(mode="after")
    def _each_value_once(self) -> ClassMap:
        values = [v for listed in (*self.classes.values(), self.dropped) for v in listed]
        twice = sorted({str(v) for v in values if values.count(v) > 1})
        if twice:
            raise ValueError(f"values {twice} stand in two classes; give each one place")
        return self


class RedshiftWindows(Settings):
    """Classes from spectroscopic redshifts: stars, members of a cluster, background."""

    kind: Literal["redshift"]
    column: str = Field("redshift", description="Column (our name) with the redshift.")
    windows: dict[str, tuple[float | None, float | None]] = Field(
        min_length=2,
        description="Name of each window: [from, to); null: no limit. Redshifts in no window are "
        "left out.",
    )
    classes: dict[str, list[str]] | None = Field(
        None,
        min_length=2,
        description="Our classes, in the order of their labels: the windows in each; null: each "
        "window is a class.",
    )
    unknown: list[float] = Field(
        default_factory=list, description="Values that stand for no redshift, such as -1 or 99."
    )

    @model_validator(mode="after")
    def _windows_are_disjoint_and_mapped(self) -> RedshiftWindows:
        # Sorted by their lower end, windows overlap only if neighbours do.
        edges = sorted(
            (float("-inf") if low is None else low, float("inf") if high is None else high, name)
            for name, (low, high) in self.windows.items()
        )
        for low, high, name in edges:
            if not low < high:
                raise ValueError(f"window {name} = [{low}, {high}) is empty; its ends must rise")
        for (_, high, name), (low, _, after) in pairwise(edges):
            if low < high:
                raise ValueError(f"windows {name} and {after} overlap between {low} and {high}")
        if self.classes is not None:
            listed = [w for windows in self.classes.values() for w in windows]
            unknown = sorted(set(listed) - set(self.windows))
            if unknown:
                raise ValueError(f"classes names {unknown}; windows has {sorted(self.windows)}")
            if len(set(listed)) < len(listed):
                raise ValueError("classes names a window twice")
        return self


class CatalogueMatch(Settings):
    """Two classes: near an entry of a catalogue, or not near any."""

    kind: Literal["match"]
    catalogue: Catalogue = Field(description="The catalogue.")
    radius_arcsec: float = Field(gt=0, description="Largest separation of a match [arcsec].")
    matched: str = Field(description="Name of the class of matched objects (label 1).")
    others: str = Field(description="Name of the class of all others (label 0).")
    one_to_one: bool = Field(
        False, description="Each entry of the catalogue matches its nearest object only."
    )

    @model_validator(mode="after")
    def _two_names(self) -> CatalogueMatch:
        if self.matched == self.others:
            raise ValueError(f"matched and others are both {self.matched!r}; name two classes")
        return self


class ExpertLabels(Settings):
    """Experts' classes of some of the objects that volunteers saw."""

    path: str = Field(description="csv file; may begin with ${CLUSTERSCAN_DATA}.")
    object_id: str = Field(description="Its column with the object, as volunteers' subjects say.")
    column: str = Field(description="Its column with the class.")
    classes: dict[str, list[Value]] | None = Field(
        None, description="The experts' values in each of our classes; null: they are ours."
    )


class VolunteerVotes(Settings):
    """Classes from the votes of volunteers, read from a Zooniverse classification export."""

    kind: Literal["zooniverse"]
    export: str = Field(description="The csv file; may begin with ${CLUSTERSCAN_DATA}.")
    subject_key: str | None = Field(
        None,
        description="Key of the subjects' metadata that holds our object_id; null: the subject's "
        "number is our object_id.",
    )
    workflow_id: int | None = Field(
        None, description="The workflow; needed where the export holds several."
    )
    min_version: str | None = Field(
        None,
        pattern=r"^\d+(\.\d+)?$",
        description="Classifications made with an earlier version of the workflow are left out.",
    )
    task: str | None = Field(
        None, description="Task (such as T1) whose answer counts; null: the last task that has one."
    )
    answers: dict[str, list[str]] = Field(
        min_length=2,
        description="Our classes, in the order of their labels: the answers that mean each.",
    )
    otherwise: str | None = Field(
        None, description="Class of classifications with none of the answers; null: left out."
    )
    anonymous: Literal["keep", "drop"] = Field(
        "keep", description="What happens to votes of visitors who were not logged in."
    )
    live_only: bool = Field(
        False, description="Leave out classifications made before the project was launched."
    )
    experts: ExpertLabels | None = Field(None, description="Needed for weights.")
    weighting: Literal["none", "experts"] = Field(
        "none",
        description="experts: each volunteer counts as often as they agreed with the experts.",
    )
    leave_one_out: bool = Field(
        True,
        description="A volunteer's weight for an object is measured on the others: else experts' "
        "answers on an object choose who is heard on it.",
    )
    least_common: int = Field(
        1, ge=1, description="Volunteers with fewer objects in common get unmeasured_weight."
    )
    unmeasured_weight: float | None = Field(
        None, ge=0, le=1, description="null: the mean agreement of all volunteers."
    )
    min_votes: int = Field(1, ge=1, description="Objects with fewer votes are left out.")
    threshold: float = Field(
        0.5,
        gt=0,
        lt=1,
        description="Of two classes, the second needs at least this fraction of the votes.",
    )

    @model_validator(mode="after")
    def _answers_are_distinct(self) -> VolunteerVotes:
        listed = [a for answers in self.answers.values() for a in answers]
        twice = sorted({a for a in listed if listed.count(a) > 1})
        if twice:
            raise ValueError(f"answers {twice} stand in two classes")
        if self.otherwise is not None and self.otherwise not in self.answers:
            raise ValueError(
                f"otherwise = {self.otherwise!r} is none of the classes {list(self.answers)}"
            )
        if self.weighting == "experts" and self.experts is None:
            raise ValueError("weighting: experts needs the section `experts`")
        return self


LabelRule = Annotated[
    ClassMap | RedshiftWindows | CatalogueMatch | VolunteerVotes, Field(discriminator="kind")
]


class Cut(Settings):
    """Drop rows outside a range of magnitude, colour or any weighted sum of columns."""

    name: str = Field(description="What the cut is for, as counts and messages call it.")
    of: str | dict[str, float] = Field(
        description="A column (our name), or columns with factors: {g: 1, z: -1} is the colour "
        "g - z."
    )
    min: float | None = Field(None, description="Least value that stays.")
    max: float | None = Field(None, description="Largest value that stays.")
    unknown: Literal["drop", "keep"] = Field(
        "drop", description="What happens to rows without a value."
    )

    @model_validator(mode="after")
    def _it_cuts(self) -> Cut:
        if self.min is None and self.max is None:
            raise ValueError(f"cut {self.name!r} has neither min nor max; give one")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"cut {self.name!r}: min = {self.min} > max = {self.max}")
        if not self.of:
            raise ValueError(f"cut {self.name!r} names no column")
        return self

    @property
    def terms(self) -> dict[str, float]:
        """Columns and their factors."""
        return {self.of: 1.0} if isinstance(self.of, str) else self.of


class Attached(Settings):
    """Add columns of another catalogue to the objects by position, closest pairs first."""

    catalogue: Catalogue = Field(description="The catalogue.")
    radius_arcsec: float = Field(gt=0, description="Largest separation [arcsec].")
    columns: dict[str, str] = Field(
        min_length=1, description="Our column -> the catalogue's (as clusterscan calls it)."
    )


class LabelSettings(Settings):
    """A table with one row per stamp, its cuts, and the rule that gives each row its class."""

    path: str = Field(description="The table; may begin with ${CLUSTERSCAN_DATA}.")
    format: Literal["csv", "fits", "parquet", "votable"] = Field("csv", description="Its format.")
    delimiter: str = Field(",", min_length=1, max_length=1, description="Of a csv file.")
    comment: str | None = Field(
        None, min_length=1, max_length=1, description="Lines of a csv beginning so are skipped."
    )
    columns: dict[str, str] = Field(
        description="Our column -> the table's: object_id and member (the stamp's file) are "
        "needed; ra_deg and dec_deg where known; all others are kept with the examples."
    )
    bad_rows: Literal["error", "drop"] = Field(
        "error", description="Rows with impossible positions stop the run, or are left out."
    )
    attach: list[Attached] = Field(
        default_factory=list, description="Further columns, from catalogues by position."
    )
    cuts: list[Cut] = Field(default_factory=list, description="Applied in this order.")
    rule: LabelRule = Field(description="What gives each object its class.")

    @model_validator(mode="after")
    def _columns_are_complete(self) -> LabelSettings:
        missing = {"object_id", "member"} - set(self.columns)
        if missing:
            raise ValueError(f"columns lacks {sorted(missing)}")
        if ("ra_deg" in self.columns) != ("dec_deg" in self.columns):
            raise ValueError("columns has one of ra_deg and dec_deg; give both or none")
        taken = sorted(set(self._named()) & set(RESERVED))
        if taken:
            raise ValueError(f"columns {taken} are clusterscan's own; call yours otherwise")
        return self

    def _named(self) -> list[str]:
        return [*self.columns, *(name for extra in self.attach for name in extra.columns)]
