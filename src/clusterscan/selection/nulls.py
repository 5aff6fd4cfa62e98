"""Null skies: images that keep much of the real ones, but hold no cluster that may be found.

A network that is as sure there as on the real sky has learnt something else than clusters.
"""

from __future__ import annotations

import numpy as np
from scipy import fft

from clusterscan.config.simulation import HaloSettings, SimulationSettings


def inverted(image: np.ndarray) -> np.ndarray:
    """Return the image with its sign turned: decrements become increments, noise stays noise."""
    return -image


def scrambled(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return an image of the same power spectra with random phases.

    The same phases are added to all bands, so their cross-spectra stay too: what is lost is
    everything that is not Gaussian, clusters included.

    Parameters
    ----------
    image : float ndarray, shape (bands, ny, nx)
        Finite everywhere.
    rng : numpy.random.Generator

    Returns
    -------
    float32 ndarray, the same shape
    """
    ny, nx = image.shape[-2:]
    # The phases of a real field: a real image stays real.
    noise = fft.rfft2(rng.standard_normal((ny, nx)), workers=1)
    turn = noise / np.maximum(np.abs(noise), 1e-300)
    turn[0, 0] = 1.0  # the mean stays
    planes = [
        fft.irfft2(fft.rfft2(plane.astype(np.float64), workers=1) * turn, s=(ny, nx), workers=1)
        for plane in image
    ]
    return np.stack(planes).astype(np.float32)


def shuffled(image: np.ndarray) -> np.ndarray:
    """Return the image with every band in the next one's place.

    Raises
    ------
    ValueError
        If there is one band alone.
    """
    if len(image) < 2:
        raise ValueError("bands can only be exchanged where there are two or more")
    return np.roll(image, 1, axis=0)


def without_halos(settings: SimulationSettings) -> SimulationSettings:
    """Return the settings of a sky without halos, but with as many galaxies.

    The counts of galaxies are published ones: without members the field holds them all.
    """
    heavy = HaloSettings.model_fields["m500c_min_msun"].metadata
    limit = max(m.le for m in heavy if hasattr(m, "le"))  # the heaviest limit that is allowed
    halos = settings.halos.model_copy(
        update={"m500c_min_msun": limit, "group_m500c_min_msun": limit}
    )
    return settings.model_copy(update={"halos": halos})
