"""Convert images for display: any number of bands in any unit to red, green and blue bytes.

Arrays are (bands, y, x) with the first row at the bottom; the result has its first row on top.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

DISPLAY = "display"  # unit of images that are already stretched for display, 0 to 255
NO_DATA = (200, 204, 209)
_FAINTEST = -2.0  # shown black, in units of the noise
_BRIGHTEST = 30.0  # lowest value shown white, so that pure noise looks like noise


def as_rgb(
    image: np.ndarray,
    unit: str = "",
    *,
    rgb: tuple[int, int, int] | None = None,
    backgrounds: Sequence[tuple[float, float]] | None = None,
) -> np.ndarray:
    """Convert an image to colours.

    Parameters
    ----------
    image : float ndarray, shape (bands, ny, nx)
        NaN marks pixels without data, which are shown grey.
    unit : str
        'display': the bands hold brightness from 0 to 255, red first. Temperatures ('K',
        'uK_CMB' ...): the mean of the bands in units of their noise, blue below and red above
        the median. Any other unit: an asinh stretch above the median; one band is grey, two are
        blue and red with their mean in green, of more the first is blue and the last red.
    rgb : tuple of int, optional
        The bands to show as red, green and blue instead.
    backgrounds : sequence of (level, noise), optional
        Background of each band, from `background`; by default that of the image itself.

    Returns
    -------
    uint8 ndarray, shape (ny, nx, 3)
        First row on top.
    """
    values = np.asarray(image, dtype=np.float64)[:, ::-1]
    known = np.isfinite(values).all(axis=0)
    levels = backgrounds or [background(plane) for plane in values]
    in_noise = [
        (plane - level) / noise for plane, (level, noise) in zip(values, levels, strict=True)
    ]
    if unit == DISPLAY:
        shown = _channels(values, rgb or ((0, 1, 2) if len(values) > 2 else None))
        out = np.clip(np.rint(np.nan_to_num(shown)), 0, 255).astype(np.uint8)
    elif is_temperature(unit):
        out = _diverging(np.mean(in_noise, axis=0))
    else:
        scaled = np.array(in_noise)
        last = len(values) - 1
        out = _stretched(_channels(scaled, rgb or ((last, last // 2, 0) if last > 1 else None)))
    out[~known] = NO_DATA
    return out


def is_temperature(unit: str) -> bool:
    """Return True for units of temperature, such as 'K' or 'uK_CMB'."""
    # "uK_CMB" is a temperature, "ct_K" is not: the unit is the part before the underscore.
    return "K" in unit.split("_")[0]


def background(plane: np.ndarray) -> tuple[float, float]:
    """Return the median of an image and its noise, 1 if the image is constant or empty."""
    from astropy.stats import mad_std

    known = plane[np.isfinite(plane)]
    if not known.size:
        return 0.0, 1.0
    noise = float(mad_std(known))
    return float(np.median(known)), noise if noise > 0 else float(known.std()) or 1.0


def coloured(scaled: np.ndarray, colours: str) -> np.ndarray:
    """Colour values from 0 to 1 by a matplotlib colour map, as bytes; NaN is grey."""
    from matplotlib import colormaps

    rgb = colormaps[colours](np.clip(np.nan_to_num(scaled), 0, 1), bytes=True)[..., :3].copy()
    rgb[~np.isfinite(scaled)] = NO_DATA
    return rgb


def overlaid(rgb: np.ndarray, attribution: np.ndarray, strength: float = 0.5) -> np.ndarray:
    """Draw an attribution map in colour over an image in grey.

    Parameters
    ----------
    rgb : uint8 ndarray, shape (ny, nx, 3)
        From `as_rgb`, first row on top.
    attribution : float ndarray, shape (h, w)
        As for `on_image`.
    strength : float
        Opacity where the attribution is 1.
    """
    from matplotlib import colormaps

    weight = on_image(attribution, rgb.shape[:2])
    luma = rgb @ np.array([0.299, 0.587, 0.114])  # ITU-R BT.601
    grey = 255 * np.sqrt(luma / 255)[..., None]  # lifts faint parts, which the colour would hide
    colour = 255 * colormaps["plasma"](weight)[..., :3]
    # The square root makes weak attributions visible at all, while the strongest stay below
    # `strength`.
    cover = strength * np.sqrt(weight)[..., None]
    return np.clip(np.rint(grey * (1 - cover) + colour * cover), 0, 255).astype(np.uint8)


def on_image(attribution: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Resample an attribution map to the pixels of an image.

    Parameters
    ----------
    attribution : float ndarray, shape (h, w)
        From 0 (no influence) to 1, on the same sky as the image, first row at the bottom; NaN
        counts as 0.
    shape : (int, int)
        Rows and columns of the image.

    Returns
    -------
    float32 ndarray, shape (ny, nx)
        Within [0, 1], first row on top.
    """
    from PIL import Image

    weight = np.nan_to_num(np.asarray(attribution, dtype=np.float32)[::-1])
    size = (shape[1], shape[0])
    # A map of the last layer has a dozen cells a side; enlarged smoothly, it does not suggest edges
    # that are only its grid.
    larger = Image.fromarray(np.clip(weight, 0, 1)).resize(size, Image.Resampling.BICUBIC)
    return np.clip(np.asarray(larger), 0, 1)


def _channels(values: np.ndarray, rgb: tuple[int, int, int] | None) -> np.ndarray:
    """Return red, green and blue planes, shape (ny, nx, 3)."""
    if rgb is not None:
        planes = [values[band] for band in rgb]
    elif len(values) == 2:
        planes = [values[1], (values[0] + values[1]) / 2, values[0]]
    else:
        planes = [values[0]] * 3
    return np.stack(planes, axis=-1)


def _stretched(values: np.ndarray) -> np.ndarray:
    """Stretch red, green and blue in units of the noise to bytes; colours keep their ratios.

    References
    ----------
    Lupton et al. 2004, PASP 116, 133.
    """
    # The stretch acts on the mean of the channels and multiplies all three by one factor.
    # Stretching each channel by itself would turn bright objects white and lose their colour.
    light = np.nan_to_num(np.clip(values - _FAINTEST, 0, None))
    mean = light.mean(axis=-1, keepdims=True)
    # A high percentile instead of the maximum: one bright star would make all else black.
    top = max(float(np.percentile(mean, 99.7)), _BRIGHTEST) if mean.size else _BRIGHTEST
    knee = 3.0  # in units of the noise; the scale is linear below it
    scale = np.arcsinh(mean / knee) / np.arcsinh(top / knee)
    colour = np.divide(light * scale, mean, out=np.zeros_like(light), where=mean > 0)
    brightest = np.maximum(colour.max(axis=-1, keepdims=True), 1.0)  # white cores keep their hue
    return np.rint(255 * colour / brightest).astype(np.uint8)


def _diverging(values: np.ndarray) -> np.ndarray:
    # Saturated at 5 sigma: arcsinh(5 / 2) / arcsinh(2.5) = 1. RdBu_r is white at 0, so blank sky is
    # white, and decrements of clusters are blue.
    return coloured((np.arcsinh(np.nan_to_num(values) / 2) / np.arcsinh(2.5) + 1) / 2, "RdBu_r")
