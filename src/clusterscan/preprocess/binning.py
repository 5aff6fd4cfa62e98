"""Binning by whole pixels: means of what is covered, exact WCS, masks that follow.

A pixel of the binned image is n × n raw pixels; with centres at integers, raw x lies at
binned (x - (n - 1) / 2) / n.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np
from astropy.wcs import WCS

from clusterscan.core.errors import ImageError
from clusterscan.formats.mask_planes import NO_COVERAGE


def bin_image(
    image: np.ndarray,
    covered: np.ndarray,
    n: int,
    combine: Literal["mean", "sum"] = "mean",
) -> np.ndarray:
    """Bin an image, using covered pixels only.

    Parameters
    ----------
    image : float ndarray, shape (bands, ny, nx)
        Raw image; ny and nx are multiples of n.
    covered : bool ndarray, shape (ny, nx)
        Pixels with data.
    n : int
        Raw pixels along a side of a binned pixel.
    combine : {"mean", "sum"}
        ``mean`` keeps surface brightness; ``sum`` adds counts and scales up for raw pixels
        without data, as if they held the mean of the others.

    Returns
    -------
    float32 ndarray, shape (bands, ny // n, nx // n)
        0 where no raw pixel is covered.

    Raises
    ------
    ImageError
        If a side is no multiple of n.
    """
    if n == 1:
        return np.where(covered, image, 0.0).astype(np.float32, copy=False)
    _check_sides(covered, n)
    if covered.all():
        total = _sums(image, n)
        return (total if combine == "sum" else total * (1.0 / n**2)).astype(np.float32)
    count = _sums(covered, n)
    weight = np.divide(1.0, count, out=np.zeros(count.shape), where=count > 0)
    if combine == "sum":
        weight *= n * n
    total = _sums(np.where(covered, image, np.float32(0.0)), n)
    return (total * weight).astype(np.float32)


def bin_ivar(
    ivar: np.ndarray,
    covered: np.ndarray,
    n: int,
    combine: Literal["mean", "sum"] = "mean",
) -> np.ndarray:
    """Bin inverse variances as `bin_image` bins the image, of independent pixels.

    The mean of k pixels has the variance (sum of theirs) / k², their sum scaled up to n² pixels
    (n² / k)² times their sum. Noise that neighbouring pixels share is not described.

    Parameters
    ----------
    ivar : float ndarray, shape (bands, ny, nx)
        Inverse variances [1 / unit²]; 0, NaN or infinite where nothing is known.
    covered : bool ndarray, shape (ny, nx)
        Pixels with data.
    n : int
        Raw pixels along a side of a binned pixel.
    combine : {"mean", "sum"}
        As in `bin_image`.

    Returns
    -------
    float32 ndarray, shape (bands, ny // n, nx // n)
        0 where no raw pixel is covered, or of one that counts nothing is known.
    """
    with np.errstate(invalid="ignore"):
        known = covered & (ivar > 0) & (ivar < np.inf)
    if n == 1:
        return np.where(known, ivar, 0.0).astype(np.float32, copy=False)
    variance = np.divide(1.0, ivar, out=np.zeros(ivar.shape), where=known)
    _check_sides(covered, n)
    total, count = _sums(variance, n), _sums(covered, n)
    whole = _sums(known, n) == count
    factor = count**2 if combine == "mean" else count**2 / n**4
    binned = np.divide(factor, total, out=np.zeros(total.shape), where=whole & (count > 0))
    return binned.astype(np.float32)


def bin_mask(mask: np.ndarray, n: int) -> np.ndarray:
    """Bin a mask: one masked pixel spoils a bin, lack of coverage takes over half."""
    if n == 1:
        return mask.astype(np.uint8, copy=False)
    _check_sides(mask, n)
    if not mask.any():
        return np.zeros((mask.shape[0] // n, mask.shape[1] // n), np.uint8)
    bits = np.bitwise_or.reduce(list(_shifts(mask, n)))
    empty = _sums(mask & NO_COVERAGE, n)
    binned = bits & ~NO_COVERAGE
    return (binned | np.where(2 * empty > n * n, NO_COVERAGE, 0)).astype(np.uint8)


def bin_wcs(wcs: WCS, n: int) -> WCS:
    """Return the WCS of the binned image; sky positions are kept exactly."""
    binned = wcs.deepcopy()
    binned.wcs.crpix = [(reference - 0.5) / n + 0.5 for reference in wcs.wcs.crpix]
    if wcs.wcs.has_cd():
        binned.wcs.cd = wcs.wcs.cd * n
    else:
        binned.wcs.cdelt = [step * n for step in wcs.wcs.cdelt]
    binned.wcs.set()
    return binned


def _sums(array: np.ndarray, n: int) -> np.ndarray:
    """Return the sum of each n × n pixels, float64."""
    first, *others = _shifts(array, n)
    total = first.astype(np.float64)
    for other in others:
        total += other
    return total


def _shifts(array: np.ndarray, n: int) -> Iterator[np.ndarray]:
    """Yield the first pixel of each n × n, then the second, and so on: views, no copies."""
    for y in range(n):
        for x in range(n):
            yield array[..., y::n, x::n]


def _check_sides(array: np.ndarray, n: int) -> None:
    ny, nx = array.shape[-2:]
    if ny % n or nx % n:
        raise ImageError(
            f"an image of {ny} × {nx} px cannot be binned by {n}: both sides must be multiples; "
            "the source was told another binning, so fetch the tile anew"
        )
