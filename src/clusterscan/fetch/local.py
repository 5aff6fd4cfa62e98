"""The source `local`: a folder of FITS images of any tiling and celestial projection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import quote, unquote

import numpy as np
from astropy.wcs import WCS

from clusterscan.config.image_sources import LocalSource
from clusterscan.core.data_paths import expand_path
from clusterscan.core.errors import SourceError
from clusterscan.core.progress import Progress
from clusterscan.fetch.coadd import Cut, coadd
from clusterscan.fetch.download.store import Access
from clusterscan.fetch.image_files import FileTokens, ImageFile, outline, reaches
from clusterscan.fetch.source import ListedSource, Listing, SourceObject
from clusterscan.flow.blocks import TileOutcome
from clusterscan.formats.image_spec import ImageSpec


@dataclass(frozen=True)
class Local(ListedSource):
    """A folder of FITS images as a source.

    Attributes
    ----------
    offered : mapping of int to sequence of str
        ``name=token`` of each tile's files; set by `prepare`.
    """

    settings: LocalSource
    spec: ImageSpec
    access: Access
    offered: Mapping[int, Sequence[str]] = field(default_factory=dict)

    def __post_init__(self):
        self.require_bands(self.settings.files, "files", "pattern")

    def listing(
        self, tiles: Sequence[int], known: Mapping[str, str], progress: Progress | None = None
    ) -> Listing:
        """List the files that overlap tiles, with their tokens.

        Raises
        ------
        SourceError
            If a band has no file, or a file is not an image with a celestial WCS.
        """
        folder = expand_path(self.settings.path)
        tokens = FileTokens(folder, self.access.root)
        token = tokens.sha256 if self.settings.versions == "sha256" else tokens.mtime
        frames = {int(tile): self.frame(tile) for tile in tiles}
        objects = []
        for band in self.spec.bands:
            paths = self._paths(folder, band)
            for done, path in enumerate(paths):
                where = outline(*self._file(path).frame())
                users = tuple(tile for tile, frame in frames.items() if reaches(where, *frame))
                if users:
                    # Quoted, because "=" ends the name in a manifest.
                    name = f"{band}:{quote(path.relative_to(folder).as_posix())}"
                    objects.append(SourceObject(name, users, token(path)))
                if progress:
                    progress(done + 1, len(paths), f"{band}: {path.name}")
        tokens.save()
        return Listing(objects, [])

    def prepare(
        self, offered: Mapping[int, Sequence[str]], progress: Progress | None = None
    ) -> Local:
        """Return the source that knows the files of its tiles; nothing is copied."""
        return replace(self, offered={tile: tuple(names) for tile, names in offered.items()})

    def fetch_tile(self, tile: int, destination: Path) -> TileOutcome:
        """Average the files on a tile's frame and write its raw image.

        Raises
        ------
        SourceError
            If a file is missing or damaged.
        """
        wcs, shape = self.frame(tile)
        planes = np.stack([self._band(band, tile, wcs, shape) for band in self.spec.bands])
        nothing = "no file has data here in all bands"
        return self.write_tile(tile, planes, destination, nothing)

    def _band(self, band: str, tile: int, wcs: WCS, shape: tuple[int, int]) -> np.ndarray:
        folder = expand_path(self.settings.path)
        names = [entry.partition("=")[0] for entry in self.offered.get(tile, ())]
        mine = [name for name in sorted(names) if name.startswith(f"{band}:")]
        paths = [folder / unquote(name.partition(":")[2]) for name in mine]
        # A generator of cuts: only one file is in memory at a time.
        flux = self.settings.quantity == "flux"
        plane = coadd(map(self._cut, paths), wcs, shape, self.settings.resampling, sums=flux)
        return (plane * self.settings.scale_by.get(band, 1.0)).astype(np.float32)

    def _cut(self, path: Path) -> Cut:
        values, wcs = self._file(path).read(self.settings.no_data)
        return Cut(values, np.isfinite(values).astype(np.float32), wcs)

    def _file(self, path: Path) -> ImageFile:
        return ImageFile(path, self.settings.extension)

    def _paths(self, folder: Path, band: str) -> list[Path]:
        pattern = self.settings.files[band]
        found = sorted(path for path in folder.glob(pattern) if path.is_file())
        if not found:
            raise SourceError(
                f"{folder}: no file matches {pattern!r}, source.files of band {band}; correct it"
            )
        return found
