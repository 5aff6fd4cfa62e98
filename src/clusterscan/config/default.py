"""The shipped configuration: 54 square degrees of simulated sky, two surveys, two networks each.

It is made for two cores and ten minutes. The patch lies at Galactic latitude -57 degrees across
two blocks, so that borders between blocks are searched in every run.
"""

from __future__ import annotations

from clusterscan.config.catalogs import SimulatedCatalogue
from clusterscan.config.image_sources import SimulatedSource
from clusterscan.config.merge import MergeSettings
from clusterscan.config.model import Config
from clusterscan.config.networks import NetworkSettings
from clusterscan.config.preprocess import HighpassBackground, MedianBackground, PreprocessSettings
from clusterscan.config.sample import InjectionSettings, TileSampleSettings
from clusterscan.config.scan import (
    DetectSettings,
    MatchedFilterSettings,
    MultiscaleFilterSettings,
    ScanSettings,
)
from clusterscan.config.searched_sky import Cells, CellSplit, SkySettings
from clusterscan.config.survey import ModelSettings, SurveySettings
from clusterscan.config.train import AugmentationSettings, NormalisationSettings, TrainSettings
from clusterscan.config.validation import (
    GalaxiesSignal,
    SelectionSettings,
    SzSignal,
    ValidateSettings,
)


def default_config() -> Config:
    """Return the configuration of the main job."""
    return Config(
        title="Simulated sky",
        output="results",
        seed=1,
        sky=_sky(),
        surveys={"unwise": _infrared(), "act": _microwave()},
        catalogs=(
            SimulatedCatalogue(kind="simulated", name="truth", role="truth", selection="truth"),
            SimulatedCatalogue(kind="simulated", name="sz", role="known", selection="sz"),
            SimulatedCatalogue(
                kind="simulated", name="richness", role="known", selection="richness"
            ),
        ),
        detect=DetectSettings(radius_arcmin=2.0, min_probability=0.15),
        merge=MergeSettings(radius_arcmin=2.5),
        validate=ValidateSettings(radius_arcmin=2.5),
        selection=SelectionSettings(
            signals={
                "unwise": GalaxiesSignal(kind="galaxies"),
                "act": SzSignal(
                    kind="sz",
                    frequencies_ghz=(97.8, 149.6, 216.0),
                    beam_fwhm_arcmin=(2.0, 1.4, 1.0),
                    highpass_fwhm_arcmin=10.0,
                ),
            },
            nulls=("inverted", "scrambled", "shuffled", "empty"),
        ),
    )


def _sky() -> SkySettings:
    return SkySettings(
        tile_order=5,
        block_order=3,
        map_order=12,
        footprint=Cells(order=4, ipix=(1105, 1107, 1108, 1110)),
        regions=CellSplit(
            kind="cells", order=5, validation=[4433, 4434, 4435], test=[4440, 4441, 4442, 4443]
        ),
    )


def _infrared() -> SurveySettings:
    return SurveySettings(
        title="unWISE W1 and W2, simulated",
        bands=("W1", "W2"),
        unit="nanomaggy (Vega)",
        pixel_scale_arcsec=2.75,
        beam_fwhm_arcsec=(6.1, 6.4),
        source=SimulatedSource(kind="simulated", sky="infrared"),
        preprocess=PreprocessSettings(
            binning=2, combine="sum", background=MedianBackground(kind="median")
        ),
        sample=TileSampleSettings(
            kind="tiles",
            size_px=64,
            random_per_deg2=40.0,
            exclusion_arcmin=5.0,
            stars_per_deg2=4.0,
            offsets_per_known=2,
            offset_min_arcmin=3.0,
            offset_max_arcmin=6.0,
        ),
        models={
            "baseline": ModelSettings(
                network=NetworkSettings(
                    name="baseline", output_stride=16, size_px=64, window_px=32
                ),
                train=TrainSettings(epochs=6, batch_size=32, keep_best_by="average_precision"),
            ),
            "resnet18": ModelSettings(
                network=NetworkSettings(
                    name="resnet18", stages=3, output_stride=16, size_px=64, window_px=32
                ),
                train=TrainSettings(epochs=9, batch_size=32, keep_best_by="average_precision"),
            ),
        },
        scan=ScanSettings(step_px=8),
        filter=MultiscaleFilterSettings(),
    )


def _microwave() -> SurveySettings:
    return SurveySettings(
        title="ACT f090, f150, f220, simulated",
        bands=("f090", "f150", "f220"),
        unit="uK_CMB",
        pixel_scale_arcsec=30.0,
        beam_fwhm_arcsec=(120.0, 84.0, 60.0),
        source=SimulatedSource(kind="simulated", sky="microwave"),
        preprocess=PreprocessSettings(
            binning=1,
            combine="mean",
            background=HighpassBackground(kind="highpass", fwhm_arcmin=10.0),
        ),
        sample=_microwave_sample(),
        models={
            "baseline": ModelSettings(
                network=NetworkSettings(name="baseline", output_stride=4, size_px=32, window_px=16),
                train=_microwave_training(epochs=8),
            ),
            "resnet18": ModelSettings(
                network=NetworkSettings(
                    name="resnet18",
                    stages=3,
                    stem_stride=2,
                    output_stride=8,
                    size_px=32,
                    window_px=16,
                ),
                train=_microwave_training(epochs=5),
            ),
        },
        scan=ScanSettings(step_px=4),
        filter=MatchedFilterSettings(
            frequencies_ghz=(97.8, 149.6, 216.0),
            beam_fwhm_arcmin=(2.0, 1.4, 1.0),
            highpass_fwhm_arcmin=10.0,
        ),
    )


def _microwave_sample() -> TileSampleSettings:
    return TileSampleSettings(
        kind="tiles",
        size_px=32,
        catalogues=("sz",),
        inject=InjectionSettings(
            per_deg2=20.0,
            frequencies_ghz=(97.8, 149.6, 216.0),
            beam_fwhm_arcmin=(2.0, 1.4, 1.0),
            highpass_fwhm_arcmin=10.0,
        ),
        random_per_deg2=40.0,
        exclusion_arcmin=5.0,
        offsets_per_known=2,
        offset_min_arcmin=3.0,
        offset_max_arcmin=6.0,
    )


def _microwave_training(epochs: int) -> TrainSettings:
    return TrainSettings(
        epochs=epochs,
        batch_size=32,
        keep_best_by="average_precision",
        # A decrement is a small, linear signal: nothing to compress.
        normalisation=NormalisationSettings(kind="standard"),
        augmentation=AugmentationSettings(shift_px=1),
    )
