"""The part of the configuration that each stage sees: its own settings, as typed models.

A job's settings have three parts. ``stage`` and ``version`` determine the result and go into the
fingerprints of its tiles. ``sky`` says how the sky is cut, for stages that work on its parts. How
jobs run (workers, read-ahead, downloads) is in none of them. So changing a setting of one stage
never reruns an earlier stage, and changing how jobs run reruns nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

import numpy as np
from pydantic import Field, field_serializer

from clusterscan.config.base import Settings
from clusterscan.config.catalogs import CatalogueSettings, UniteSettings
from clusterscan.config.image_sources import SourceSettings
from clusterscan.config.merge import MergeSettings
from clusterscan.config.model import FILTER, FUSION, Config
from clusterscan.config.networks import FusionSettings, NetworkSettings
from clusterscan.config.preprocess import PreprocessSettings
from clusterscan.config.sample import SampleSettings
from clusterscan.config.scan import DetectSettings, FilterSettings, ScanSettings
from clusterscan.config.searched_sky import Cells, Footprint, SplitSettings, reads_files
from clusterscan.config.simulation import HaloSettings, SimulationSettings
from clusterscan.config.train import TrainSettings
from clusterscan.config.validation import (
    INJECTED,
    InjectionGrid,
    Range,
    SelectionSettings,
    Signal,
    ValidateSettings,
)  # fmt: skip
from clusterscan.core import sky
from clusterscan.core.atomic import to_json
from clusterscan.core.fingerprint import file_sha256, fingerprint
from clusterscan.flow.footprint import run_blocks, run_tiles
from clusterscan.flow.sky_split import SkySplit
from clusterscan.flow.versions import STAGE_VERSIONS
from clusterscan.formats.image_spec import ImageSpec

Model = tuple[str, str]
"""A map's survey and model; `FUSION` takes the survey's place for several surveys."""


class StageModel(Settings):
    """Base class of the settings that determine the results of one stage."""

    def plain(self) -> dict[str, Any]:
        """Return the settings as JSON-able values, for fingerprints."""
        return self.model_dump(mode="json", by_alias=True)


class FetchStage(StageModel):
    """A survey's raw images; seed and simulation belong to simulated sources."""

    source: SourceSettings
    spec: ImageSpec
    seed: int = 0
    simulation: SimulationSettings | None = None


class SimulatedSky(StageModel):
    """The sky that a simulated catalogue lists."""

    seed: int
    simulation: SimulationSettings
    footprint: Footprint
    tile_order: int


class CatalogueStage(StageModel):
    """One reference catalogue, but for the bytes of its file."""

    catalogue: CatalogueSettings
    simulated: SimulatedSky | None = None


class KnownStage(StageModel):
    """The known catalogues, the most trusted first, and the rule that unites them."""

    catalogues: tuple[str, ...]
    known: UniteSettings


class PreprocessStage(StageModel):
    """A survey's tile images."""

    spec: ImageSpec
    preprocess: PreprocessSettings


class SampleStage(StageModel):
    """A survey's labelled examples."""

    seed: int
    bands: tuple[str, ...]
    pixel_scale_arcsec: float
    regions: SplitSettings
    sample: SampleSettings


class TrainingSetStage(StageModel):
    """All that determines the examples of a survey's training set."""

    survey: str
    tile_order: int
    versions: dict[str, int]
    fetch: FetchStage
    preprocess: PreprocessStage
    sample: SampleStage


class TrainStage(StageModel):
    """One network and its training.

    ``units`` holds the unit of each survey's pixels: one survey, or those of a fusion.
    ``first_weights`` holds the checksums of the files that the network starts from: other weights
    under the same name train it again.
    """

    units: dict[str, str]
    bands: tuple[str, ...] = ()
    pixel_scale_arcsec: float | None = None
    examples: Literal["common", "any"] = "common"
    network: NetworkSettings | FusionSettings
    train: TrainSettings
    first_weights: dict[str, str] = Field(default_factory=dict)


class ScanStage(StageModel):
    """One map: of a network, of the plain filter, or of a network of several surveys."""

    kind: Literal["network", "filter", "fusion"]
    map_order: int
    pixel_scale_arcsec: float | None = None
    how: FilterSettings | ScanSettings | dict[str, ScanSettings]


class DetectStage(StageModel):
    """The candidates of one map."""

    scale: Literal["snr", "probability"]
    map_order: int
    detect: DetectSettings


class RealObjects(StageModel):
    """The rule by which `validate` calls an object of the validation sky real."""

    catalogues: tuple[str, ...]
    cut: dict[str, Range]
    radius_arcmin: float


class MergeStage(StageModel):
    """The merged objects."""

    models: tuple[Model, ...]
    lists: tuple[str, ...]
    merge: MergeSettings
    seed: int
    reference: RealObjects
    regions: SplitSettings


class ValidateStage(StageModel):
    """Completeness and purity."""

    models: tuple[Model, ...]
    known: tuple[str, ...]
    truth: tuple[str, ...]
    seed: int
    validate_: ValidateSettings
    purities: tuple[float, ...]
    regions: SplitSettings


class ProbedSurvey(StageModel):
    """A survey in a probe; ``images`` holds the settings that simulate its empty skies."""

    preprocess: PreprocessSettings
    signal: Signal | None = None
    images: FetchStage | None = None


class ProbeStage(StageModel):
    """One probe of the selection function: injected clusters, or a null sky."""

    seed: int
    map_order: int
    tiles: tuple[int, ...]
    how: dict[str, ScanSettings | dict[str, ScanSettings]]
    surveys: dict[str, ProbedSurvey]
    grid: InjectionGrid | None = None
    halos: HaloSettings | None = None


class SelectionStage(StageModel):
    """The selection function, which is made of all probes, and the random positions."""

    seed: int
    selection: SelectionSettings
    probes: dict[str, tuple[int, ...]]
    models: tuple[Model, ...]
    surveys: dict[str, tuple[str, ...]]
    detect: DetectSettings
    merge: MergeSettings
    regions: SplitSettings
    radius_arcmin: float
    confidence: float
    footprint: tuple[int, ...]


class PublishStage(StageModel):
    """The products, which show the whole configuration but for how jobs run."""

    config: Config

    @field_serializer("config")
    def _without_execution(self, config: Config) -> dict[str, Any]:
        # Products must not change, nor be made again, because a run used more workers.
        return config.model_dump(mode="json", by_alias=True, exclude={"execution"})


class SkyCut(Settings):
    """How the sky is cut: the orders, and the footprint's blocks for stages that read them all."""

    tile_order: int
    block_order: int
    map_order: int
    blocks: tuple[int, ...] = ()


NOT_CUT = SkyCut(tile_order=0, block_order=0, map_order=0)
"""For stages that know neither tiles nor blocks, so that another cut never reruns them."""

Stage = TypeVar("Stage", bound=StageModel)


class JobSettings(Settings, Generic[Stage]):
    """All settings of one job; nothing else of the configuration reaches it."""

    version: int
    stage: Stage
    sky: SkyCut

    def text(self) -> str:
        """Return these settings as JSON; equal settings have equal text."""
        # Snakemake reruns a job if its settings file changes. Only settings of this job are in it,
        # and it is rewritten only for another text, so editing the config reruns what it affects
        # alone.
        return to_json(self.model_dump(mode="json", by_alias=True))

    @property
    def fingerprint(self) -> str:
        """Return the hash of all settings that determine the result."""
        # The cut of the sky is left out: a tile's fingerprint holds its own order and number.
        return fingerprint([self.version, self.stage.plain()])


class StageSettings:
    """The settings of every job of a run."""

    def __init__(self, config: Config):
        self._config = config
        self._found: dict[tuple[str, ...], JobSettings[Any]] = {}

    def of(self, stage: str, *names: str) -> JobSettings[Any]:
        """Return the settings of a stage for a survey, model, catalogue or probe; kept."""
        key = (stage, *names)
        # Rules ask for the same settings once per block.
        if key not in self._found:
            self._found[key] = getattr(self, stage)(*names)
        return self._found[key]

    def everything(self) -> dict[tuple[str, ...], JobSettings[Any]]:
        """Return the settings of all jobs, by stage and names."""
        config = self._config
        for_survey = ("fetch", "preprocess", "sample", "training_set")
        keys: list[tuple[str, ...]] = [(s, name) for s in for_survey for name in config.surveys]
        keys += [("catalogue", catalogue.name) for catalogue in config.catalogs]
        keys += [("train", *model) for model in config.scanned() if model[1] != FILTER]
        keys += [(stage, *model) for stage in ("scan", "detect") for model in config.scanned()]
        keys += [("probe", name) for name in probes(config)]
        keys += [(stage,) for stage in ("known", "merge", "validate", "selection", "publish")]
        return {key: self.of(*key) for key in keys}

    def _sky(self, *, blocks: bool = False) -> SkyCut:
        # Blocks go only to stages that read all of them: when the footprint grows, the blocks there
        # are already keep their settings, and nothing in them runs again.
        orders = self._config.sky
        return SkyCut(
            tile_order=orders.tile_order,
            block_order=orders.block_order,
            map_order=orders.map_order,
            blocks=tuple(run_blocks(orders)) if blocks else (),
        )

    def fetch(self, survey: str) -> JobSettings[FetchStage]:
        """Return the settings of `fetch`: the source, and the requirements on its images."""
        return JobSettings[FetchStage](
            version=STAGE_VERSIONS["fetch"],
            stage=image_source(self._config, survey),
            sky=self._sky(),
        )

    def catalogue(self, name: str) -> JobSettings[CatalogueStage]:
        """Return the settings of one reference catalogue."""
        return JobSettings[CatalogueStage](
            version=STAGE_VERSIONS["catalogue"],
            stage=catalogue_source(self._config, name),
            sky=NOT_CUT,
        )

    def known(self) -> JobSettings[KnownStage]:
        """Return the settings of `known`."""
        stage = KnownStage(
            catalogues=tuple(self._config.catalogue_names("known")), known=self._config.known
        )
        return JobSettings[KnownStage](version=STAGE_VERSIONS["known"], stage=stage, sky=NOT_CUT)

    def preprocess(self, survey: str) -> JobSettings[PreprocessStage]:
        """Return the settings of `preprocess`."""
        stage = PreprocessStage(
            spec=image_spec(self._config, survey),
            preprocess=self._config.surveys[survey].preprocess.without_lists(),
        )
        return JobSettings[PreprocessStage](
            version=STAGE_VERSIONS["preprocess"], stage=stage, sky=self._sky()
        )

    def sample(self, survey: str) -> JobSettings[SampleStage]:
        """Return the settings of `sample`."""
        settings = self._config.surveys[survey]
        stage = SampleStage(
            seed=self._config.seed,
            bands=settings.bands,
            pixel_scale_arcsec=settings.tile_pixel_scale_arcsec,
            regions=self._config.sky.regions,
            sample=settings.sample,
        )
        return JobSettings[SampleStage](
            version=STAGE_VERSIONS["sample"], stage=stage, sky=self._sky()
        )

    def training_set(self, survey: str) -> JobSettings[TrainingSetStage]:
        """Return all settings that determine the examples of a training set."""
        stage = TrainingSetStage(
            survey=survey,
            tile_order=self._config.sky.tile_order,
            # The stages that make examples: a new version of any of them unpins the training set.
            versions={name: STAGE_VERSIONS[name] for name in ("fetch", "preprocess", "sample")},
            fetch=self.fetch(survey).stage,
            preprocess=self.preprocess(survey).stage,
            sample=self.sample(survey).stage,
        )
        return JobSettings[TrainingSetStage](
            version=STAGE_VERSIONS["training_set"], stage=stage, sky=NOT_CUT
        )

    def train(self, survey: str, model: str) -> JobSettings[TrainStage]:
        """Return the settings of `train`."""
        if survey == FUSION:
            fusion = self._config.fusions[model]
            branches = fusion.network.branches
            stage = TrainStage(
                units={name: self._config.surveys[name].unit for name in branches},
                examples=fusion.examples,
                network=fusion.network,
                train=fusion.train,
                first_weights=first_weights(*branches.values()),
            )
        else:
            settings = self._config.surveys[survey]
            network = settings.models[model].network
            stage = TrainStage(
                units={survey: settings.unit},
                bands=settings.bands,
                pixel_scale_arcsec=settings.tile_pixel_scale_arcsec,
                network=network,
                train=settings.models[model].train,
                first_weights=first_weights(network),
            )
        return JobSettings[TrainStage](version=STAGE_VERSIONS["train"], stage=stage, sky=NOT_CUT)

    def scan(self, survey: str, model: str) -> JobSettings[ScanStage]:
        """Return the settings of `scan`, with a network or with the plain filter."""
        map_order = self._config.sky.map_order
        if survey == FUSION:
            how = network_how(self._config, survey, model)
            stage = ScanStage(kind="fusion", map_order=map_order, how=how)
        else:
            settings = self._config.surveys[survey]
            stage = ScanStage(
                kind="filter" if model == FILTER else "network",
                pixel_scale_arcsec=settings.tile_pixel_scale_arcsec,
                map_order=map_order,
                how=settings.filter if model == FILTER else settings.scan,
            )
        return JobSettings[ScanStage](version=STAGE_VERSIONS["scan"], stage=stage, sky=self._sky())

    def detect(self, survey: str, model: str) -> JobSettings[DetectStage]:
        """Return the settings of `detect`."""
        stage = DetectStage(
            scale="snr" if model == FILTER else "probability",
            map_order=self._config.sky.map_order,
            detect=self._config.detect,
        )
        return JobSettings[DetectStage](
            version=STAGE_VERSIONS["detect"], stage=stage, sky=self._sky()
        )

    def merge(self) -> JobSettings[MergeStage]:
        """Return the settings of `merge`."""
        config = self._config
        stage = MergeStage(
            models=tuple(config.scanned()),
            lists=tuple(config.catalogue_names("reference")),
            merge=config.merge,
            seed=config.seed,
            reference=RealObjects(
                catalogues=tuple(config.reference_catalogues()),
                cut=config.validate_.purity_cut,
                radius_arcmin=config.validate_.radius_arcmin,
            ),
            regions=config.sky.regions,
        )
        return JobSettings[MergeStage](
            version=STAGE_VERSIONS["merge"], stage=stage, sky=self._sky(blocks=True)
        )

    def validate(self) -> JobSettings[ValidateStage]:
        """Return the settings of `validate`."""
        config = self._config
        stage = ValidateStage(
            models=tuple(config.scanned()),
            known=tuple(config.catalogue_names("known")),
            truth=tuple(config.catalogue_names("truth")),
            seed=config.seed,
            validate_=config.validate_,
            purities=config.merge.calibration.purities,
            regions=config.sky.regions,
        )
        return JobSettings[ValidateStage](
            version=STAGE_VERSIONS["validate"], stage=stage, sky=self._sky(blocks=True)
        )

    def probe(self, probe: str) -> JobSettings[ProbeStage]:
        """Return the settings of one probe of the selection function."""
        config, chosen = self._config, self._config.selection
        seen = probe_surveys(config, probe)
        injected = probe == INJECTED
        stage = ProbeStage(
            seed=config.seed,
            map_order=config.sky.map_order,
            tiles=tuple(probe_tiles(config, probe)),
            how={
                f"{survey}/{model}": network_how(config, survey, model)
                for survey, model in config.scanned()
                if model != FILTER and set(config.surveys_of(survey, model)) <= set(seen)
            },
            surveys={
                survey: ProbedSurvey(
                    preprocess=config.surveys[survey].preprocess.without_lists(),
                    signal=chosen.signals.get(survey),
                    images=image_source(config, survey) if probe == "empty" else None,
                )
                for survey in seen
            },
            grid=chosen.grid if injected else None,
            halos=config.simulation.halos if injected else None,
        )
        return JobSettings[ProbeStage](
            version=STAGE_VERSIONS["probe"], stage=stage, sky=self._sky()
        )

    def selection(self) -> JobSettings[SelectionStage]:
        """Return the settings of the selection function and of the random positions."""
        config = self._config
        names = probes(config)
        stage = SelectionStage(
            seed=config.seed,
            selection=config.selection,
            probes={name: tuple(probe_tiles(config, name)) for name in names},
            models=tuple(m for m in config.scanned() if m[1] != FILTER),
            surveys={name: tuple(probe_surveys(config, name)) for name in names},
            detect=config.detect,
            merge=config.merge,
            regions=config.sky.regions,
            radius_arcmin=config.validate_.radius_arcmin,
            confidence=config.validate_.confidence,
            footprint=tuple(run_tiles(config.sky)),
        )
        return JobSettings[SelectionStage](
            version=STAGE_VERSIONS["selection"], stage=stage, sky=self._sky(blocks=True)
        )

    def publish(self) -> JobSettings[PublishStage]:
        """Return the settings of `publish`, which shows the whole configuration."""
        return JobSettings[PublishStage](
            version=STAGE_VERSIONS["publish"],
            stage=PublishStage(config=self._config),
            sky=self._sky(blocks=True),
        )


def network_how(config: Config, survey: str, model: str) -> ScanSettings | dict[str, ScanSettings]:
    """Return the scan settings of a network; by survey for a network of several surveys."""
    if survey != FUSION:
        return config.surveys[survey].scan
    return {name: config.surveys[name].scan for name in config.surveys_of(survey, model)}


def probes(config: Config) -> list[str]:
    """Return the probes of a run: model clusters where a survey sees them, then null skies."""
    chosen = config.selection
    names = [INJECTED] if chosen.signals and chosen.max_injected_tiles else []
    names += [
        name for name in chosen.nulls if chosen.max_null_tiles and probe_surveys(config, name)
    ]
    return [name for name in names if probe_tiles(config, name)]


def probe_surveys(config: Config, probe: str) -> list[str]:
    """Return the surveys whose images a probe changes; a null sky scans no other survey."""
    signals = config.selection.signals
    found = []
    for name, survey in config.surveys.items():
        signal = signals.get(name)
        if (
            probe in (INJECTED, "scrambled")
            or (probe == "inverted" and signal is not None and signal.kind == "sz")
            or (probe == "shuffled" and len(survey.bands) > 1)
            or (probe == "empty" and survey.source.kind == "simulated")
        ):
            found.append(name)
    return sorted(found)


def probe_tiles(config: Config, probe: str) -> list[int]:
    """Return the tiles of a probe, evenly chosen from the test region or the footprint."""
    chosen = config.selection
    tiles = np.array(run_tiles(config.sky), dtype=np.int64)
    if chosen.tiles == "test":
        split = SkySplit(config.sky.regions)
        tiles = tiles[split.part_of(*sky.cell_centres(tiles, config.sky.tile_order)) == "test"]
    most = chosen.max_injected_tiles if probe == INJECTED else chosen.max_null_tiles
    count = min(most, tiles.size)
    # Neighbours in NESTED order are neighbours on the sky, so even steps spread over all of it.
    at = np.linspace(0, max(tiles.size - 1, 0), count).round().astype(int)
    return [int(t) for t in tiles[at]]


def image_source(config: Config, survey: str) -> FetchStage:
    """Return all that determines a survey's raw images."""
    settings, spec = config.surveys[survey], image_spec(config, survey)
    if settings.source.kind != "simulated":
        return FetchStage(source=settings.source, spec=spec)
    return FetchStage(
        source=settings.source,
        spec=spec,
        seed=config.seed,
        simulation=SimulationSettings(**config.simulation.parts_of(settings.source.sky)),
    )


def image_spec(config: Config, survey: str) -> ImageSpec:
    """Return the requirements on a tile's image of a survey."""
    settings = config.surveys[survey]
    return ImageSpec(
        survey=survey,
        bands=settings.bands,
        unit=settings.unit,
        pixel_scale_arcsec=settings.pixel_scale_arcsec,
        tile_order=config.sky.tile_order,
        halo_arcmin=settings.halo_arcmin,
        margin_arcmin=settings.preprocess.margin_arcmin,
        binning=settings.preprocess.binning,
        inverse_variance=settings.preprocess.inverse_variance,
    )


def catalogue_source(config: Config, name: str) -> CatalogueStage:
    """Return all that determines a reference catalogue, but the bytes of its file."""
    settings = config.catalogue(name)
    if settings.kind != "simulated":
        return CatalogueStage(catalogue=settings)
    # A footprint that is read from a file counts by its tiles, which change with the file.
    footprint = config.sky.footprint
    if reads_files(footprint):
        footprint = Cells(order=config.sky.tile_order, ipix=tuple(run_tiles(config.sky)))
    simulated = SimulatedSky(
        seed=config.seed,
        simulation=SimulationSettings(**config.simulation.parts_of(settings.selection)),
        footprint=footprint,
        tile_order=config.sky.tile_order,
    )
    return CatalogueStage(catalogue=settings, simulated=simulated)


def first_weights(*networks: NetworkSettings) -> dict[str, str]:
    """Return the checksums of the weight files that networks start from, by path.

    A file that is missing is reported by the training itself.
    """
    paths = {n.pretrained for n in networks if isinstance(n.pretrained, str)}
    return {p: file_sha256(p) for p in sorted(paths) if Path(p).is_file()}
