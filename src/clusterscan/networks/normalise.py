"""From pixel values to network inputs, by robust statistics of the training examples.

Missing pixels (NaN) become 0, the value of the background; values beyond the range of the
float16 examples (65504) are clipped to it, in the scan as in training.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np

from clusterscan.config.train import NormalisationSettings
from clusterscan.errors import ModelError

FLOAT16_MAX = 65504.0


@dataclass(frozen=True)
class Normalisation:
    """How each band's pixels are scaled; medians and sigmas are in the image's own unit."""

    kind: str
    softening: float
    median: tuple[float, ...]
    sigma: tuple[float, ...]

    def to_json(self) -> dict:
        """Return plain numbers for the model card."""
        return {key: list(v) if isinstance(v, tuple) else v for key, v in asdict(self).items()}

    @classmethod
    def from_json(cls, data: dict) -> Normalisation:
        """Read what `to_json` wrote."""
        try:
            return cls(
                str(data["kind"]),
                float(data["softening"]),
                tuple(float(v) for v in data["median"]),
                tuple(float(v) for v in data["sigma"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(
                f"the model card's normalisation is damaged ({error!r}); train the model again"
            ) from error


def measure(
    images: np.ndarray, settings: NormalisationSettings, *, pixels_per_band: int = 2_000_000
) -> Normalisation:
    """Measure each band's median and robust sigma, 1.4826 times the median absolute deviation.

    Parameters
    ----------
    images : float ndarray, shape (n, bands, y, x)
        Training examples; missing pixels NaN.
    settings : NormalisationSettings
        Kind and softening.
    pixels_per_band : int
        At most this many pixels, evenly spaced, are used.

    Raises
    ------
    ModelError
        If a band has no finite pixel or no spread.

    References
    ----------
    Rousseeuw & Croux 1993, J. Am. Stat. Assoc. 88, 1273.
    """
    medians, sigmas = [], []
    for band in range(images.shape[1]):
        values = _spread_pixels(images[:, band], pixels_per_band)
        if values.size == 0:
            raise ModelError(
                f"band {band} has no finite pixel in any training example; "
                "does the survey cover the training sky?"
            )
        median = float(np.median(values))
        sigma = 1.4826 * float(np.median(np.abs(values - median)))
        if sigma == 0:  # more than half of the pixels are equal, as in counts of photons
            sigma = float(values.std())
        if not sigma > 0:
            raise ModelError(
                f"band {band} is constant ({median}) in all training examples; "
                "leave it out or look at its images"
            )
        medians.append(median)
        sigmas.append(sigma)
    return Normalisation(settings.kind, settings.softening, tuple(medians), tuple(sigmas))


def _spread_pixels(images: np.ndarray, count: int) -> np.ndarray:
    per_image = images.reshape(len(images), -1)
    # A step that shares no factor with the image width meets all columns.
    step = max(1, per_image.size // count) | 1
    values = np.concatenate([row[i % step :: step] for i, row in enumerate(per_image)])
    values = values.astype(np.float64)
    return values[np.isfinite(values)]


def apply(images: np.ndarray, normalisation: Normalisation) -> np.ndarray:
    """Return network inputs, float32 of the same shape (..., bands, y, x); no NaN remains.

    Raises
    ------
    ModelError
        If the number of bands is not the normalisation's.
    """
    bands = len(normalisation.median)
    if images.shape[-3] != bands:
        raise ModelError(
            f"the image has {images.shape[-3]} bands, the model was trained on {bands}; "
            "scan with the survey and bands of the model card"
        )
    shape = (bands, 1, 1)
    median = np.array(normalisation.median, dtype=np.float32).reshape(shape)
    sigma = np.array(normalisation.sigma, dtype=np.float32).reshape(shape)
    values = np.clip(images.astype(np.float32), -FLOAT16_MAX, FLOAT16_MAX)
    values = (values - median) / sigma
    if normalisation.kind == "asinh":
        b = np.float32(normalisation.softening)
        values = b * np.arcsinh(values / b)
    return np.nan_to_num(values, copy=False, nan=0.0)
