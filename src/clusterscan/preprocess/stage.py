"""Make one tile image: read and check the raw image, bin, mask, subtract the background, trim."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from astropy.wcs import WCS

from clusterscan.blocks import TileOutcome
from clusterscan.config.preprocess import (
    HighpassBackground,
    MedianBackground,
    PreprocessSettings,
)
from clusterscan.errors import ImageError
from clusterscan.fetch.raw import NO_COVERAGE, RawImage, read_raw
from clusterscan.fetch.source import ImageSpec
from clusterscan.preprocess.background import highpass, medians
from clusterscan.preprocess.binning import bin_image, bin_mask, bin_wcs
from clusterscan.preprocess.tile_image import TileImage, write_tile


def margin_arcmin(settings: PreprocessSettings) -> float:
    """Return how much more sky than tile and halo the raw image must hold [arcmin]."""
    return settings.margin_arcmin


def preprocess_tile(raw_path: Path, settings: PreprocessSettings, spec: ImageSpec) -> TileImage:
    """Make a tile image from a raw image.

    Parameters
    ----------
    raw_path : Path
        The raw image.
    settings : PreprocessSettings
        Binning and background.
    spec : ImageSpec
        The survey's bands, unit, scale and margin.

    Raises
    ------
    ImageError
        If the raw image is damaged, has the wrong bands, unit or scale, or holds no finite pixel.
    """
    raw = read_raw(raw_path, spec.bands)
    _check(raw, raw_path, spec)
    finite = np.isfinite(raw.image).all(axis=0)
    mask = raw.mask | np.where(finite, 0, NO_COVERAGE).astype(np.uint8)
    covered = (mask & NO_COVERAGE) == 0
    if not finite.any():
        raise ImageError(
            f"{raw_path}: no finite pixel; delete it and run again, it is fetched anew"
        )
    n = settings.binning
    image = bin_image(raw.image, covered, n, settings.combine)
    mask = bin_mask(mask, n)
    image = subtract_background(image, mask, settings, spec.pixel_scale_arcsec * n)
    tile = TileImage(image, mask, bin_wcs(raw.wcs, n), spec.unit, spec.bands)
    return _trim(tile, spec.margin_arcmin)


def preprocess_file(
    raw_path: Path, destination: Path, settings: PreprocessSettings, spec: ImageSpec
) -> TileOutcome:
    """Make and write a tile image; a raw image that is not usable gives status ``failed``."""
    try:
        tile = preprocess_tile(raw_path, settings, spec)
    except ImageError as error:
        return TileOutcome("failed", str(error))
    fraction = float(tile.covered.mean())
    if fraction <= settings.min_finite_fraction:
        return TileOutcome("no_coverage", f"only {100 * fraction:.2g} % of the pixels have data")
    write_tile(destination, tile)
    return TileOutcome(counts={"pixels": int(tile.mask.size), "covered": int(tile.covered.sum())})


def subtract_background(
    image: np.ndarray, mask: np.ndarray, settings: PreprocessSettings, pixel_scale_arcsec: float
) -> np.ndarray:
    """Return the image without its background, pixels without coverage at the band's median."""
    covered = (mask & NO_COVERAGE) == 0
    # Saturated and bright-star pixels would lift the background around them.
    quiet = mask == 0 if (mask == 0).any() else covered
    background = settings.background
    if isinstance(background, HighpassBackground):
        fwhm_px = 60.0 * background.fwhm_arcmin / pixel_scale_arcsec
        image = highpass(image, covered, fwhm_px)
    elif isinstance(background, MedianBackground):
        image = image - medians(image, quiet)[:, None, None]
    fill = medians(image, quiet)[:, None, None]
    return np.where(covered, image, fill).astype(np.float32)


def _check(raw: RawImage, path: Path, spec: ImageSpec) -> None:
    if raw.unit != spec.unit:
        raise ImageError(
            f"{path}: unit {raw.unit!r}, but survey {spec.survey} says {spec.unit!r}; "
            "correct the survey's unit or fetch the tile anew"
        )
    scale = np.sqrt(np.abs(np.linalg.det(raw.wcs.celestial.pixel_scale_matrix))) * 3600.0
    if abs(scale / spec.pixel_scale_arcsec - 1) > 1e-3:
        raise ImageError(
            f"{path}: pixels of {scale:.4f} arcsec, but survey {spec.survey} says "
            f"{spec.pixel_scale_arcsec}; correct the config or fetch the tile anew"
        )


def _trim(tile: TileImage, margin_arcmin: float) -> TileImage:
    """Cut off the sky that only the filter needed."""
    cut = int(60.0 * margin_arcmin / tile.pixel_scale_arcsec)
    if cut == 0:
        return tile
    inner = (slice(cut, tile.mask.shape[0] - cut), slice(cut, tile.mask.shape[1] - cut))
    return TileImage(
        np.ascontiguousarray(tile.image[:, *inner]),
        np.ascontiguousarray(tile.mask[inner]),
        _shifted(tile.wcs, cut),
        tile.unit,
        tile.bands,
    )


def _shifted(wcs: WCS, cut: int) -> WCS:
    shifted = wcs.deepcopy()
    shifted.wcs.crpix = [reference - cut for reference in wcs.wcs.crpix]
    shifted.wcs.set()
    return shifted
