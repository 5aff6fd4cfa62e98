"""Adapters: the X-ray and the optical sky, called as `clusterscan.simulate.plugins` expects."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from astropy.wcs import WCS

from clusterscan.config.simulation import SimulationSettings
from clusterscan.core.errors import ConfigError
from clusterscan.formats.image_spec import ImageSpec
from clusterscan_studies.simulate.optical import render_optical
from clusterscan_studies.simulate.xray import UNITS, render_xray


def xray(
    wcs: WCS,
    shape: tuple[int, int],
    *,
    spec: ImageSpec,
    seed: int,
    settings: SimulationSettings,
    noise_key: Sequence[int],
) -> tuple[np.ndarray, np.ndarray]:
    """Render the X-ray sky; its noise is that of the photons, so ``noise_key`` is not used.

    Raises
    ------
    ConfigError
        If the survey has several bands, or another unit than the simulated sky.
    """
    unit = UNITS[settings.xray.exposure_corrected]
    if len(spec.bands) != 1 or spec.unit != unit:
        raise ConfigError(
            f"survey {spec.survey}: the simulated X-ray sky has one band in {unit}, not "
            f"bands = {list(spec.bands)} in {spec.unit!r}; correct bands and unit"
        )
    return render_xray(wcs, shape, seed=seed, settings=settings)


def optical(
    wcs: WCS,
    shape: tuple[int, int],
    *,
    spec: ImageSpec,
    seed: int,
    settings: SimulationSettings,
    noise_key: Sequence[int],
) -> tuple[np.ndarray, np.ndarray]:
    """Render the optical sky in the survey's bands."""
    return render_optical(
        wcs, shape, bands=spec.bands, seed=seed, settings=settings, noise_key=noise_key
    )
