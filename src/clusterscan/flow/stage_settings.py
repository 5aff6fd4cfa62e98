"""What each stage sees of the configuration: its own settings and nothing else, as JSON.

A stage's JSON has up to three parts: ``stage`` and ``version`` determine the result (and go into
the tiles' fingerprints), ``sky`` says how the sky is cut, for stages that work on its parts. How
jobs run is not in it. So changing a setting of one stage never reruns an earlier one.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel

from clusterscan.config.model import FILTER, FUSION, Config
from clusterscan.config.networks import NetworkSettings
from clusterscan.config.scan import ScanSettings
from clusterscan.config.searched_sky import Cells, reads_files
from clusterscan.config.validation import INJECTED
from clusterscan.core import sky
from clusterscan.core.fingerprint import file_sha256
from clusterscan.flow.footprint import run_blocks, run_tiles
from clusterscan.flow.sky_split import SkySplit
from clusterscan.flow.versions import STAGE_VERSIONS


class StageSettings:
    """Each stage's settings, as JSON text for its script's ``--settings``."""

    def __init__(self, config: Config):
        self._config = config

    def fetch(self, survey: str) -> str:
        """Return settings of `fetch`: the source, and what images it must give."""
        return self._text("fetch", image_source(self._config, survey))

    def catalogue(self, name: str) -> str:
        """Return settings of one reference catalogue."""
        return _text("catalogue", catalogue_source(self._config, name))

    def preprocess(self, survey: str) -> str:
        """Return settings of `preprocess`."""
        return self._text(
            "preprocess",
            {
                "spec": image_spec(self._config, survey),
                "preprocess": _plain(self._config.surveys[survey].preprocess.without_lists()),
            },
        )

    def sample(self, survey: str) -> str:
        """Return settings of `sample`."""
        settings = self._config.surveys[survey]
        return self._text(
            "sample",
            {
                "seed": self._config.seed,
                "bands": list(settings.bands),
                "pixel_scale_arcsec": settings.tile_pixel_scale_arcsec,
                "regions": _plain(self._config.sky.regions),
                "sample": _plain(settings.sample),
                "duplicate_radius_arcmin": self._config.merge.unite_radius_arcmin,
            },
        )

    def release(self, survey: str) -> str:
        """Return all settings that determine the examples of a training set."""
        texts = {
            "fetch": self.fetch(survey),
            "preprocess": self.preprocess(survey),
            "sample": self.sample(survey),
        }
        parts = {name: json.loads(text) for name, text in texts.items()}
        made_by = {name: [part["version"], part["stage"]] for name, part in parts.items()}
        tile_order = self._config.sky.tile_order
        return _text("release", {"survey": survey, "tile_order": tile_order, **made_by})

    def train(self, survey: str, model: str) -> str:
        """Return settings of `train`."""
        if survey == FUSION:
            return self._train_fusion(model)
        settings = self._config.surveys[survey]
        return _text(
            "train",
            {
                "survey": survey,
                "bands": list(settings.bands),
                "unit": settings.unit,
                "pixel_scale_arcsec": settings.tile_pixel_scale_arcsec,
                "network": _plain(settings.models[model].network),
                "train": _plain(settings.models[model].train),
                **first_weights(settings.models[model].network),
            },
        )

    def _train_fusion(self, model: str) -> str:
        fusion = self._config.fusions[model]
        surveys = {name: self._config.surveys[name] for name in fusion.network.branches}
        return _text(
            "train",
            {
                "surveys": {name: {"unit": survey.unit} for name, survey in surveys.items()},
                "examples": fusion.examples,
                "network": _plain(fusion.network),
                "train": _plain(fusion.train),
                **first_weights(*fusion.network.branches.values()),
            },
        )

    def scan(self, survey: str, model: str) -> str:
        """Return settings of `scan`, with the network or with the plain filter."""
        if survey == FUSION:
            return self._text(
                "scan",
                {
                    "kind": FUSION,
                    "map_order": self._config.sky.map_order,
                    "how": network_how(self._config, survey, model),
                },
            )
        settings = self._config.surveys[survey]
        how = _plain(settings.filter) if model == FILTER else _how(settings.scan)
        return self._text(
            "scan",
            {
                "kind": FILTER if model == FILTER else "network",
                "pixel_scale_arcsec": settings.tile_pixel_scale_arcsec,
                "map_order": self._config.sky.map_order,
                "how": how,
            },
        )

    def detect(self, survey: str, model: str) -> str:
        """Return settings of `detect`."""
        return self._text(
            "detect",
            {
                "scale": "snr" if model == FILTER else "probability",
                "map_order": self._config.sky.map_order,
                "detect": _plain(self._config.detect),
            },
        )

    def merge(self) -> str:
        """Return settings of `merge`."""
        return self._text(
            "merge",
            {
                "models": self._config.scanned(),
                "known": self._config.catalogue_names("known"),
                "lists": self._config.catalogue_names("reference"),
                "merge": _plain(self._config.merge),
                "seed": self._config.seed,
                "reference": self._reference(),
                "regions": _plain(self._config.sky.regions),
            },
            blocks=run_blocks(self._config.sky),
        )

    def validate(self) -> str:
        """Return settings of `validate`."""
        return self._text(
            "validate",
            {
                "models": self._config.scanned(),
                "known": self._config.catalogue_names("known"),
                "seed": self._config.seed,
                "truth": self._config.catalogue_names("truth"),
                "validate": _plain(self._config.validate_),
                "purities": list(self._config.merge.calibration.purities),
                "regions": _plain(self._config.sky.regions),
            },
            blocks=run_blocks(self._config.sky),
        )

    def probe(self, probe: str) -> str:
        """Return settings of one probe of the selection function."""
        config, chosen = self._config, self._config.selection
        networks = [(s, m) for s, m in config.scanned() if m != FILTER]
        seen = probe_surveys(config, probe)
        how = {
            f"{s}/{m}": network_how(config, s, m)
            for s, m in networks
            if set(config.surveys_of(s, m)) <= set(seen)
        }
        stage: dict[str, Any] = {
            "seed": config.seed,
            "map_order": config.sky.map_order,
            "tiles": probe_tiles(config, probe),
            "how": how,
            "surveys": {
                survey: {
                    "preprocess": _plain(config.surveys[survey].preprocess.without_lists()),
                    "signal": _plain(chosen.signals.get(survey)),
                    **(image_source(config, survey) if probe == "empty" else {}),
                }
                for survey in seen
            },
        }
        if probe == INJECTED:
            stage |= {"grid": _plain(chosen.grid), "halos": _plain(config.simulation.halos)}
        return self._text("probe", stage)

    def selection(self) -> str:
        """Return settings of what is made of the probes, and of the random positions."""
        config = self._config
        names = probes(config)
        return self._text(
            "selection",
            {
                "seed": config.seed,
                "selection": _plain(config.selection),
                "probes": {name: probe_tiles(config, name) for name in names},
                "models": [list(m) for m in config.scanned() if m[1] != FILTER],
                "surveys": {name: probe_surveys(config, name) for name in names},
                "detect": _plain(config.detect),
                "merge": _plain(config.merge),
                "regions": _plain(config.sky.regions),
                "radius_arcmin": config.validate_.radius_arcmin,
                "confidence": config.validate_.confidence,
                "footprint": run_tiles(config.sky),
            },
            blocks=run_blocks(config.sky),
        )

    def publish(self) -> str:
        """Return settings of `publish`, which shows the whole configuration."""
        config = self._config.model_dump(mode="json", by_alias=True)
        config.pop("execution")
        return self._text("publish", {"config": config}, blocks=run_blocks(self._config.sky))

    def _reference(self) -> dict[str, Any]:
        """Return what makes an object of the validation sky real, as `validate` judges it."""
        judged = self._config.validate_
        cut = judged.model_dump(mode="json")["purity_cut"]
        names = self._config.reference_catalogues()
        return {"catalogues": names, "cut": cut, "radius_arcmin": judged.radius_arcmin}

    def _text(self, name: str, stage: dict[str, Any], **sky: Any) -> str:
        orders = self._config.sky
        cut = {
            "tile_order": orders.tile_order,
            "block_order": orders.block_order,
            "map_order": orders.map_order,
        }
        return _text(name, stage, sky={**cut, **sky})


def _text(name: str, stage: dict[str, Any], **more: Any) -> str:
    content = {"version": STAGE_VERSIONS[name], "stage": stage, **more}
    return json.dumps(content, sort_keys=True)


def network_how(config: Config, survey: str, model: str) -> dict[str, Any]:
    """Return how a network scans; of a network of several surveys, how it scans each."""
    if survey != FUSION:
        return _how(config.surveys[survey].scan)
    return {name: _how(config.surveys[name].scan) for name in config.surveys_of(survey, model)}


def probes(config: Config) -> list[str]:
    """Return the probes of a run: model clusters where a survey sees them, then null skies."""
    chosen = config.selection
    names = [INJECTED] if chosen.signals and chosen.max_injected_tiles else []
    names += [
        name for name in chosen.nulls if chosen.max_null_tiles and probe_surveys(config, name)
    ]
    return [name for name in names if probe_tiles(config, name)]


def probe_surveys(config: Config, probe: str) -> list[str]:
    """Return the surveys whose images a probe changes; of a null sky the others are not scanned."""
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
    at = np.linspace(0, max(tiles.size - 1, 0), count).round().astype(int)
    return [int(t) for t in tiles[at]]


def image_source(config: Config, survey: str) -> dict[str, Any]:
    """Return all that determines a survey's raw images."""
    settings = config.surveys[survey]
    source: dict[str, Any] = {
        "source": _plain(settings.source),
        "spec": image_spec(config, survey),
    }
    if settings.source.kind == "simulated":
        parts = config.simulation.parts_of(settings.source.sky)
        source |= {"seed": config.seed, "simulation": parts}
    return source


def image_spec(config: Config, survey: str) -> dict[str, Any]:
    """Return what a tile's image of a survey must be (the fields of `fetch.source.ImageSpec`)."""
    settings = config.surveys[survey]
    more = {"inverse_variance": True} if settings.preprocess.inverse_variance else {}
    return {
        "survey": survey,
        "bands": list(settings.bands),
        "unit": settings.unit,
        "pixel_scale_arcsec": settings.pixel_scale_arcsec,
        "tile_order": config.sky.tile_order,
        "halo_arcmin": settings.halo_arcmin,
        "margin_arcmin": settings.preprocess.margin_arcmin,
        "binning": settings.preprocess.binning,
        **more,  # what is not asked for is in no fingerprint
    }


def catalogue_source(config: Config, name: str) -> dict[str, Any]:
    """Return all that determines a reference catalogue, but the bytes of its file."""
    settings = config.catalogue(name)
    source: dict[str, Any] = {"catalogue": _plain(settings)}
    if settings.kind == "simulated":
        source |= {
            "seed": config.seed,
            "simulation": config.simulation.parts_of(settings.selection),
            "footprint": _plain(_listed_footprint(config)),
            "tile_order": config.sky.tile_order,
        }
    return source


def _listed_footprint(config: Config) -> BaseModel:
    """Return the footprint; one that stands in a file as its tiles, which change with the file."""
    if reads_files(config.sky.footprint):
        return Cells(order=config.sky.tile_order, ipix=tuple(run_tiles(config.sky)))
    return config.sky.footprint


def first_weights(*networks: NetworkSettings) -> dict[str, dict[str, str]]:
    """Return the checksums of the files that networks start from; nothing where there are none.

    Other weights under the same name train anew. A file that is missing fails in training, which
    says so.
    """
    paths = {n.pretrained for n in networks if isinstance(n.pretrained, str)}
    found = {p: file_sha256(p) for p in sorted(paths) if Path(p).is_file()}
    return {"first_weights": found} if found else {}


def _plain(model: BaseModel | None) -> Any:
    return None if model is None else model.model_dump(mode="json")


def _how(scan: ScanSettings) -> dict[str, Any]:
    """Return how networks scan; maps that were made before a setting came stay as they are."""
    later = {"precision": "float32", "compile_network": False}
    return {k: v for k, v in _plain(scan).items() if k not in later or v != later[k]}
