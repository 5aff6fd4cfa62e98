"""Reduce an image: bin it, subtract its background, and measure its depth.

A pixel of the binned image is n × n raw pixels. With pixel centres at integers, raw x lies at
binned (x - (n - 1) / 2) / n.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from astropy.wcs import WCS
from scipy import fft

from clusterscan.core import sky
from clusterscan.core.errors import ImageError
from clusterscan.core.records import read_manifest
from clusterscan.formats.mask_planes import MASK_DTYPE, NO_COVERAGE
from clusterscan.formats.tile_image import TileImage


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
        ``mean`` keeps surface brightness. ``sum`` adds counts; raw pixels without data count as if
        they had the mean of the others.

    Returns
    -------
    float32 ndarray, shape (bands, ny // n, nx // n)
        0 where no raw pixel is covered.

    Raises
    ------
    ImageError
        If a side is not a multiple of n.
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
    # Uncovered pixels are set to 0, because NaN times a weight of 0 would still be NaN.
    total = _sums(np.where(covered, image, np.float32(0.0)), n)
    return (total * weight).astype(np.float32)


def bin_ivar(
    ivar: np.ndarray,
    covered: np.ndarray,
    n: int,
    combine: Literal["mean", "sum"] = "mean",
) -> np.ndarray:
    """Bin inverse variances like the image, for independent pixels.

    The mean of k pixels has the variance (sum of theirs) / k². Their sum, scaled up to n² pixels,
    has (n² / k)² times the sum of theirs. Correlated noise is not described.

    Parameters
    ----------
    ivar : float ndarray, shape (bands, ny, nx)
        Inverse variances [1 / unit²]; 0, NaN or infinite where unknown.
    covered : bool ndarray, shape (ny, nx)
        Pixels with data.
    n : int
        Raw pixels along a side of a binned pixel.
    combine : {"mean", "sum"}
        As in `bin_image`.

    Returns
    -------
    float32 ndarray, shape (bands, ny // n, nx // n)
        0 where no raw pixel is covered, or the noise of a covered one is unknown.
    """
    with np.errstate(invalid="ignore"):
        known = covered & (ivar > 0) & (ivar < np.inf)
    if n == 1:
        return np.where(known, ivar, 0.0).astype(np.float32, copy=False)
    variance = np.divide(1.0, ivar, out=np.zeros(ivar.shape), where=known)
    _check_sides(covered, n)
    total, count = _sums(variance, n), _sums(covered, n)
    # One covered pixel of unknown noise makes the noise of the whole bin unknown.
    whole = _sums(known, n) == count
    factor = count**2 if combine == "mean" else count**2 / n**4
    binned = np.divide(factor, total, out=np.zeros(total.shape), where=whole & (count > 0))
    return binned.astype(np.float32)


def bin_mask(mask: np.ndarray, n: int) -> np.ndarray:
    """Bin a mask: one masked pixel masks the bin, but missing coverage must exceed one half."""
    if n == 1:
        return mask.astype(MASK_DTYPE, copy=False)
    _check_sides(mask, n)
    if not mask.any():
        return np.zeros((mask.shape[0] // n, mask.shape[1] // n), MASK_DTYPE)
    bits = np.bitwise_or.reduce(list(_shifts(mask, n)))  # any masked pixel masks the bin
    empty = _sums(mask & NO_COVERAGE, n)
    binned = bits & ~NO_COVERAGE
    return (binned | np.where(2 * empty > n * n, NO_COVERAGE, 0)).astype(MASK_DTYPE)


def bin_wcs(wcs: WCS, n: int) -> WCS:
    """Return the WCS of the binned image; sky positions stay exactly the same."""
    binned = wcs.deepcopy()
    binned.wcs.crpix = [(reference - 0.5) / n + 0.5 for reference in wcs.wcs.crpix]
    if wcs.wcs.has_cd():
        binned.wcs.cd = wcs.wcs.cd * n
    else:
        binned.wcs.cdelt = [step * n for step in wcs.wcs.cdelt]
    binned.wcs.set()
    return binned


def _sums(array: np.ndarray, n: int) -> np.ndarray:
    """Return the sum of each n × n block, float64."""
    first, *others = _shifts(array, n)
    total = first.astype(np.float64)
    for other in others:
        total += other
    return total


def _shifts(array: np.ndarray, n: int) -> Iterator[np.ndarray]:
    """Yield the first pixel of each n × n block, then the second, and so on (views, no copies)."""
    for y in range(n):
        for x in range(n):
            yield array[..., y::n, x::n]


def _check_sides(array: np.ndarray, n: int) -> None:
    ny, nx = array.shape[-2:]
    if ny % n or nx % n:
        raise ImageError(
            f"an image of {ny} × {nx} px cannot be binned by {n}: both sides must be multiples; "
            "it was fetched for another binning, so fetch the tile again"
        )


_SIGMA_PER_FWHM = 1.0 / np.sqrt(8.0 * np.log(2.0))


def medians(image: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Return each band's median over valid pixels, shape (bands,); 0 if there are none."""
    if not valid.any():
        return np.zeros(image.shape[0], np.float32)
    # Gathering valid pixels costs more than the median, and most images have no gaps.
    values = image.reshape(image.shape[0], -1) if valid.all() else image[:, valid]
    return np.median(values, axis=1).astype(np.float32)


def highpass(image: np.ndarray, valid: np.ndarray, fwhm_px: float) -> np.ndarray:
    """Subtract a Gaussian-smoothed copy of the image.

    The smoothing is a normalised convolution: pixels without data, and the sky beyond the border,
    have no weight.

    Parameters
    ----------
    image : float ndarray, shape (bands, ny, nx)
        Any values where not valid.
    valid : bool ndarray, shape (ny, nx)
        Pixels with data.
    fwhm_px : float
        Full width at half maximum of the Gaussian [pixels].

    Returns
    -------
    float32 ndarray, shape (bands, ny, nx)
        0 where not valid.
    """
    sigma = fwhm_px * _SIGMA_PER_FWHM
    # Subtract the median first, so that a large offset costs no digits in the sums.
    level = np.median(image[:, valid], axis=1) if valid.any() else np.zeros(image.shape[0])
    centred = np.where(valid, image - level[:, None, None], 0.0)
    weight = _smooth(valid.astype(np.float64), sigma)
    smooth = np.stack([_smooth(plane, sigma) for plane in centred])
    smooth /= np.maximum(weight, 1e-6)
    return np.where(valid, centred - smooth, 0.0).astype(np.float32)


def _smooth(plane: np.ndarray, sigma: float) -> np.ndarray:
    """Convolve with a unit Gaussian; the border is padded with zeros, so nothing wraps around."""
    pad = int(np.ceil(5.0 * sigma))  # a Gaussian is below 4e-6 of its peak there
    shape = [fft.next_fast_len(side + pad, real=True) for side in plane.shape]
    # The analytic transform of the Gaussian is exact for any sigma; a sampled kernel is not.
    ky = fft.fftfreq(shape[0])[:, None]
    kx = fft.rfftfreq(shape[1])[None, :]
    kernel = np.exp(-2.0 * np.pi**2 * sigma**2 * (kx**2 + ky**2))
    smooth = fft.irfft2(fft.rfft2(plane, s=shape) * kernel, s=shape)
    return smooth[: plane.shape[0], : plane.shape[1]]


def depths(tile: TileImage) -> dict[str, float | None]:
    """Return each band's median noise of a pixel [unit]; None where it is unknown.

    All pixels with data count, masked ones included: their noise is that of the sky around them.
    """
    found: dict[str, float | None] = {}
    assert tile.ivar is not None
    for band, plane in zip(tile.bands, tile.ivar, strict=True):
        known = plane[tile.covered & (plane > 0)]
        found[band] = float(f"{1 / np.sqrt(np.median(known)):.6g}") if known.size else None
    return found


def depth_table(manifests: Iterable[str | Path]) -> pd.DataFrame:
    """Return the depth of every tile of a survey.

    Parameters
    ----------
    manifests : iterable of path
        Block manifests of `preprocess`.

    Returns
    -------
    DataFrame
        tile, ra_deg, dec_deg (of its centre), covered (share of pixels with data), and for each
        band ``sigma_<band>``, the median noise of a pixel [unit]; NaN where unknown. Tiles without
        an image are left out.
    """
    rows = []
    for path in manifests:
        manifest = read_manifest(path)
        for record in manifest.records:
            if not record.has_shard:
                continue
            ra, dec = sky.cell_centres(np.array(record.tile), manifest.tile_order)
            counts = record.counts
            row = {"tile": record.tile, "ra_deg": float(ra), "dec_deg": float(dec)}
            row["covered"] = counts["covered"] / counts["pixels"]
            row |= {f"sigma_{band}": sigma for band, sigma in counts.get("depth", {}).items()}
            rows.append(row)
    table = pd.DataFrame(rows, columns=None if rows else ["tile", "ra_deg", "dec_deg", "covered"])
    for column in table.columns.difference(["tile"]):
        table[column] = table[column].astype(np.float64)
    return table.sort_values("tile", ignore_index=True)
