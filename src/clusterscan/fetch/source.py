"""Sources of images: each lists the objects behind a tile and writes the tile's raw image.

`sync` lists objects with their version tokens, before the workflow starts. The job of a block then
prepares (downloads) the objects of its tiles and writes one raw image per tile.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from astropy.wcs import WCS

from clusterscan.core import sky
from clusterscan.core.errors import ConfigError, SourceError
from clusterscan.core.progress import Progress
from clusterscan.flow.blocks import TileOutcome
from clusterscan.formats.image_spec import ImageSpec
from clusterscan.formats.mask_planes import NO_COVERAGE
from clusterscan.formats.raw_image import RawImage, covered_raw, write_raw


@dataclass(frozen=True)
class SourceObject:
    """One object of a source: a file, an image, a tile of a simulation.

    Attributes
    ----------
    name : str
        Name in the source.
    tiles : tuple of int
        Tiles whose raw image uses it.
    token : str
        Version token: changes whenever the content changes. Tokens that may miss a change start
        with ``weak``.
    """

    name: str
    tiles: tuple[int, ...]
    token: str


class Source(Protocol):
    """A place that images come from."""

    def objects(self, tiles: Sequence[int]) -> list[SourceObject]:
        """List the objects that these tiles need, without reading pixels."""
        ...

    def fetch_tile(self, tile: int, destination: Path) -> TileOutcome:
        """Write a tile's raw image atomically, or return the reason why there is none."""
        ...


@dataclass(frozen=True)
class Listing:
    """The objects that a source lists, and the problems of those it could not look up."""

    objects: list[SourceObject]
    problems: list[str]


@runtime_checkable
class PreparedSource(Source, Protocol):
    """A source whose objects only `sync` lists, and which are fetched before tiles are made."""

    def listing(
        self, tiles: Sequence[int], known: Mapping[str, str], progress: Progress | None = None
    ) -> Listing:
        """List objects with their present versions; ``known`` are the tokens seen earlier."""
        ...

    def prepare(
        self, offered: Mapping[int, Sequence[str]], progress: Progress | None = None
    ) -> Source:
        """Bring the objects of tiles to this machine; return the source that holds them."""
        ...


_MOST_PROBLEMS = 5


def failures_text(what: str, problems: Sequence[str]) -> str:
    """Build the message about objects that failed, quoting the servers."""
    listed = "\n".join(f"  {words}" for words in problems[:_MOST_PROBLEMS])
    more = len(problems) - _MOST_PROBLEMS
    rest = f"\n  and {more} more" if more > 0 else ""
    return (
        f"{what}: {len(problems)} source objects failed:\n{listed}{rest}\n"
        "Run again to retry only these; files that arrived are kept."
    )


def tokens_by_tile(objects: Iterable[SourceObject], tiles: Iterable[int]) -> dict[int, list[str]]:
    """Return the sorted ``name=token`` of each tile's objects; an empty list means no coverage."""
    found: dict[int, list[str]] = {tile: [] for tile in sorted(tiles)}
    for item in objects:
        for tile in item.tiles:
            if tile in found:
                found[tile].append(f"{item.name}={item.token}")
    return {tile: sorted(tokens) for tile, tokens in found.items()}


class ListedSource(ABC):
    """Base of sources that only `sync` lists: frozen dataclasses with a ``spec``."""

    spec: ImageSpec

    @abstractmethod
    def listing(
        self, tiles: Sequence[int], known: Mapping[str, str], progress: Progress | None = None
    ) -> Listing:
        """List the objects of tiles; see `PreparedSource.listing`."""

    def objects(self, tiles: Sequence[int]) -> list[SourceObject]:
        """List the objects that tiles need.

        Raises
        ------
        SourceError
            If a server does not respond, or a file is not the expected one.
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
        """Check that a setting has an entry for each band of the survey.

        Raises
        ------
        ConfigError
            If an entry is missing.
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
        """Write a tile's raw image, or return the reason why there is none.

        Parameters
        ----------
        tile : int
            The tile.
        planes : float32 ndarray, shape (bands, ny, nx)
            Values on the tile's frame; NaN where there are no data.
        destination : Path
            The file.
        nothing : str
            Reason to record if no pixel has data in all bands.
        ivar : float32 ndarray, shape (bands, ny, nx), optional
            Inverse variances [1 / unit²].
        marked : MASK_DTYPE ndarray, shape (ny, nx), optional
            Bit planes from the source's own masks.
        **counts
            Additional numbers for the tile's record.
        """
        # A pixel counts as covered only if all bands have data there: networks see all bands.
        image, mask = covered_raw(planes)
        covered = int((mask == 0).sum())
        if covered == 0:
            return TileOutcome("no_coverage", nothing)
        if marked is not None:
            mask |= marked
        if ivar is not None:  # a weight without data would count in the depth of the tile
            ivar = np.where((mask & NO_COVERAGE) != 0, np.float32(0.0), ivar)
        raw = RawImage(image, mask, self.frame(tile)[0], self.spec.unit, ivar)
        write_raw(destination, raw, self.spec.bands, tile)
        return TileOutcome(counts={"pixels": int(mask.size), "covered": covered, **counts})
