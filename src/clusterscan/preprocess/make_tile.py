"""Make tile images: check the raw image, bin it, mask it, subtract the background, trim it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from clusterscan.config.preprocess import HighpassBackground, MedianBackground, PreprocessSettings
from clusterscan.core.errors import ImageError
from clusterscan.flow.blocks import TileOutcome
from clusterscan.formats.image_spec import ImageSpec
from clusterscan.formats.mask_planes import EXCLUDED, FLAGGED, MASK_DTYPE, NO_COVERAGE
from clusterscan.formats.raw_image import RawImage, read_raw
from clusterscan.formats.tile_image import TileImage, write_tile
from clusterscan.preprocess.reduction import (
    bin_image,
    bin_ivar,
    bin_mask,
    bin_wcs,
    depths,
    highpass,
    medians,
)
from clusterscan.preprocess.tile_masks import TileMasks, mask_from_image


def preprocess_tile(
    raw_path: Path,
    settings: PreprocessSettings,
    spec: ImageSpec,
    masks: TileMasks | None = None,
) -> TileImage:
    """Make a tile image from a raw image.

    Parameters
    ----------
    raw_path : Path
        The raw image.
    settings : PreprocessSettings
        Binning, background, saturation, and the use of the source's own masks.
    spec : ImageSpec
        The survey's bands, unit, scale and margin.
    masks : TileMasks, optional
        Stars, galaxies, point sources and mask files that overlap the image.

    Raises
    ------
    ImageError
        If the raw image is damaged, has the wrong bands, unit or scale, or has no finite pixel.
    """
    raw = read_raw(raw_path, spec.bands)
    _check(raw, raw_path, spec)
    finite = np.isfinite(raw.image).all(axis=0)
    mask = raw.mask | np.where(finite, 0, NO_COVERAGE).astype(MASK_DTYPE)
    covered = (mask & NO_COVERAGE) == 0
    if not finite.any():
        raise ImageError(f"{raw_path}: no finite pixel; delete it and run again to fetch it")
    n = settings.binning
    # Saturation is judged on raw pixels: in a mean of several pixels it would be diluted.
    mask_from_image(mask, raw.image, spec.bands, settings)
    image = bin_image(raw.image, covered, n, settings.combine)
    ivar = None if raw.ivar is None else bin_ivar(raw.ivar, covered, n, settings.combine)
    mask = bin_mask(mask, n)
    wcs = bin_wcs(raw.wcs, n)
    # Regions are drawn on binned pixels, which is exact enough and n² times cheaper.
    if masks is not None:
        masks.draw(mask, wcs)
    # The margin is needed until the background is subtracted; then it is cut off.
    image = subtract_background(image, mask, settings, spec.pixel_scale_arcsec * n)
    tile = TileImage(image, mask, wcs, spec.unit, spec.bands, ivar)
    return _trim(tile, spec.margin_arcmin)


def preprocess_file(
    raw_path: Path,
    destination: Path,
    settings: PreprocessSettings,
    spec: ImageSpec,
    masks: TileMasks | None = None,
) -> TileOutcome:
    """Make and write a tile image; an unusable raw image gives the status ``failed``."""
    try:
        tile = preprocess_tile(raw_path, settings, spec, masks)
    except ImageError as error:
        return TileOutcome("failed", str(error))
    fraction = float(tile.covered.mean())
    if fraction <= settings.min_finite_fraction:
        return TileOutcome("no_coverage", f"only {100 * fraction:.2g} % of the pixels have data")
    write_tile(destination, tile, settings.compression)
    return TileOutcome(counts=_counts(tile))


def _counts(tile: TileImage) -> dict[str, Any]:
    counts: dict[str, Any] = {"pixels": int(tile.mask.size), "covered": int(tile.covered.sum())}
    if (tile.mask & (FLAGGED | EXCLUDED)).any():
        counts["excluded"] = int(((tile.mask & EXCLUDED) != 0).sum())
        counts["flagged"] = int(((tile.mask & FLAGGED) != 0).sum())
    if tile.ivar is not None:
        counts["depth"] = depths(tile)
    return counts


def subtract_background(
    image: np.ndarray, mask: np.ndarray, settings: PreprocessSettings, pixel_scale_arcsec: float
) -> np.ndarray:
    """Subtract the background; pixels without coverage get the band's median."""
    covered = (mask & NO_COVERAGE) == 0
    # Saturated and bright-star pixels would raise the background around them.
    quiet = mask == 0 if (mask == 0).any() else covered
    background = settings.background
    if isinstance(background, HighpassBackground):
        fwhm_px = 60.0 * background.fwhm_arcmin / pixel_scale_arcsec
        image = highpass(image, covered, fwhm_px)
    elif isinstance(background, MedianBackground):
        image = image - medians(image, quiet)[:, None, None]
    if covered.all():
        return image.astype(np.float32, copy=False)
    # Networks get finite pixels everywhere; the median is the least conspicuous value.
    fill = medians(image, quiet)[:, None, None]
    return np.where(covered, image, fill).astype(np.float32)


def _check(raw: RawImage, path: Path, spec: ImageSpec) -> None:
    if raw.unit != spec.unit:
        raise ImageError(
            f"{path}: unit {raw.unit!r}, but survey {spec.survey} says {spec.unit!r}; "
            "correct the survey's unit or fetch the tile again"
        )
    scale = np.sqrt(np.abs(np.linalg.det(raw.wcs.celestial.pixel_scale_matrix))) * 3600.0
    # A wrong scale would train and scan networks on sky of another size without any error.
    if abs(scale / spec.pixel_scale_arcsec - 1) > 1e-3:
        raise ImageError(
            f"{path}: pixels of {scale:.4f} arcsec, but survey {spec.survey} says "
            f"{spec.pixel_scale_arcsec}; correct the config or fetch the tile again"
        )


def _trim(tile: TileImage, margin_arcmin: float) -> TileImage:
    """Cut off the margin that only the filter needed."""
    cut = int(60.0 * margin_arcmin / tile.pixel_scale_arcsec)
    if cut == 0:
        return tile
    wcs = tile.wcs.deepcopy()
    wcs.wcs.crpix = [reference - cut for reference in tile.wcs.wcs.crpix]
    wcs.wcs.set()
    inner = (slice(cut, tile.mask.shape[0] - cut), slice(cut, tile.mask.shape[1] - cut))
    return TileImage(
        np.ascontiguousarray(tile.image[:, *inner]),
        np.ascontiguousarray(tile.mask[inner]),
        wcs,
        tile.unit,
        tile.bands,
        None if tile.ivar is None else np.ascontiguousarray(tile.ivar[:, *inner]),
    )
