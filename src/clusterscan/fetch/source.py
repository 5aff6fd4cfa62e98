"""What a source is: it lists the objects of some sky and writes a tile's raw image."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from clusterscan.core.progress import Progress
from clusterscan.flow.blocks import TileOutcome


@dataclass(frozen=True)
class ImageSpec:
    """What a tile's image of one survey must be.

    Attributes
    ----------
    survey : str
        The survey's name.
    bands : tuple of str
        Bands, in the order of the image planes.
    unit : str
        Unit of the pixel values (FITS BUNIT).
    pixel_scale_arcsec : float
        Pixel size of the raw image, before binning [arcsec].
    tile_order : int
        HEALPix order of the tiles.
    halo_arcmin : float
        Sky kept around the tile's outline in the tile image [arcmin].
    margin_arcmin : float
        More sky that only the raw image holds, for filters (`preprocess.margin_arcmin`) [arcmin].
    binning : int
        Raw pixels along a side of one pixel of the tile image.
    inverse_variance : bool
        Whether the raw image holds the inverse variance of each band.
    """

    survey: str
    bands: tuple[str, ...]
    unit: str
    pixel_scale_arcsec: float
    tile_order: int
    halo_arcmin: float
    margin_arcmin: float = 0.0
    binning: int = 1
    inverse_variance: bool = False

    @property
    def raw_halo_arcmin(self) -> float:
        """Sky around the outline in the raw image [arcmin]."""
        return self.halo_arcmin + self.margin_arcmin


@dataclass(frozen=True)
class SourceObject:
    """One object that a source offers: a file, an image, a tile of a simulation.

    Attributes
    ----------
    name : str
        Its name in the source.
    tiles : tuple of int
        The tiles whose raw image is made from it.
    token : str
        Changes whenever its content does.
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
        """Write a tile's raw image atomically, or say why there is none."""
        ...


@dataclass(frozen=True)
class Listing:
    """What a source that may fail to answer offers, and what could not be learnt."""

    objects: list[SourceObject]
    problems: list[str]


@runtime_checkable
class PreparedSource(Source, Protocol):
    """A source whose objects are listed by `sync` alone, and brought here before tiles are made."""

    def listing(
        self, tiles: Sequence[int], known: Mapping[str, str], progress: Progress | None = None
    ) -> Listing:
        """List the objects with their versions now; ``known`` are tokens seen earlier."""
        ...

    def prepare(
        self, offered: Mapping[int, Sequence[str]], progress: Progress | None = None
    ) -> Source:
        """Bring the objects of tiles to this machine; return the source that holds them."""
        ...


_MOST_PROBLEMS = 5


def failures_text(what: str, problems: Sequence[str]) -> str:
    """Return a message of objects that could not be had, in the servers' words."""
    listed = "\n".join(f"  {words}" for words in problems[:_MOST_PROBLEMS])
    more = len(problems) - _MOST_PROBLEMS
    rest = f"\n  and {more} more" if more > 0 else ""
    return (
        f"{what}: {len(problems)} source objects could not be had:\n{listed}{rest}\n"
        "Run again to ask for these alone; what arrived is kept."
    )


def tokens_by_tile(objects: Iterable[SourceObject], tiles: Iterable[int]) -> dict[int, list[str]]:
    """Return for each tile the sorted ``name=token`` of its objects (none: no coverage)."""
    found: dict[int, list[str]] = {tile: [] for tile in sorted(tiles)}
    for item in objects:
        for tile in item.tiles:
            if tile in found:
                found[tile].append(f"{item.name}={item.token}")
    return {tile: sorted(tokens) for tile, tokens in found.items()}
