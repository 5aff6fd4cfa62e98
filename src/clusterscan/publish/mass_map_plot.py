"""The report's map of the mass limit: M500c at 50 % completeness of each tile."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from clusterscan.core import sky
from clusterscan.publish import figures
from clusterscan.publish.inputs import Picture
from clusterscan.publish.sky_frame import SkyFrame, sky_frames

_UNIT = 1e14
_MOST_LABELS = 40  # tiles whose limit is also written
_PIXELS = 420


def mass_map_pictures(measured: Mapping[str, Any]) -> list[Picture]:
    """Return a map for each patch of the footprint; none where no tile has a limit of its own.

    Parameters
    ----------
    measured : mapping
        From `clusterscan.selection.completeness.for_the_report`, read back from JSON.
    """
    tile = np.array(measured.get("tile") or [], dtype=np.int64)
    limit = np.array(measured.get("m50_msun") or [], dtype=np.float64) / _UNIT  # None: NaN
    probed = np.array(measured.get("probed") or [], dtype=bool)
    own = probed & np.isfinite(limit)
    if not own.any():
        return []
    order = int(measured["tile_order"])
    # Colours span the probed tiles' limits, and never less than 10 %: noise is no pattern.
    low, high = limit[own].min(), limit[own].max()
    middle, half = (low + high) / 2, max((high - low) / 2, 0.05 * (low + high) / 2)
    return [
        _picture(frame, tile, limit, own, order, (middle - half, middle + half), measured["z"])
        for frame in sky_frames(tile, order, pixels=_PIXELS)
    ]


def tile_image(frame: SkyFrame, tile: np.ndarray, values: np.ndarray, order: int) -> np.ndarray:
    """Return the value of the tile under each pixel of a frame, NaN off the tiles."""
    ra, dec = (a[..., 0] for a in frame.samples)
    good = np.isfinite(ra) & np.isfinite(dec)
    sort = np.argsort(tile)
    cell = sky.owning_cell(ra[good], dec[good], order)
    at = np.minimum(np.searchsorted(tile[sort], cell), tile.size - 1)
    image = np.full(frame.shape, np.nan)
    image[good] = np.where(tile[sort][at] == cell, values[sort][at], np.nan)
    return image


def _picture(
    frame: SkyFrame,
    tile: np.ndarray,
    limit: np.ndarray,
    own: np.ndarray,
    order: int,
    span: tuple[float, float],
    z: float,
) -> Picture:
    with figures.style():
        figure = figures.new_figure(5.6, 4.9)
        axes = figure.add_subplot(projection=frame.wcs)
        rest = tile_image(frame, tile, np.where(own, np.nan, 1.0), order)
        axes.imshow(rest, origin="lower", cmap="Greys", vmin=0, vmax=5, interpolation="nearest")
        image = axes.imshow(
            tile_image(frame, tile, np.where(own, limit, np.nan), order),
            origin="lower", cmap=figures.MAP_COLOURS, vmin=span[0], vmax=span[1],
            interpolation="nearest",
        )  # fmt: skip
        figure.colorbar(image, ax=axes, label="M500c [10¹⁴ solar masses]", shrink=0.75, pad=0.02)
        axes.coords[0].set_axislabel("Right ascension [deg]")
        axes.coords[1].set_axislabel("Declination [deg]")
        for coordinate in axes.coords:
            coordinate.set_major_formatter("d")
            coordinate.grid(color=figures.GREY, alpha=0.35, linewidth=0.6)
        if own.sum() <= _MOST_LABELS:
            _write_limits(axes, frame, tile[own], limit[own], order, sum(span) / 2)
        axes.set_title(f"Mass at 50 % completeness, z = {z:g}")
        return figures.png(
            figure, "Map of the mass at 50 % completeness of each tile",
            "From injected (SIMULATED) clusters. Pale tiles had none injected: the footprint's "
            "limit stands for them.", dpi=130,
        )  # fmt: skip


def _write_limits(
    axes: Any, frame: SkyFrame, tile: np.ndarray, limit: np.ndarray, order: int, middle: float
) -> None:
    ra, dec = sky.cell_centres(tile, order)
    x, y = frame.wcs.world_to_pixel_values(ra, dec)
    for inside, i, j, value in zip(frame.contains(ra, dec), x, y, limit, strict=True):
        if inside:
            colour = "#ffffff" if value < middle else figures.INK
            axes.text(i, j, f"{value:.2f}", ha="center", va="center", color=colour, fontsize=9)
