"""Images on their own pixels to one image on a tile's frame."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from astropy.wcs import WCS

Resampling = Literal["bilinear", "nearest", "adaptive"]


@dataclass(frozen=True)
class Cut:
    """An image, or the part of one under a tile.

    Attributes
    ----------
    values : float32 ndarray, shape (ny, nx)
        Surface brightness; NaN where there are no data.
    weight : float32 ndarray, shape (ny, nx)
        For the mean of overlapping images; 0 where there are no data.
    wcs : WCS
        Celestial.
    unit : str
        As the file says; empty where it does not.
    """

    values: np.ndarray
    weight: np.ndarray
    wcs: WCS
    unit: str = ""


def coadd(
    cuts: Sequence[Cut], wcs: WCS, shape: tuple[int, int], resampling: Resampling
) -> np.ndarray:
    """Return the weighted mean of images on a frame.

    Parameters
    ----------
    cuts : sequence of Cut
        The images.
    wcs, shape : WCS, (ny, nx)
        The frame.
    resampling : {"bilinear", "nearest", "adaptive"}
        How `reproject` brings each image to the frame.

    Returns
    -------
    float ndarray, shape (ny, nx)
        NaN where no image has data.
    """
    from reproject.mosaicking import reproject_and_coadd

    if not cuts:
        return np.full(shape, np.nan, np.float32)
    function, options = _function(resampling)
    if len(cuts) == 1:
        only = (cuts[0].values, cuts[0].wcs)
        return function(only, wcs, shape_out=shape, return_footprint=False, **options)
    total, seen = reproject_and_coadd(
        [(cut.values, cut.wcs) for cut in cuts],
        wcs,
        shape_out=shape,
        input_weights=[cut.weight for cut in cuts],
        reproject_function=function,
        **options,
    )
    return np.where(seen > 0, total, np.nan)


def _function(resampling: Resampling) -> tuple[Callable, dict[str, Any]]:
    from reproject import reproject_adaptive, reproject_interp

    if resampling == "adaptive":
        return reproject_adaptive, {"conserve_flux": False}
    orders = {"bilinear": "bilinear", "nearest": "nearest-neighbor"}
    # wcslib itself refuses what is not on an image's side of the sky, so going there and back again
    # changes nothing and takes more than half of the time.
    return reproject_interp, {"order": orders[resampling], "roundtrip_coords": False}
