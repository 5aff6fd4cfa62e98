"""What all sources that sync lists have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from astropy.wcs import WCS

from clusterscan.core import sky
from clusterscan.core.errors import ConfigError, SourceError
from clusterscan.core.progress import Progress
from clusterscan.fetch.source import ImageSpec, Listing, SourceObject, failures_text
from clusterscan.flow.blocks import TileOutcome
from clusterscan.formats.mask_planes import NO_COVERAGE
from clusterscan.formats.raw_image import RawImage, covered_raw, write_raw


class ListedSource(ABC):
    """A source that is listed by sync alone; a base of frozen dataclasses with a ``spec``."""

    spec: ImageSpec

    @abstractmethod
    def listing(
        self, tiles: Sequence[int], known: Mapping[str, str], progress: Progress | None = None
    ) -> Listing:
        """List the objects of tiles; see `fetch.source.PreparedSource`."""

    def objects(self, tiles: Sequence[int]) -> list[SourceObject]:
        """List the objects that tiles need.

        Raises
        ------
        SourceError
            If a server does not answer, or a file is not what it should be.
        """
        listing = self.listing(tiles, {})
        if listing.problems:
            raise SourceError(failures_text(self.spec.survey, listing.problems))
        return listing.objects

    def frame(self, tile: int) -> tuple[WCS, tuple[int, int]]:
        """Return the frame of a tile's raw image: its WCS and shape (ny, nx)."""
        spec = self.spec
        return sky.tile_frame(
            tile, spec.tile_order, spec.pixel_scale_arcsec, spec.raw_halo_arcmin, spec.binning
        )

    def require_bands(self, named: Iterable[str], key: str, noun: str) -> None:
        """Check that a setting names something for each of the survey's bands.

        Raises
        ------
        ConfigError
            If one is missing.
        """
        if missing := sorted(set(self.spec.bands) - set(named)):
            raise ConfigError(
                f"survey {self.spec.survey}: source.{key} names no {noun} for {', '.join(missing)}"
            )

    def write_tile(
        self,
        tile: int,
        planes: np.ndarray,
        destination: Path,
        nothing: str,
        *,
        ivar: np.ndarray | None = None,
        marked: np.ndarray | None = None,
        **counts: int,
    ) -> TileOutcome:
        """Write a tile's raw image, or say why there is none.

        Parameters
        ----------
        tile : int
            The tile.
        planes : float32 ndarray, shape (bands, ny, nx)
            On the tile's frame; NaN where there are no data.
        destination : Path
            The file.
        nothing : str
            What to say where no pixel has data in all bands.
        ivar : float32 ndarray, shape (bands, ny, nx), optional
            Inverse variances [1 / unit²].
        marked : uint8 ndarray, shape (ny, nx), optional
            Bit planes that the source's own masks set.
        **counts
            More for the tile's record.
        """
        image, mask = covered_raw(planes)
        covered = int((mask == 0).sum())
        if covered == 0:
            return TileOutcome("no_coverage", nothing)
        if marked is not None:
            mask |= marked
        if ivar is not None:
            ivar = np.where((mask & NO_COVERAGE) != 0, np.float32(0.0), ivar)
        raw = RawImage(image, mask, self.frame(tile)[0], self.spec.unit, ivar)
        write_raw(destination, raw, self.spec.bands, tile)
        return TileOutcome(counts={"pixels": int(mask.size), "covered": covered, **counts})
