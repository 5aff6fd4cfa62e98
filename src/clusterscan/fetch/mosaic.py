"""The source `mosaic`: exact cuts of one FITS file that holds the whole survey.

Pixels are copied, never resampled: a tile's image is an integer-pixel box of the mosaic, with
the mosaic's own WCS shifted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS

from clusterscan.config.image_sources import MosaicSource
from clusterscan.core import sky
from clusterscan.core.data_paths import expand_path
from clusterscan.core.errors import SourceError
from clusterscan.core.fingerprint import file_sha256
from clusterscan.fetch.source import SourceObject
from clusterscan.flow.blocks import TileOutcome
from clusterscan.formats.fits_images import celestial_wcs
from clusterscan.formats.image_spec import ImageSpec
from clusterscan.formats.mask_planes import MASK_DTYPE, NO_COVERAGE
from clusterscan.formats.raw_image import RawImage, write_raw


@dataclass(frozen=True)
class Mosaic:
    """A local mosaic as a source."""

    settings: MosaicSource
    spec: ImageSpec

    def objects(self, tiles: Sequence[int]) -> list[SourceObject]:
        """List the file, with the tiles that it overlaps; its token is its sha256."""
        path = expand_path(self.settings.path)
        touched = tuple(int(tile) for tile in sorted(tiles) if self.box(tile) is not None)
        return [SourceObject(path.name, touched, file_sha256(path))]

    def tiles(self) -> list[int]:
        """Return all tiles whose outline overlaps the mosaic."""
        wcs, (ny, nx) = self._frame
        edges = np.array([[-0.5, -0.5], [nx - 0.5, -0.5], [nx - 0.5, ny - 0.5], [-0.5, ny - 0.5]])
        ra, dec = wcs.all_pix2world(edges[:, 0], edges[:, 1], 0)
        return sky.cells_touching_polygon(sky.unit_vectors(ra, dec), self.spec.tile_order).tolist()

    def box(self, tile: int) -> tuple[int, int, int, int] | None:
        """Return the tile's box (y0, y1, x0, x1) in mosaic pixels, or None outside the mosaic.

        The box contains the tile's outline and halo. It is clipped where it leaves the mosaic by
        more than the halo, so a window on any pixel of the mosaic lies wholly inside. Sides are
        multiples of the binning, and the boxes of all tiles start on one common grid of binned
        pixels.
        """
        wcs, (ny, nx) = self._frame
        vectors = sky.outline_vectors(tile, self.spec.tile_order, step=64)
        dec = np.degrees(np.arcsin(np.clip(vectors[:, 2], -1, 1)))
        ra = np.degrees(np.arctan2(vectors[:, 1], vectors[:, 0])) % 360.0
        centre = wcs.pixel_to_world_values((nx - 1) / 2, (ny - 1) / 2)
        if sky.separation_deg(ra, dec, *centre).min() > 60.0:
            return None  # behind or near the horizon of the tangent plane
        x, y = wcs.all_world2pix(ra, dec, 0)
        # A gnomonic outline can bulge between the points by less than a pixel; hence the + 1.
        halo = int(np.ceil(60.0 * self.spec.raw_halo_arcmin / self.spec.pixel_scale_arcsec)) + 1
        y0, y1 = self._side(y.min() - halo, y.max() + halo + 1, ny, halo)
        x0, x1 = self._side(x.min() - halo, x.max() + halo + 1, nx, halo)
        if min(y1, ny) <= max(y0, 0) or min(x1, nx) <= max(x0, 0):
            return None
        return y0, y1, x0, x1

    def fetch_tile(self, tile: int, destination: Path) -> TileOutcome:
        """Cut a tile's raw image and write it atomically."""
        box = self.box(tile)
        if box is None:
            return TileOutcome("no_coverage", "outside the mosaic")
        y0, _, x0, _ = box
        planes, covered = self._planes(box)
        fraction = float(covered.mean())
        if fraction == 0.0:
            return TileOutcome("no_coverage", "the mosaic is empty here")
        wcs = self._frame[0].deepcopy()
        wcs.wcs.crpix = [wcs.wcs.crpix[0] - x0, wcs.wcs.crpix[1] - y0]
        mask = np.where(covered, MASK_DTYPE(0), NO_COVERAGE)
        raw = RawImage(planes, mask, wcs, self.spec.unit)
        write_raw(destination, raw, self.spec.bands, tile)
        return TileOutcome(counts={"pixels": int(mask.size), "covered": int(covered.sum())})

    def _side(self, low: float, high: float, size: int, halo: int) -> tuple[int, int]:
        binning = self.spec.binning
        start = int(np.floor(max(low, -halo) / binning)) * binning
        stop = int(np.ceil(min(high, size + halo) / binning)) * binning
        return start, stop

    @cached_property
    def _frame(self) -> tuple[WCS, tuple[int, int]]:
        path = expand_path(self.settings.path)
        try:
            with fits.open(path) as hdus:
                header = hdus[self._extension(hdus, self.spec.bands[0])].header
                wcs = celestial_wcs(header, str(path), "correct source.path or the file")
                shape = (int(header["NAXIS2"]), int(header["NAXIS1"]))
        except (OSError, KeyError) as error:
            raise SourceError(
                f"{path}: not a readable FITS mosaic ({error}); correct source.path"
            ) from error
        if wcs.has_distortion:
            raise SourceError(
                f"{path}: its WCS is distorted (SIP), and tiles are cut without resampling; "
                "use source.kind: archive"
            )
        scale = np.sqrt(np.abs(np.linalg.det(wcs.pixel_scale_matrix))) * 3600.0
        if abs(scale / self.spec.pixel_scale_arcsec - 1) > 1e-3:
            raise SourceError(
                f"{path}: pixels of {scale:.4f} arcsec, but survey {self.spec.survey} says "
                f"pixel_scale_arcsec: {self.spec.pixel_scale_arcsec}; correct the config"
            )
        return wcs, shape

    def _extension(self, hdus: fits.HDUList, band: str) -> str:
        name = self.settings.extensions.get(band)
        names = [hdu.name for hdu in hdus]
        if name is None or name.upper() not in names:
            raise SourceError(
                f"{expand_path(self.settings.path)}: no extension for band {band} "
                f"(extensions names {name}; the file has {', '.join(names)})"
            )
        return name

    def _planes(self, box: tuple[int, int, int, int]) -> tuple[np.ndarray, np.ndarray]:
        """Return the float32 planes and the covered pixels of a box, which may leave the mosaic."""
        y0, y1, x0, x1 = box
        _, (ny, nx) = self._frame
        here = (slice(max(y0, 0), min(y1, ny)), slice(max(x0, 0), min(x1, nx)))
        there = tuple(
            slice(part.start - start, part.stop - start)
            for part, start in zip(here, (y0, x0), strict=True)
        )
        planes = np.zeros((len(self.spec.bands), y1 - y0, x1 - x0), np.float32)
        covered = np.zeros(planes.shape[1:], bool)
        with fits.open(expand_path(self.settings.path)) as hdus:
            for plane, band in zip(planes, self.spec.bands, strict=True):
                # .section decompresses only the parts of the file that the cut needs.
                plane[there] = hdus[self._extension(hdus, band)].section[here]
            if self.settings.coverage is None:
                covered[there] = True
            else:
                covered[there] = hdus[self.settings.coverage].section[here] > 0
        # A pixel counts only if all bands have a value there, as for every other source.
        covered &= np.isfinite(planes).all(axis=0)
        planes[:, ~covered] = 0.0
        return planes, covered
