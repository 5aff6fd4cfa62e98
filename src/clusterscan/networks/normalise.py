"""Scale pixel values to network inputs, by robust statistics of the training examples.

Missing pixels (NaN) become 0, the value of the background (with 'unit', of the darkest pixels).
Values beyond the range of the float16 examples (65504) are clipped to it, in scans as in training.
"""

from __future__ import annotations

import warnings
from dataclasses import asdict, dataclass

import numpy as np
from scipy.special import ndtr

from clusterscan.config.train import NormalisationSettings
from clusterscan.core.errors import ModelError

FLOAT16_MAX = 65504.0

# Ranks of the knots between which 'quantile' interpolates: their normal deviates are evenly
# spaced, so that the tails are followed as closely as the middle.
_DEVIATES = np.linspace(-3.5, 3.5, 71)


@dataclass(frozen=True)
class Normalisation:
    """The scaling of each band's pixels; all statistics are in the image's own unit.

    'unit' maps ``low`` and ``high`` to 0 and 1; 'quantile' interpolates between ``knots``; other
    kinds leave them empty. If ``background`` is 'image', each image's own median is subtracted
    first. With a ``colour_gain`` the inputs are the mean of the scaled bands, then the differences
    of neighbouring bands times the gain.
    """

    kind: str
    softening: float
    median: tuple[float, ...]
    sigma: tuple[float, ...]
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    knots: tuple[tuple[float, ...], ...] = ()
    background: str = "kept"
    colour_gain: float = 0.0

    def to_json(self) -> dict:
        """Return plain numbers for the model card."""
        values = {key: value for key, value in asdict(self).items() if value != ()}
        return {key: _as_lists(value) for key, value in values.items()}

    @classmethod
    def from_json(cls, data: dict) -> Normalisation:
        """Read the plain numbers that `to_json` wrote.

        Raises
        ------
        ModelError
            If a value is missing or of a wrong type.
        """
        try:
            found = cls(
                str(data["kind"]),
                float(data["softening"]),
                _numbers(data["median"]),
                _numbers(data["sigma"]),
                _numbers(data.get("low", ())),
                _numbers(data.get("high", ())),
                tuple(_numbers(row) for row in data.get("knots", ())),
                str(data.get("background", "kept")),
                float(data.get("colour_gain", 0.0)),
            )
            _check_kind(found)
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(
                f"the model card's normalisation is damaged ({error!r}); train the model again"
            ) from error
        return found


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
    medians, sigmas, ranges, knots = [], [], [], []
    # Levelled as in `apply`, so that sigma is the noise about each image's own background.
    images = _levelled(images) if settings.background == "image" else images
    for band in range(images.shape[1]):
        values = _spread_pixels(images[:, band], pixels_per_band)
        median, sigma = _centre_and_spread(values, band)
        medians.append(median)
        sigmas.append(sigma)
        if settings.kind == "unit":
            ranges.append(_range(values, settings.unit_quantiles, band))
        if settings.kind == "quantile":
            knots.append(_knots(values))
    return Normalisation(
        settings.kind,
        settings.softening,
        tuple(medians),
        tuple(sigmas),
        tuple(low for low, _ in ranges),
        tuple(high for _, high in ranges),
        tuple(knots),
        settings.background,
        settings.colour_gain,
    )


def _levelled(images: np.ndarray) -> np.ndarray:
    """Subtract the median of each band from each image; return float32."""
    values = images.astype(np.float32)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "All-NaN slice")  # stays NaN: a missing survey
        return values - np.nanmedian(values, axis=(-2, -1), keepdims=True)


def _centre_and_spread(values: np.ndarray, band: int) -> tuple[float, float]:
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
    return median, sigma


def _range(values: np.ndarray, quantiles: tuple[float, float], band: int) -> tuple[float, float]:
    low, high = (float(v) for v in np.quantile(values, quantiles))
    if not high > low:
        raise ModelError(
            f"band {band} has the same value ({low}) at both of unit_quantiles = "
            f"{list(quantiles)}; widen them, or choose another kind of normalisation"
        )
    return low, high


def _knots(values: np.ndarray) -> tuple[float, ...]:
    """Return the values that have the same ranks as the normal deviates of the knots."""
    return tuple(float(v) for v in np.quantile(values, ndtr(_DEVIATES)))


def _spread_pixels(images: np.ndarray, count: int) -> np.ndarray:
    per_image = images.reshape(len(images), -1)
    # An odd step shares no factor 2 with the image width, so it meets all columns.
    step = max(1, per_image.size // count) | 1
    # Each image starts one pixel further on, so together they show all parts of a crop.
    values = np.concatenate([row[i % step :: step] for i, row in enumerate(per_image)])
    values = values.astype(np.float64)
    return values[np.isfinite(values)]


def apply(images: np.ndarray, normalisation: Normalisation) -> np.ndarray:
    """Scale images to network inputs, float32 of the same shape (..., bands, y, x), without NaN.

    With z = (value - median) / sigma and b the softening: 'standard' is z; 'asinh' b asinh(z / b);
    'log' b ln(1 + |z| / b) with z's sign; 'quantile' the normal deviate of the value's rank;
    'unit' 0 to 1 between two quantiles and clipped there. A colour gain then turns the bands into
    their mean and differences; a pixel that any band lacks is missing there.

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
    # Training sees float16 examples. A scan reads float32 images and clips them alike, so that no
    # star is brighter there than any that the network has learnt from.
    values = np.clip(images.astype(np.float32), -FLOAT16_MAX, FLOAT16_MAX)
    if normalisation.background == "image":
        values = _levelled(values)
    inputs = _scaled(values, normalisation)
    if normalisation.colour_gain and bands > 1:
        inputs = _colours(inputs, normalisation.colour_gain)
    return np.nan_to_num(inputs, copy=False, nan=0.0)


def _colours(bands: np.ndarray, gain: float) -> np.ndarray:
    """Return the mean of the bands, then the differences of neighbours times the gain."""
    # Colours are small differences of large values; with a gain of their own they count as inputs.
    differences = bands[..., :-1, :, :] - bands[..., 1:, :, :]
    mean = bands.mean(axis=-3, keepdims=True)
    return np.concatenate([mean, np.float32(gain) * differences], axis=-3)


def _scaled(values: np.ndarray, normalisation: Normalisation) -> np.ndarray:
    if normalisation.kind == "quantile":
        return _deviates(values, normalisation)
    if normalisation.kind == "unit":
        low, high = _planes(normalisation.low), _planes(normalisation.high)
        return np.clip((values - low) / (high - low), 0, 1)
    z = (values - _planes(normalisation.median)) / _planes(normalisation.sigma)
    b = np.float32(normalisation.softening)
    if normalisation.kind == "asinh":
        return b * np.arcsinh(z / b)
    if normalisation.kind == "log":
        return np.copysign(b * np.log1p(np.abs(z) / b), z)
    return z


def _deviates(values: np.ndarray, normalisation: Normalisation) -> np.ndarray:
    out = np.empty_like(values)
    for band, (knots, median) in enumerate(
        zip(normalisation.knots, normalisation.median, strict=True)
    ):
        # Values that many pixels share, such as zero counts, get the middle of their ranks.
        x, of = np.unique(knots, return_inverse=True)
        y = np.bincount(of, _DEVIATES) / np.bincount(of)
        # Missing pixels become 0, so 0 must mean background: the curve is shifted to 0 at the
        # median.
        y -= np.interp(median, x, y)
        plane = values[..., band, :, :]
        out[..., band, :, :] = np.where(np.isnan(plane), np.nan, np.interp(plane, x, y))
    return out


def _planes(per_band: tuple[float, ...]) -> np.ndarray:
    return np.array(per_band, dtype=np.float32).reshape(-1, 1, 1)


def _numbers(values) -> tuple[float, ...]:
    return tuple(float(v) for v in values)


def _as_lists(value):
    return [_as_lists(v) for v in value] if isinstance(value, tuple) else value


def _check_kind(found: Normalisation) -> None:
    bands = len(found.median)
    if found.kind not in ("asinh", "log", "quantile", "standard", "unit"):
        raise ValueError(f"kind {found.kind!r} is unknown")
    if len(found.sigma) != bands:
        raise ValueError("median and sigma have different lengths")
    if found.kind == "unit" and not len(found.low) == len(found.high) == bands:
        raise ValueError("low and high need one value a band")
    if found.kind == "quantile" and [len(row) for row in found.knots] != [len(_DEVIATES)] * bands:
        raise ValueError(f"knots need {len(_DEVIATES)} values a band")
