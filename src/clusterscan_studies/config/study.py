"""Settings of a study: data sets, networks, experiments, and the figures of the paper.

The file's `quick` section overrides the rest in the reduced form; see
`clusterscan_studies.config.load`.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from clusterscan.config.base import Settings
from clusterscan.config.networks import FusionSettings, NetworkSettings
from clusterscan.config.train import TrainSettings
from clusterscan_studies.colour_magnitude import RedSequence
from clusterscan_studies.config.extras import ExtraSettings
from clusterscan_studies.config.stamp_data import StampDataset

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_]+$")]
Figure = float | tuple[float, float]
"""A published figure, or the figure and its standard deviation."""

_OF_A_CLASS = (
    "precision", "recall", "f1", "f_beta", "fall_out", "roc_auc", "average_precision",
)  # fmt: skip
MEASURES = (
    *("accuracy", "balanced_accuracy", "brier", "ece"),
    *_OF_A_CLASS,
    *(f"macro_{name}" for name in _OF_A_CLASS),
)
"""Measures for the columns of the table; docs/measures.md defines them."""
_MEASURES_TEXT = ", ".join(MEASURES)


class Paper(Settings):
    """The publication that a study repeats."""

    authors: str = Field(description="authors")
    year: int = Field(ge=1900, le=2200, description="year")
    title: str = Field(description="title")
    reference: str = Field(description="journal and page, or where it was presented")


class RunDataset(Settings):
    """Labelled examples of an ordinary clusterscan run; the study runs it that far."""

    kind: Literal["run"]
    title: str = Field(description="name for people")
    config: str = Field(
        description="The run's configuration; relative paths start at the project's folder."
    )
    changes: dict[str, Any] = Field(
        default_factory=dict,
        description="Settings laid over it; they must then name an `output` of their own.",
    )
    surveys: tuple[str, ...] = Field(min_length=1, description="the run's surveys to use")
    stack: bool = Field(
        False,
        description="Join the surveys' bands into one image (same size and scale) rather than "
        "keep a view each, which a fusion network takes.",
    )
    classes: tuple[str, ...] = Field(
        ("other", "cluster"), min_length=2, description="names of the labels 0, 1, ..."
    )
    kinds: tuple[str, ...] | None = Field(
        None, description="Keep only examples of these kinds (known, random, star ...); all."
    )

    @model_validator(mode="after")
    def _changed_runs_have_their_own_folder(self) -> RunDataset:
        if self.changes and "output" not in self.changes:
            raise ValueError(
                "changes: these make another run of it, which needs a folder of its own; "
                "add `output` to them"
            )
        if self.stack and len(self.surveys) < 2:
            raise ValueError("stack: there is one survey alone; name more, or leave stack out")
        return self


DatasetSettings = Annotated[StampDataset | RunDataset, Field(discriminator="kind")]


class ExperimentSettings(Settings):
    """One row of the table: a network trained on a data set, once or several times."""

    title: str = Field(description="name for people")
    dataset: str = Field(description="the data set's name")
    network: str | None = Field(None, description="the network's name in `networks`")
    fusion: FusionSettings | None = Field(
        None, description="instead: a network of several surveys' views"
    )
    size_px: int | None = Field(
        None, ge=8, description="Crop size in place of the network's own [px]."
    )
    classes: dict[str, tuple[str, ...]] | None = Field(
        None,
        min_length=2,
        description="This experiment's classes, in the order of their labels: the data set's "
        "classes in each. Examples of others are left out. null: as in the data set.",
    )
    bands: tuple[str, ...] | None = Field(None, description="Use these bands alone; null: all.")
    grey: bool = Field(False, description="Use the mean of the bands in place of them.")
    train: TrainSettings = Field(
        TrainSettings(), description="What differs from the study's `train`; the rest is as there."
    )
    start_from: str | None = Field(
        None,
        description="Start from the weights, but the head, of this experiment's same repeat (its "
        "repeats in turn where it has fewer).",
    )
    folded: bool = Field(
        True,
        description="With the study's `folds`: train once for each. false: once, on the data set's "
        "own split. A body for others may be so if none of their objects are among its examples.",
    )
    test_on: str | None = Field(
        None, description="Measure on this data set's test part, not on the own data set's."
    )
    repeats: int | None = Field(None, ge=1, le=1000, description="As the study's; null: those.")
    published: dict[str, Figure] = Field(
        default_factory=dict,
        description="Measure -> the paper's value, or [value, standard deviation].",
    )
    auxiliary: bool = Field(
        False, description="Only there for others to start from: in the table's second part."
    )

    @model_validator(mode="after")
    def _makes_sense(self) -> ExperimentSettings:
        if (self.network is None) == (self.fusion is None):
            raise ValueError("give either `network`, a name in `networks`, or `fusion`")
        if self.bands is not None and len(self.bands) == 0:
            raise ValueError("bands: names none; name at least one, or leave bands out")
        listed = [name for names in (self.classes or {}).values() for name in names]
        if len(set(listed)) < len(listed):
            raise ValueError("classes: a class of the data set stands twice; give each one place")
        if unknown := sorted(set(self.published) - set(MEASURES)):
            raise ValueError(
                f"published: {unknown} are no measures; there are {', '.join(MEASURES)}"
            )
        return self


class ColourMagnitude(Settings):
    """Regions of the colour-magnitude diagram: red sequence, blue cloud and green valley."""

    colour: dict[str, float] = Field(
        min_length=1, description="Columns with factors: {g: 1, z: -1} is the colour g - z."
    )
    magnitude: str = Field(description="column of the magnitude")
    sequence: RedSequence = Field(description="the red sequence")


class RecallBy(Settings):
    """A plot of recall against a column of the examples, or by regions of colour."""

    column: str | None = Field(None, description="the examples' column, such as redshift")
    regions: ColourMagnitude | None = Field(None, description="instead: regions of colour")
    title: str = Field(description="its name for people")
    edges: tuple[float, ...] | None = Field(None, description="bin edges; none: categories")

    @model_validator(mode="after")
    def _edges_rise(self) -> RecallBy:
        if (self.column is None) == (self.regions is None):
            raise ValueError("give either `column` or `regions`")
        if self.edges is not None and (
            len(self.edges) < 2 or any(a >= b for a, b in pairwise(self.edges))
        ):
            raise ValueError(f"edges = {list(self.edges)} must rise, and be two at least")
        return self


class FoldSettings(Settings):
    """k-fold cross-validation: each fold tests once, the next one validates, the rest trains."""

    folds: int = Field(5, ge=3, le=100, description="number of folds")
    radius_arcmin: float = Field(
        1.0, ge=0, description="Objects this near to each other share a fold [arcmin]."
    )
    order: int | None = Field(
        None, ge=0, le=20, description="HEALPix order of cells that stay whole; null: objects."
    )


class Gap(Settings):
    """The reason why figures differ from the published ones."""

    experiments: tuple[str, ...] | None = Field(None, description="of these; null: of all")
    text: str = Field(min_length=1, description="the explanation")


class GallerySettings(Settings):
    """The most confident right and wrong answers of some networks, as images."""

    experiments: tuple[str, ...] | None = Field(
        None, description="of these; null: of each data set's most accurate"
    )
    per_kind: int = Field(6, ge=0, le=50, description="examples of each kind")


class Study(Settings):
    """A published study, repeated."""

    title: str = Field(description="what the study is")
    about: str = Field(description="what is done, in a few sentences")
    paper: Paper = Field(description="the publication that it repeats")
    simulated: bool = Field(description="whether any of its images are simulated")
    data_note: str = Field(description="what the data are: real, simulated, fewer than published")
    datasets: dict[Name, DatasetSettings] = Field(min_length=1, description="data sets by name")
    networks: dict[Name, NetworkSettings] = Field(
        default_factory=dict, description="networks by name"
    )
    train: TrainSettings = Field(TrainSettings(), description="training, where not said otherwise")
    experiments: dict[Name, ExperimentSettings] = Field(
        min_length=1, description="experiments by name, in the table's order"
    )
    repeats: int = Field(1, ge=1, le=1000, description="trainings of each experiment")
    seed: int = Field(1, ge=0, lt=2**31 - 1000, description="seed of the first; then +1 each")
    folds: FoldSettings | None = Field(
        None, description="Cross-validate by parts of the sky in place of the data's own split."
    )
    measures: tuple[str, ...] = Field(
        ("accuracy", "precision", "recall", "f1", "roc_auc"),
        min_length=1,
        description="the table's columns",
    )
    bootstrap: int = Field(1000, ge=10, le=100_000, description="resamplings for the intervals")
    recall_by: tuple[RecallBy, ...] = Field((), description="plots of recall against columns")
    gaps: tuple[Gap, ...] = Field((), description="why figures differ from the published ones")
    extras: ExtraSettings = Field(ExtraSettings(), description="pictures of this study alone")
    gallery: GallerySettings = Field(GallerySettings(), description="examples shown as images")
    gpus_per_job: int = Field(0, ge=0, description="GPUs that an experiment asks for (resource)")

    @model_validator(mode="after")
    def _names_lead_somewhere(self) -> Study:
        for key, experiment in self.experiments.items():
            where = f"experiments.{key}"
            _known(f"{where}.dataset", experiment.dataset, self.datasets)
            _known(f"{where}.test_on", experiment.test_on, self.datasets)
            _known(f"{where}.network", experiment.network, self.networks)
            _known(f"{where}.start_from", experiment.start_from, self.experiments)
        for name in self.gallery.experiments or ():
            _known("gallery.experiments", name, self.experiments)
        for dataset in self.extras.probability_maps:
            at = f"extras.probability_maps.{dataset}"
            _known(at, dataset, self.datasets)
            if not isinstance(self.datasets[dataset], RunDataset):
                raise ValueError(f"{at}: a data set of stamps has no tile images to map")
        for extra in self.extras.names():
            for name in self.extras.experiments(extra):
                _known(f"extras.{extra}", name, self.experiments)
        for number, gap in enumerate(self.gaps):
            for name in gap.experiments or ():
                _known(f"gaps[{number}].experiments", name, self.experiments)
        if unknown := sorted(set(self.measures) - set(MEASURES)):
            raise ValueError(f"measures: {unknown} are none; there are {', '.join(MEASURES)}")
        return self

    @model_validator(mode="after")
    def _starts_lead_nowhere_back(self) -> Study:
        for key in self.experiments:
            seen, at = [key], self.experiments[key].start_from
            # Follow each chain of starting weights to its end; meeting an experiment again means a
            # circle, for which Snakemake's message would be hard to read.
            while at is not None:
                if at in seen:
                    raise ValueError(
                        f"experiments.{key}.start_from: leads back to itself "
                        f"({' -> '.join([*seen, at])}); let one of them start afresh"
                    )
                seen.append(at)
                at = self.experiments[at].start_from
        return self

    @model_validator(mode="after")
    def _settings_fit_together(self) -> Study:
        for key in self.experiments:
            for what, build in (("train", self.training), ("size_px", self.network)):
                try:
                    build(key)
                except ValidationError as error:
                    faults = [f["msg"].removeprefix("Value error, ") for f in error.errors()]
                    raise ValueError(f"experiments.{key}.{what}: {'; '.join(faults)}") from error
        return self

    def training(self, key: str) -> TrainSettings:
        """Return an experiment's training settings: the study's, with the experiment's changes."""
        from clusterscan.config.load import merge

        # Only what is set is merged: a default of the experiment must not override a value of the
        # study.
        values = self.train.model_dump(exclude_unset=True)
        merge(values, self.experiments[key].train.model_dump(exclude_unset=True))
        return TrainSettings.model_validate(values)

    def network(self, key: str) -> NetworkSettings | FusionSettings:
        """Return an experiment's network."""
        experiment = self.experiments[key]
        if experiment.fusion is not None:
            return experiment.fusion
        assert experiment.network is not None  # checked above
        settings = self.networks[experiment.network]
        if experiment.size_px is None:
            return settings
        values = settings.model_dump(exclude_unset=True) | {"size_px": experiment.size_px}
        if settings.form == "whole":
            values.pop("window_px", None)  # it is the crop's, and was filled in
        return NetworkSettings.model_validate(values)

    def survey(self, key: str) -> str:
        """Return the title of an experiment's data set; empty if the study has only one."""
        experiment = self.experiments[key]
        if len({e.dataset for e in self.experiments.values() if not e.auxiliary}) < 2:
            return ""
        return getattr(self.datasets[experiment.dataset], "title", experiment.dataset)

    def folds_of(self, key: str) -> FoldSettings | None:
        """Return the cross-validation of an experiment, or None."""
        return self.folds if self.experiments[key].folded else None

    def repeats_of(self, key: str) -> int:
        """Return the number of trainings of an experiment (in each fold)."""
        return self.experiments[key].repeats or self.repeats


def _known(where: str, name: str | None, names: Any) -> None:
    if name is not None and name not in names:
        there = ", ".join(names) or "none at all"
        raise ValueError(f"{where}: {name!r} is not there; there are: {there}")
