"""Scan a real ROSAT field with a network that was trained on simulated X-ray images.

The network has seen the simulated PSPC only (docs/simulation.md). The differences of the real
field are left as they are: the band is 0.42-2.01 keV, the ribs of the window and the detector's
background are the real ones, and no simulated cluster is as near as Abell 3158.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from astropy.io import fits
from astropy.wcs import WCS
from scipy import ndimage

from clusterscan.catalogs.reading import read_catalogue
from clusterscan.config.scan import ScanSettings
from clusterscan.core.data_paths import expand_path
from clusterscan.core.errors import ImageError
from clusterscan.formats.fits_images import celestial_wcs
from clusterscan.formats.mask_planes import MASK_DTYPE
from clusterscan.formats.tile_image import TileImage
from clusterscan.simulate.canvas import convolve_gaussians
from clusterscan_studies.config.extras import RosatFieldSettings

UNIT, BAND, NO_COVERAGE = "ct/arcmin2", "xray", 1
_PEAK_SEPARATION_ARCMIN = 2.0
_RANDOM_PLACES = 4000


@dataclass(frozen=True)
class RosatField:
    """The field, on the scale and in the unit of the network's training images.

    Attributes
    ----------
    image : TileImage
        Smoothed photons [ct/arcmin2], and the mask of the detector's field.
    counts : float ndarray, shape (ny, nx)
        Photons.
    centre : (x, y)
        The optical axis [pixels].
    """

    image: TileImage
    counts: np.ndarray
    centre: tuple[float, float]

    @property
    def shape(self) -> tuple[int, int]:
        """(ny, nx)."""
        ny, nx = self.counts.shape
        return ny, nx


def read_field(settings: RosatFieldSettings) -> RosatField:
    """Read the field and smooth it, in the unit of the simulated survey.

    Raises
    ------
    SourceError
        If a file is missing.
    ImageError
        If it is no image or has no celestial WCS, or the two differ in shape.
    """
    counts, wcs = _read(expand_path(settings.counts))
    exposure, _ = _read(expand_path(settings.exposure))
    if counts.shape != exposure.shape:
        raise ImageError(
            f"{settings.counts} is {counts.shape}, but {settings.exposure} {exposure.shape}; "
            "give the exposure of the same image"
        )
    # Holes inside the field are sources that somebody cut out of the exposure, not of the counts.
    seen = ndimage.binary_fill_holes(exposure > 0)
    scale = 3600 * float(np.sqrt(np.abs(np.linalg.det(wcs.pixel_scale_matrix))))
    sigma = settings.smoothing_fwhm_arcsec / scale / np.sqrt(8 * np.log(2))
    plane = np.where(seen, counts, 0.0).astype(np.float32)
    pad = int(np.ceil(5 * sigma))
    wide = convolve_gaussians(np.pad(plane, pad), [1.0], [sigma**2], spline=False)
    smooth = np.maximum(wide[pad : pad + plane.shape[0], pad : pad + plane.shape[1]], 0.0)
    image = np.where(seen, smooth * (60.0 / scale) ** 2, 0.0).astype(np.float32)[None]
    mask = np.where(seen, 0, NO_COVERAGE).astype(MASK_DTYPE)
    # PSPC images have their reference pixel on the optical axis; FITS counts pixels from 1.
    x, y = wcs.wcs.crpix - 1
    return RosatField(TileImage(image, mask, wcs, UNIT, (BAND,)), counts, (float(x), float(y)))


def _read(path: Path) -> tuple[np.ndarray, WCS]:
    try:
        with fits.open(path, memmap=False) as hdus:
            data, header = hdus[0].data, hdus[0].header
    except (OSError, ValueError) as error:
        raise ImageError(
            f"{path}: no FITS image ({error}); give another file, or leave this extra out"
        ) from error
    if data is None or data.ndim != 2:
        raise ImageError(f"{path}: its first part is no image with a celestial WCS")
    wcs = celestial_wcs(header, str(path), "give another file, or leave this extra out")
    return np.asarray(data, dtype=np.float64), wcs


def probability_map(field: RosatField, folder: Path, step_px: int) -> np.ndarray:
    """Map a network's probability over the field.

    Parameters
    ----------
    field : RosatField
        The field.
    folder : Path
        The model.
    step_px : int
        Pixels between two crops; values between are interpolated.

    Returns
    -------
    float32 ndarray, shape (ny, nx)
        NaN where a crop would hold too little data.

    Raises
    ------
    ModelError
        If the network was trained on other bands or another pixel scale.
    """
    from clusterscan.networks.card import check_fits, load_model
    from clusterscan.scan.tile_scan import scan_tile

    network, card = load_model(folder)
    check_fits(card, 0, (BAND,), field.image.pixel_scale_arcsec)
    ny, nx = field.shape
    rows, columns = np.arange(0, ny, step_px), np.arange(0, nx, step_px)
    y, x = (side.ravel().astype(float) for side in np.meshgrid(rows, columns, indexing="ij"))
    # Padding by a whole crop lets windows at the edge be cut; the mask then decides which of them
    # hold enough data.
    half = network.sizes_px[0]
    image = np.pad(field.image.image, ((0, 0), (half, half), (half, half)))
    mask = np.pad(field.image.mask, half, constant_values=NO_COVERAGE)
    settings = ScanSettings(engine="windowed")
    values, _ = scan_tile(network, card, image, mask, x + half, y + half, settings)
    coarse = values.reshape(len(rows), len(columns))
    return _fine(coarse, step_px, field.shape)


def _fine(coarse: np.ndarray, step: int, shape: tuple[int, int]) -> np.ndarray:
    """Interpolate a map linearly; a value next to a missing one is missing."""
    y, x = np.indices(shape) / step
    # Past the last row nothing is known: carry it on.
    places = np.minimum(y, coarse.shape[0] - 1), np.minimum(x, coarse.shape[1] - 1)
    return ndimage.map_coordinates(coarse, places, order=1, mode="nearest").astype(np.float32)


def known_clusters(field: RosatField, settings: RosatFieldSettings) -> pd.DataFrame:
    """Return the listed clusters inside the image: catalogue, name, ra_deg, dec_deg, z, x, y."""
    parts = []
    for catalogue in settings.catalogues:
        table = read_catalogue(catalogue).table
        # The projection has a far side: only what lies ahead can be inside.
        x, y = field.image.to_pixel(table["ra_deg"].to_numpy(), table["dec_deg"].to_numpy())
        ny, nx = field.shape
        inside = (x > -0.5) & (x < nx - 0.5) & (y > -0.5) & (y < ny - 0.5)
        rows = table.loc[inside, ["name", "ra_deg", "dec_deg", "z"]]
        parts.append(rows.assign(catalogue=catalogue.name, x=x[inside], y=y[inside]))
    return pd.concat(parts, ignore_index=True)


def judged_clusters(
    field: RosatField, values: np.ndarray, clusters: pd.DataFrame, settings: RosatFieldSettings
) -> pd.DataFrame:
    """Look up the map's probability at each cluster, and rank it among random positions.

    Returns
    -------
    DataFrame
        The clusters with off_axis_arcmin; counts, photons within 1.5 arcmin; probability, the
        highest within `match_arcmin` (NaN: no data there); rank, the fraction of random positions
        in the field with at least this probability within the same radius. Small ranks are good;
        above about 0.05 the cluster does not stand out from random positions.
    """
    pixel = field.image.pixel_scale_arcsec / 60.0
    highest = _highest(values, settings.match_arcmin / pixel)
    inside = np.flatnonzero(np.isfinite(values).ravel())
    rng = np.random.default_rng(0)
    # The chance level is measured, not assumed: the highest value within a radius is large at many
    # places of a noisy map, so a high probability near a cluster alone proves little.
    random = np.sort(highest.ravel()[rng.choice(inside, min(_RANDOM_PLACES, inside.size))])
    x, y = (clusters[c].round().astype(int).to_numpy() for c in ("x", "y"))
    probability = np.where(np.isfinite(values[y, x]), highest[y, x], np.nan)
    at_least = random.size - np.searchsorted(random, probability, side="left")
    off_axis = np.hypot(clusters["x"] - field.centre[0], clusters["y"] - field.centre[1]) * pixel
    near = ndimage.convolve(field.counts, _disc(1.5 / pixel).astype(float), mode="constant")
    return clusters.assign(
        off_axis_arcmin=off_axis,
        counts=near[y, x],
        probability=probability,
        rank=np.where(np.isfinite(probability), at_least / random.size, np.nan),
    )


def _disc(radius_px: float) -> np.ndarray:
    reach = int(np.ceil(radius_px))
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    return np.hypot(y, x) <= radius_px


def _highest(values: np.ndarray, radius_px: float) -> np.ndarray:
    """Return the highest value within a radius of each pixel, ignoring missing values."""
    filled = np.where(np.isfinite(values), values, -1.0)
    return ndimage.maximum_filter(filled, footprint=_disc(radius_px), mode="constant", cval=-1.0)


def peaks(field: RosatField, values: np.ndarray, settings: RosatFieldSettings) -> pd.DataFrame:
    """Return the map's peaks: probability, x, y, ra_deg, dec_deg; the highest first."""
    pixel = field.image.pixel_scale_arcsec / 60.0
    top = _highest(values, _PEAK_SEPARATION_ARCMIN / pixel)
    rows, columns = np.nonzero((values == top) & (values >= settings.peak))
    order = np.argsort(-values[rows, columns], kind="stable")
    rows, columns = rows[order], columns[order]
    ra, dec = field.image.wcs.pixel_to_world_values(columns, rows)
    found = pd.DataFrame(
        {
            "probability": values[rows, columns].astype(float),
            "x": columns.astype(float),
            "y": rows.astype(float),
            "ra_deg": np.atleast_1d(ra).astype(float),
            "dec_deg": np.atleast_1d(dec).astype(float),
        }
    )
    return _distinct(found, _PEAK_SEPARATION_ARCMIN / pixel)


def _distinct(found: pd.DataFrame, least_px: float) -> pd.DataFrame:
    """Drop peaks next to a higher (or equal, earlier) one: flat tops have several."""
    kept: list[int] = []
    place = found[["x", "y"]].to_numpy()
    for row in range(len(found)):
        if all(np.hypot(*(place[row] - place[k])) > least_px for k in kept):
            kept.append(row)
    return found.iloc[kept].reset_index(drop=True)


def with_partners(
    found: pd.DataFrame, clusters: pd.DataFrame, pixel_arcmin: float, radius_arcmin: float
) -> pd.DataFrame:
    """Add to each peak the name of the nearest cluster within a radius, or ""."""
    names = []
    for x, y in zip(found["x"], found["y"], strict=True):
        away = np.hypot(clusters["x"] - x, clusters["y"] - y) * pixel_arcmin
        near = int(np.argmin(away)) if len(away) else -1
        good = near >= 0 and away.iloc[near] <= radius_arcmin
        names.append(str(clusters["name"].iloc[near]) if good else "")
    return found.assign(cluster=names)
