"""The whole configuration as one typed, strict model."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from clusterscan.config.base import Settings
from clusterscan.config.catalogs import CatalogueSettings, UniteSettings
from clusterscan.config.execution import ExecutionSettings
from clusterscan.config.merge import MergeSettings
from clusterscan.config.publish import PublishSettings
from clusterscan.config.scan import DetectSettings, step_fault
from clusterscan.config.searched_sky import SkySettings
from clusterscan.config.simulation import SimulationSettings
from clusterscan.config.survey import (
    FILTER,
    NAME,
    FusionModelSettings,
    ModelSettings,
    SurveySettings,
    shift_fault,
)
from clusterscan.config.train import TrainSettings
from clusterscan.config.validation import SelectionSettings, SzSignal, ValidateSettings
from clusterscan.core import sky
from clusterscan.formats.catalogue_columns import catalogue_columns

__all__ = [
    "FILTER", "FUSION", "Config", "ExecutionSettings", "FusionModelSettings", "ModelSettings",
    "SurveySettings",
]  # fmt: skip

FUSION = "fusion"
"""Stands in place of the survey, in paths and pairs, for networks of several surveys."""

_NOT_FOR_RUNS = frozenset(
    (".git", "benchmarks", "docs", "envs", "profiles", "resources", "src", "tests", "workflow")
)
_MAX_TILE_SIDE_PX = 65_536  # a band of this size is 16 GiB


def _relative_and_inside(path: str) -> str:
    if path.startswith("~"):
        raise ValueError("'~' is not expanded; write the folder's path")
    if any(part == ".." for part in path.split("/")):
        raise ValueError("give a folder without '..'")
    if any(c in "{}" or not c.isprintable() for c in path):
        raise ValueError("Snakemake reads braces as wildcards: name a folder without { or }")
    if path.startswith("-"):
        raise ValueError("give a folder that does not begin with '-', which marks options")
    if not path.strip("./ "):
        raise ValueError("name a folder of its own, such as results")
    first = next(part for part in path.split("/") if part != ".")
    if first in _NOT_FOR_RUNS:
        raise ValueError(
            f"{first} holds the project's own files; name a folder of its own, such as results"
        )
    return path.rstrip("/")


class Config(Settings):
    """One run of clusterscan."""

    title: str = Field("clusterscan", description="Heading of the report.")
    output: Annotated[str, AfterValidator(_relative_and_inside)] = Field(
        "results", min_length=1, description="Folder that the run writes to."
    )
    seed: int = Field(
        1,
        ge=0,
        lt=2**31,
        description="Seed of the simulated sky and of all random draws outside the training.",
    )
    sky: SkySettings = Field(
        description="How the sky is cut, what is searched, and what is held out of the training."
    )
    simulation: SimulationSettings = Field(
        SimulationSettings(), description="The simulated sky; unused if no source is simulated."
    )
    surveys: dict[Annotated[str, Field(pattern=NAME)], SurveySettings] = Field(
        min_length=1, description="Surveys by name."
    )
    fusions: dict[Annotated[str, Field(pattern=NAME)], FusionModelSettings] = Field(
        {},
        description="Networks of several surveys by name; each survey keeps its own pixel scale.",
    )
    catalogs: tuple[CatalogueSettings, ...] = Field(
        min_length=1, description="Reference catalogues."
    )
    known: UniteSettings = Field(
        UniteSettings(), description="Which entries of the known catalogues are one cluster."
    )
    detect: DetectSettings = Field(
        DetectSettings(), description="How peaks of the maps become candidates."
    )
    merge: MergeSettings = Field(
        MergeSettings(), description="How candidates become objects with a probability."
    )
    validate_: ValidateSettings = Field(
        ValidateSettings(),
        alias="validate",
        description="How completeness and purity are measured.",
    )
    selection: SelectionSettings = Field(
        SelectionSettings(), description="How the selection function is measured."
    )
    publish: PublishSettings = Field(
        PublishSettings(), description="How the products are published."
    )
    execution: ExecutionSettings = Field(
        ExecutionSettings(), description="How jobs run; nothing here changes a result."
    )

    @model_validator(mode="after")
    def _names_are_unique(self):
        names = [c.name for c in self.catalogs]
        again = sorted({n for n in names if names.count(n) > 1})
        if again:
            raise ValueError(
                f"catalogs: {again} are used more than once; give each catalogue its own name"
            )
        if not self.catalogue_names("known"):
            raise ValueError("catalogs: none has role 'known', so nothing labels the training")
        return self

    # Checks across sections. A message begins with the key that it is about, so that the error can
    # name the line of that key.
    @model_validator(mode="after")
    def _named_catalogues_exist(self):
        known = self.catalogue_names("known")
        for name, survey in self.surveys.items():
            wanted = getattr(survey.sample, "catalogues", None) or ()
            if missing := sorted(set(wanted) - set(known)):
                raise ValueError(
                    f"surveys.{name}.sample.catalogues: {missing} are not catalogues of "
                    f"role 'known'; choose from {known}"
                )
            listed = getattr(survey.sample, "listed", None)
            if listed is not None and listed.catalogue not in known:
                raise ValueError(
                    f"surveys.{name}.sample.listed.catalogue: {listed.catalogue!r} is not a known "
                    f"catalogue; choose from {known}"
                )
        return self

    # A pixel size in wrong units would ask for an image of terabytes, or of less than a pixel.
    @model_validator(mode="after")
    def _pixels_are_small_parts_of_tiles(self):
        tile_arcsec = 3600.0 * sky.cell_area_deg2(self.sky.tile_order) ** 0.5
        for name, survey in self.surveys.items():
            width_px = tile_arcsec / survey.pixel_scale_arcsec
            if not 1 <= width_px <= _MAX_TILE_SIDE_PX:
                raise ValueError(
                    f"surveys.{name}.pixel_scale_arcsec: tiles of order {self.sky.tile_order} "
                    f"would be {width_px:.3g} pixels wide, and may be 1 to {_MAX_TILE_SIDE_PX}; "
                    "correct it, or choose another sky.tile_order"
                )
        return self

    @model_validator(mode="after")
    def _fusions_fit_their_surveys(self):
        if FUSION in self.surveys:
            raise ValueError(
                f"surveys: {FUSION!r} is reserved for networks of several surveys; rename it"
            )
        if FILTER in self.fusions:
            raise ValueError(f"fusions: {FILTER!r} is reserved for the plain filter; rename it")
        for name, fusion in self.fusions.items():
            where = f"fusions.{name}.network"
            if fusion.network.classes != 1:
                raise ValueError(f"{where}.classes: a network that scans has one logit; give 1")
            if fusion.train.normalisation.background != "kept":
                raise ValueError(
                    f"fusions.{name}.train.normalisation.background: a network that scans tiles "
                    "needs 'kept'"
                )
            if unknown := sorted(set(fusion.network.branches) - set(self.surveys)):
                raise ValueError(
                    f"{where}.branches: {unknown[0]!r} is not a survey; choose from "
                    f"{list(self.surveys)}"
                )
            # Shifts are in pixels of the alphabetically first survey, as in the training.
            first = self.surveys[min(fusion.network.branches)].tile_pixel_scale_arcsec
            for survey, branch in fusion.network.branches.items():
                most = self.surveys[survey].sample.size_px
                if branch.size_px > most:
                    raise ValueError(
                        f"{where}.branches.{survey}.size_px = {branch.size_px} is larger than the "
                        f"examples, surveys.{survey}.sample.size_px = {most}; raise the latter"
                    )
                scan, place = self.surveys[survey].scan, f"{where}.branches.{survey}"
                if fault := step_fault(scan, branch, place):
                    raise ValueError(f"surveys.{survey}.{fault}")
                scale = first / self.surveys[survey].tile_pixel_scale_arcsec
                if fault := shift_fault(fusion.train, branch.size_px, scale):
                    raise ValueError(f"fusions.{name}, branch {survey}: {fault}")
        return self

    # Where the coarse scan shows nothing there are no fine values, so it must reach below every
    # value that detection keeps.
    @model_validator(mode="after")
    def _coarse_looks_lose_no_candidate(self):
        least = self.detect.min_probability
        for name, survey in self.surveys.items():
            scan = survey.scan
            if scan.coarse_step_px is not None and scan.coarse_probability > least:
                raise ValueError(
                    f"surveys.{name}.scan.coarse_probability = {scan.coarse_probability:g} is "
                    f"above detect.min_probability = {least:g}: candidates would be lost; "
                    "lower it"
                )
        return self

    @model_validator(mode="after")
    def _columns_are_unique(self):
        simulated = self.is_simulated and bool(self.catalogue_names("truth"))
        # The publish stage would notice a clash too, but only at the end of the run.
        catalogue_columns(self.scanned(), self.catalogue_names("known"), simulated=simulated)
        return self

    @model_validator(mode="after")
    def _signals_name_surveys(self):
        if unknown := sorted(set(self.selection.signals) - set(self.surveys)):
            raise ValueError(
                f"selection.signals: {unknown} are not surveys; choose from {list(self.surveys)}"
            )
        for name, signal in self.selection.signals.items():
            bands = len(self.surveys[name].bands)
            if isinstance(signal, SzSignal):
                given = {len(signal.frequencies_ghz), len(signal.beam_fwhm_arcmin)}
                if given != {bands}:
                    raise ValueError(
                        f"selection.signals.{name}: give a frequency and a beam for each of the "
                        f"{bands} bands"
                    )
                if self.surveys[name].unit != "uK_CMB":
                    raise ValueError(
                        f"selection.signals.{name}: an SZ signal is in uK_CMB, but the unit of "
                        f"the survey is {self.surveys[name].unit}; choose another signal or "
                        "that unit"
                    )
            elif self.surveys[name].bands != ("W1", "W2"):
                raise ValueError(
                    f"selection.signals.{name}: galaxies are for bands W1 and W2, not "
                    f"{list(self.surveys[name].bands)}"
                )
        return self

    @property
    def is_simulated(self) -> bool:
        """True if any survey is simulated."""
        return any(s.source.kind == "simulated" for s in self.surveys.values())

    def catalogue_names(self, role: str) -> list[str]:
        """Return the names of the catalogues of a role, sorted."""
        return sorted(c.name for c in self.catalogs if c.role == role)

    def reference_catalogues(self) -> list[str]:
        """Return the names of the catalogues that calibrate the probability."""
        truths = self.catalogue_names("truth")
        if truths and self.merge.calibration.reference == "truth":
            return truths
        return self.catalogue_names("known")

    def catalogue(self, name: str) -> CatalogueSettings:
        """Return the settings of a catalogue."""
        return next(c for c in self.catalogs if c.name == name)

    def scanned(self) -> list[tuple[str, str]]:
        """Return (survey, model) of every map: all networks and the plain filter of each survey.

        Networks of several surveys come last, with `FUSION` in place of the survey.
        """
        alone = [
            (name, model)
            for name, survey in self.surveys.items()
            for model in [*survey.models, *([FILTER] if survey.filter else [])]
        ]
        return [*alone, *((FUSION, name) for name in self.fusions)]

    # Fusions read several surveys; everything else reads one.
    def surveys_of(self, survey: str, model: str) -> list[str]:
        """Return the sorted surveys whose images a model of `scanned` reads."""
        return sorted(self.fusions[model].network.branches) if survey == FUSION else [survey]

    def train_settings(self, survey: str, model: str) -> TrainSettings:
        """Return the training settings of a network of `scanned`."""
        if survey == FUSION:
            return self.fusions[model].train
        return self.surveys[survey].models[model].train
