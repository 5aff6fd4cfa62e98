"""Regions of the colour-magnitude diagram: red sequence, blue cloud, green valley, red shoulder.

Early-type galaxies of a cluster form a narrow, slightly tilted line, the red sequence. Bluer
galaxies form stars; the green valley lies between. Galaxies redder than the line, its red
shoulder, are mostly behind the cluster.
"""

from __future__ import annotations

import numpy as np
from pydantic import Field

from clusterscan.config.base import Settings
from clusterscan.core.errors import CatalogueError

RED_SHOULDER, RED_SEQUENCE = "red shoulder", "red sequence"
GREEN_VALLEY, BLUE_CLOUD = "green valley", "blue cloud"
REGIONS = (RED_SEQUENCE, GREEN_VALLEY, BLUE_CLOUD, RED_SHOULDER)


class RedSequence(Settings):
    """A red sequence and the regions around it; colours and magnitudes in mag."""

    pivot_mag: float = Field(description="magnitude at which colour_at_pivot_mag holds")
    colour_at_pivot_mag: float = Field(description="colour of the sequence at the pivot")
    slope: float = Field(0.0, description="colour per magnitude; brighter is redder: negative")
    half_width_mag: float = Field(gt=0, description="half width of the sequence in colour")
    green_valley_mag: float = Field(
        0.2, ge=0, description="width in colour of the green valley below the sequence"
    )

    def colour(self, magnitude: np.ndarray) -> np.ndarray:
        """Return the sequence's colour at each magnitude."""
        return self.colour_at_pivot_mag + self.slope * (np.asarray(magnitude) - self.pivot_mag)


def colour_magnitude_regions(
    colour: np.ndarray, magnitude: np.ndarray, settings: RedSequence
) -> np.ndarray:
    """Return the region of each galaxy.

    Parameters
    ----------
    colour, magnitude : float ndarray, shape (n,)
        E.g. g - z and r [mag]; NaN where unknown.
    settings : RedSequence

    Returns
    -------
    str ndarray (object), shape (n,)
        A name of ``REGIONS``; None where colour or magnitude is not finite.
    """
    excess = np.asarray(colour, dtype=np.float64) - settings.colour(magnitude)
    width, valley = settings.half_width_mag, settings.green_valley_mag
    region = np.select(
        [excess > width, excess >= -width, excess >= -width - valley],
        [RED_SHOULDER, RED_SEQUENCE, GREEN_VALLEY],
        default=BLUE_CLOUD,
    ).astype(object)
    region[~np.isfinite(excess)] = None
    return region


def fit_red_sequence(
    colour: np.ndarray,
    magnitude: np.ndarray,
    *,
    clip_sigma: float = 2.5,
    green_valley_mag: float = 0.2,
) -> RedSequence:
    """Fit a red sequence to galaxies that mostly lie on it.

    The line has the median slope of all pairs of galaxies (Theil-Sen), which is robust against up
    to 29 % of outliers. The fit is repeated on the galaxies within ``clip_sigma`` of the line. The
    half width is twice the scatter.

    Parameters
    ----------
    colour, magnitude : float ndarray, shape (n,)
        E.g. of cluster members; NaN are left out.
    clip_sigma : float
        Distance from the line, in standard deviations, beyond which galaxies do not count.
    green_valley_mag : float
        Of the settings returned.

    Raises
    ------
    CatalogueError
        If fewer than 10 galaxies have a colour and a magnitude.

    References
    ----------
    Theil 1950, Indag. Math. 12, 85; Sen 1968, J. Am. Stat. Assoc. 63, 1379; Bower, Lucey &
    Ellis 1992, MNRAS 254, 601 (the relation).
    """
    from scipy.stats import median_abs_deviation, theilslopes

    x, y = np.asarray(magnitude, dtype=np.float64), np.asarray(colour, dtype=np.float64)
    known = np.isfinite(x) & np.isfinite(y)
    x, y = x[known], y[known]
    if len(x) < 10:
        raise CatalogueError(
            f"red sequence: {len(x)} galaxies have a colour and a magnitude, a fit needs 10; "
            "give the sequence in the settings instead"
        )
    kept = np.ones(len(x), dtype=bool)
    for _ in range(5):
        slope, _, _, _ = theilslopes(y[kept], x[kept])
        level = np.median(y[kept] - slope * x[kept])
        residual = y - slope * x - level
        scatter = median_abs_deviation(residual[kept], scale="normal")
        kept = np.abs(residual) <= max(clip_sigma * scatter, 1e-6)
    pivot = float(np.median(x[kept]))
    return RedSequence(
        pivot_mag=pivot,
        colour_at_pivot_mag=float(level + slope * pivot),
        slope=float(slope),
        half_width_mag=float(max(2 * scatter, 1e-3)),
        green_valley_mag=green_valley_mag,
    )
