"""Paths of all files of a run (`RunFolder`), and the inputs of each job (`Paths`).

Nothing here reads or writes a file. `RunFolder` needs only the run's folder; `Paths` adds what
follows from the configuration: the surveys, models, catalogues and blocks.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from clusterscan.config.model import FILTER, Config
from clusterscan.core import sky
from clusterscan.core.data_paths import expand_path
from clusterscan.flow.footprint import run_blocks
from clusterscan.flow.stage_settings import probe_surveys, probe_tiles, probes

# Declared one by one, so that Snakemake makes any of them again that is removed.
PRODUCTS = (
    "catalogue/clusters.fits",
    "catalogue/clusters.vot",
    "catalogue/clusters.parquet",
    "catalogue/clusters.csv",
    "catalogue/clusters.reg",
    "catalogue/hats/collection.properties",
    "catalogue/forced.fits",
    "catalogue/forced.parquet",
    "models/networks.parquet",
    "models/networks.csv",
    "catalogue/searched_moc.fits",
    "published/SHA256SUMS",
    "report.html",
    "summary.json",
)


MODEL_FILES = {
    "weights": "weights.safetensors",
    "history": "history.json",
    "metrics": "metrics.json",
    "predictions": "predictions.parquet",
}
"""What training leaves beside a network's card, besides plots."""


BLOCK_STAGES = ("fetch", "preprocess", "sample", "scan", "detect")
"""The stages that work block by block and leave block manifests."""


SELECTION = "selection"
"""The folder of a run below which all that the selection function makes lies."""


@dataclass(frozen=True)
class RunFolder:
    """The files of one run, by what they hold.

    Attributes
    ----------
    root : Path
        The run's folder (`output` in the configuration).
    """

    root: Path

    # Written by sync

    def sources(self, survey: str, block: str) -> Path:
        """Return the source manifest of a survey and block."""
        return self.root / "sources" / survey / f"{block}.json"

    def masks(self, survey: str, block: str) -> Path:
        """Return the mask list of a survey and block."""
        return self.root / "sources" / "masks" / survey / f"{block}.json"

    def catalogue_source(self, name: str) -> Path:
        """Return the source manifest of a catalogue."""
        return self.root / "sources" / "catalogues" / f"{name}.json"

    def stamps_source(self, survey: str) -> Path:
        """Return the source manifest of a survey's labelled stamps."""
        return self.root / "sources" / "stamps" / f"{survey}.json"

    # Written at the start of a run

    @property
    def frozen_config(self) -> Path:
        """Return the resolved configuration, which every job of `clusterscan run` reads."""
        return self.root / "run" / "config.yaml"

    def settings(self, stage: str, *names: str) -> Path:
        """Return the settings of the jobs of a stage, such as ``scan/act/baseline.json``."""
        return self.root.joinpath("run", "settings", stage, *names[:-1], f"{names[-1]}.json")

    # Written block by block

    def manifest(self, stage: str, key: str, block: str) -> Path:
        """Return the manifest of a stage for a survey (or survey/model) and block."""
        return self.root / "manifests" / stage / key / f"{block}.json"

    def record(self, stage: str, key: str, tile: int, tile_order: int) -> Path:
        """Return the record of one tile at a stage."""
        return self.root / "records" / stage / key / sky.shard_path(tile, tile_order, ".json")

    def shards(self, folder: str, key: str) -> Path:
        """Return the folder of a stage's shards: "raw", "tiles", "samples", "maps" and so on."""
        return self.root / folder / key

    @property
    def selection_run(self) -> RunFolder:
        """Return the folder of the manifests, records and shards of probes."""
        return RunFolder(self.root / SELECTION)

    # Written once for the whole sky

    def catalogue(self, name: str) -> Path:
        """Return a reference catalogue's table."""
        return self.root / "catalogs" / f"{name}.parquet"

    def training_set(self, survey: str) -> Path:
        """Return the training set of a survey."""
        return self.root / "releases" / f"{survey}.json"

    def model(self, survey: str, model: str) -> Path:
        """Return a trained network's card, which names the sha256 of its weights."""
        return self.root / "models" / f"{survey}-{model}" / "model.json"

    def model_file(self, survey: str, model: str, name: str) -> Path:
        """Return a file beside a network's card, by its key in `MODEL_FILES`."""
        return self.model(survey, model).with_name(MODEL_FILES[name])

    @property
    def merged(self) -> Path:
        """Return the folder of the merged tables."""
        return self.root / "merged"

    @property
    def objects(self) -> Path:
        """Return the table of merged objects."""
        return self.merged / "objects.parquet"

    @property
    def filter_objects(self) -> Path:
        """Return the table of the plain filters' objects."""
        return self.merged / "filters.parquet"

    @property
    def known(self) -> Path:
        """Return the table of united known clusters: one row per cluster."""
        return self.root / "known" / "known.parquet"

    @property
    def forced(self) -> Path:
        """Return the table of every network's value at every listed position."""
        return self.merged / "forced.parquet"

    @property
    def combiners(self) -> Path:
        """Return the record of the weights that combine the models."""
        return self.merged / "combiners.json"

    @property
    def validation(self) -> Path:
        """Return the file of the validation's numbers."""
        return self.root / "validation" / "validation.json"

    @property
    def selection(self) -> Path:
        """Return the file of the selection function's numbers."""
        return self.root / SELECTION / "selection.json"

    @property
    def randoms(self) -> Path:
        """Return the table of random positions."""
        return self.root / SELECTION / "randoms.parquet"

    def probe(self, probe: str, block: str) -> Path:
        """Return the manifest of a probe's block."""
        return self.selection_run.manifest("probe", probe, block)

    @property
    def products(self) -> Path:
        """Return the folder of the published tables."""
        return self.root / "catalogue"

    @property
    def report(self) -> Path:
        """Return the report."""
        return self.root / "report.html"

    @property
    def summary(self) -> Path:
        """Return the summary of the run's figures."""
        return self.root / "summary.json"

    # About jobs

    def log(self, stage: str, key: str, block: str) -> Path:
        """Return a job's log file."""
        return self.root / "logs" / stage / key / f"{block}.log"

    def cost(self, name: str) -> Path:
        """Return the record of a job's time and memory."""
        return self.root / "costs" / f"{name}.json"

    def failure(self, name: str) -> Path:
        """Return the message of a job that failed."""
        return self.root / "failures" / f"{name}.txt"

    def progress(self, name: str) -> Path:
        """Return the file in which a job reports its progress."""
        return self.root / ".progress" / f"{name}.json"


class Paths:
    """The files of a configured run as text for Snakemake, and which jobs need which."""

    def __init__(self, config: Config):
        self._config = config
        self.folder = RunFolder(Path(config.output))
        self._root = self.folder.root
        self._order = config.sky.block_order
        self._blocks = run_blocks(config.sky)

    @property
    def blocks(self) -> list[str]:
        """Return the names of the footprint's blocks, such as ``o3-57``."""
        return [self.block_name(block) for block in self._blocks]

    def block_name(self, block: int) -> str:
        """Return a block's name, which holds its order: manifests of two orders never mix."""
        return f"o{self._order}-{block}"

    def sources(self, survey: str, block: str) -> str:
        """Return the source manifest of a survey and block (written by sync)."""
        return str(self.folder.sources(survey, block))

    def masks(self, survey: str, block: str) -> str:
        """Return the mask list of a survey and block (written by sync)."""
        return str(self.folder.masks(survey, block))

    def mask_lists(self, survey: str, block: str) -> list[str]:
        """Return the mask list of a block, on which its tile images depend; none without masks."""
        listed = self._config.surveys[survey].preprocess.listed_masks
        return [self.masks(survey, block)] if listed else []

    def catalogue_source(self, name: str) -> str:
        """Return the source manifest of a catalogue (written by sync)."""
        return str(self.folder.catalogue_source(name))

    def stamps_source(self, survey: str) -> str:
        """Return the source manifest of a survey's labelled stamps (written by sync)."""
        return str(self.folder.stamps_source(survey))

    def stamps(self, survey: str) -> list[str]:
        """Return the manifest of a survey's labelled stamps, if its examples use any."""
        uses_stamps = self._config.surveys[survey].sample.kind == "stamps"
        return [self.stamps_source(survey)] if uses_stamps else []

    def manifest(self, stage: str, key: str, block: str) -> str:
        """Return the manifest of a stage for a survey (or survey/model) and block."""
        return str(self.folder.manifest(stage, key, block))

    def manifests(self, stage: str, key: str) -> list[str]:
        """Return the manifests of a stage for all blocks."""
        return [self.manifest(stage, key, block) for block in self.blocks]

    def survey_manifests(self, stage: str) -> list[str]:
        """Return the manifests of a stage for all surveys and blocks."""
        return [path for survey in self._config.surveys for path in self.manifests(stage, survey)]

    def all_manifests(self, stage: str) -> list[str]:
        """Return the manifests of a stage for all surveys, models and blocks."""
        keys = [f"{survey}/{model}" for survey, model in self._config.scanned()]
        return [path for key in keys for path in self.manifests(stage, key)]

    def touching(self, stage: str, key: str, block: str) -> list[str]:
        """Return the manifests of the footprint's blocks that touch a block."""
        around = sky.neighbours(int(block.partition("-")[2]), self._order)
        present = sorted(set(self._blocks) & {int(b) for b in around})
        return [self.manifest(stage, key, self.block_name(b)) for b in present]

    def training_set(self, survey: str) -> str:
        """Return the training set of a survey."""
        return str(self.folder.training_set(survey))

    def catalogue(self, name: str) -> str:
        """Return a reference catalogue's table."""
        return str(self.folder.catalogue(name))

    def known_catalogues(self) -> list[str]:
        """Return the catalogues of known clusters."""
        return [self.catalogue(name) for name in self._config.catalogue_names("known")]

    def known(self) -> str:
        """Return the table of united known clusters."""
        return str(self.folder.known)

    def labels(self, survey: str) -> list[str]:
        """Return the known clusters if they label a survey's examples; stamps have own labels."""
        return [self.known()] if self._config.surveys[survey].sample.kind == "tiles" else []

    def listed(self, survey: str) -> list[str]:
        """Return the catalogue whose every row is an example of a survey, if any."""
        listed = getattr(self._config.surveys[survey].sample, "listed", None)
        return [self.catalogue(listed.catalogue)] if listed is not None else []

    def merged_catalogues(self) -> list[str]:
        """Return the catalogues that the merge reads besides the known clusters."""
        lists = self._config.catalogue_names("reference")
        names = {*lists, *self._config.reference_catalogues()}
        return [self.catalogue(name) for name in sorted(names)]

    def truth_catalogues(self) -> list[str]:
        """Return the catalogues that count as the truth: known ones if no other is given."""
        names = self._config.catalogue_names("truth") or self._config.catalogue_names("known")
        return [self.catalogue(name) for name in names]

    def all_catalogues(self) -> list[str]:
        """Return all reference catalogues."""
        return [self.catalogue(name) for name in sorted(c.name for c in self._config.catalogs)]

    def model(self, survey: str, model: str) -> str:
        """Return a trained network's card."""
        return str(self.folder.model(survey, model))

    def model_file(self, survey: str, model: str, name: str) -> str:
        """Return a file beside a network's card, by its key in `MODEL_FILES`."""
        return str(self.folder.model_file(survey, model, name))

    def images(self, survey: str, model: str, block: str) -> list[str]:
        """Return the manifests of the images that a scan reads: several for a fusion."""
        surveys = self._config.surveys_of(survey, model)
        return [self.manifest("preprocess", name, block) for name in surveys]

    def training_sets(self, survey: str, model: str) -> list[str]:
        """Return the training sets that a network learns from: several for a fusion."""
        return [self.training_set(name) for name in self._config.surveys_of(survey, model)]

    def trained(self, survey: str, model: str) -> list[str]:
        """Return the network's card, which a scan needs besides tiles; nothing for a filter."""
        return [] if model == FILTER else [self.model(survey, model)]

    def all_models(self) -> list[str]:
        """Return the cards of all networks."""
        return [self.model(s, m) for s, m in self._config.scanned() if m != FILTER]

    def all_model_files(self, *names: str) -> list[str]:
        """Return some files of all networks, by their keys in `MODEL_FILES`."""
        networks = [(s, m) for s, m in self._config.scanned() if m != FILTER]
        return [self.model_file(s, m, name) for s, m in networks for name in names]

    def objects(self) -> str:
        """Return the merged objects."""
        return str(self.folder.objects)

    def filter_objects(self) -> list[str]:
        """Return the objects of the plain filters, if any filter is scanned."""
        filtered = any(model == FILTER for _, model in self._config.scanned())
        return [str(self.folder.filter_objects)] if filtered else []

    def forced(self) -> str:
        """Return every network's value at every listed position."""
        return str(self.folder.forced)

    def combiners(self) -> str:
        """Return the record of how the models are combined."""
        return str(self.folder.combiners)

    def validation(self) -> str:
        """Return the validation's numbers."""
        return str(self.folder.validation)

    def probe(self, probe: str, block: str) -> str:
        """Return the manifest of a probe's block, apart from the run's own manifests."""
        return str(self.folder.probe(probe, block))

    def probe_images(self, probe: str, block: str) -> list[str]:
        """Return the manifests of the images that a probe changes, by survey in order."""
        surveys = probe_surveys(self._config, probe)
        return [self.manifest("preprocess", survey, block) for survey in surveys]

    def probe_models(self, probe: str) -> list[str]:
        """Return the cards of the networks that scan a probe."""
        seen = set(probe_surveys(self._config, probe))
        return [
            self.model(s, m)
            for s, m in self._config.scanned()
            if m != FILTER and set(self._config.surveys_of(s, m)) <= seen
        ]

    def all_probes(self) -> list[str]:
        """Return the manifests of all probes: of blocks that hold tiles of theirs."""
        # Probes scan a sample of tiles, so most blocks have none and need no manifest.
        order = self._config.sky.tile_order
        found = []
        for probe in probes(self._config):
            tiles = probe_tiles(self._config, probe)
            blocks = sorted({int(sky.ancestor(t, order, self._order)) for t in tiles})
            found += [self.probe(probe, self.block_name(block)) for block in blocks]
        return found

    def selection(self) -> str:
        """Return the selection function's numbers."""
        return str(self.folder.selection)

    def randoms(self) -> str:
        """Return the random positions."""
        return str(self.folder.randoms)

    def flag_mocs(self) -> list[str]:
        """Return the MOCs that set flags of the catalogue."""
        named = self._config.publish.flag_mocs.values()
        return sorted(str(expand_path(path, must_exist=False)) for path in named)

    def products(self) -> list[str]:
        """Return the final products."""
        return [str(self._root / name) for name in PRODUCTS]

    def everything(self, pinned: Collection[str] = ()) -> list[str]:
        """Return all that a finished run declares.

        Surveys whose training sets are ``pinned`` need no examples, because no job reads them.

        Snakemake does not miss a file in the middle while the files made from it exist, so a
        run asks for all of them: a manifest that was removed is made again.
        """
        by_survey = [p for s in ("fetch", "preprocess") for p in self.survey_manifests(s)]
        for survey in sorted(set(self._config.surveys) - set(pinned)):
            by_survey += [*self.manifests("sample", survey), self.training_set(survey)]
        by_map = [p for s in ("scan", "detect") for p in self.all_manifests(s)]
        merged = [self.known(), self.objects(), *self.filter_objects()]
        merged += [self.forced(), self.combiners()]
        models = [*self.all_models(), *self.all_model_files(*MODEL_FILES)]
        late = [*merged, self.randoms(), self.validation(), self.selection(), *self.products()]
        late += self.all_probes()
        return [*by_survey, *self.all_catalogues(), *models, *by_map, *late]

    def log(self, stage: str, key: str, block: str) -> str:
        """Return a job's log file."""
        return str(self.folder.log(stage, key, block))
