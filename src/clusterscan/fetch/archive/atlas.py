"""A survey's tiling from its table: which of its images reach into a tile."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from astropy.table import Table
from astropy.wcs import WCS
from scipy.spatial import cKDTree

from clusterscan.config.image_sources import AtlasSettings
from clusterscan.core import sky
from clusterscan.core.errors import SourceError
from clusterscan.fetch.local.image_file import outline, reaches

_NAME = re.compile(r"^[\w.+-]+$")
Frame = tuple[WCS, tuple[int, int]]


@dataclass(frozen=True)
class Atlas:
    """The tiling of a survey: square images, north up, around listed centres.

    Attributes
    ----------
    settings : AtlasSettings
        The columns of its table, and the images' size.
    path : Path
        Its table.
    """

    settings: AtlasSettings
    path: Path

    def users(self, frames: Mapping[int, Frame]) -> dict[str, list[int]]:
        """Return for each atlas tile, by name, the tiles whose frames it reaches into.

        Parameters
        ----------
        frames : mapping of int to (WCS, (ny, nx))
            The frame of each tile's raw image.
        """
        names, ra, dec = self._table
        found: dict[str, list[int]] = {}
        if not frames:
            return found
        outlines: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        tree = cKDTree(sky.unit_vectors(ra, dec))
        half = self.settings.size_px * self.settings.pixel_scale_arcsec / 3600 / np.sqrt(2)
        for tile, (wcs, (ny, nx)) in frames.items():
            middle = wcs.pixel_to_world_values((nx - 1) / 2, (ny - 1) / 2)
            corner = wcs.pixel_to_world_values(-0.5, -0.5)
            radius = float(sky.separation_deg(*middle, *corner)) + half
            vector = sky.unit_vectors(*(np.atleast_1d(v) for v in middle))[0]
            for index in sorted(tree.query_ball_point(vector, sky.chord(1.02 * radius))):
                if index not in outlines:
                    outlines[index] = outline(*self._frame(ra[index], dec[index]))
                if reaches(outlines[index], wcs, (ny, nx)):
                    found.setdefault(names[index], []).append(tile)
        return found

    def _frame(self, ra_deg: float, dec_deg: float) -> Frame:
        side = self.settings.size_px
        wcs = WCS(naxis=2)
        wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
        wcs.wcs.crval = [ra_deg, dec_deg]
        wcs.wcs.crpix = [(side + 1) / 2] * 2
        step = self.settings.pixel_scale_arcsec / 3600
        wcs.wcs.cdelt = [-step, step]
        wcs.wcs.set()
        return wcs, (side, side)

    @cached_property
    def _table(self) -> tuple[list[str], np.ndarray, np.ndarray]:
        settings, path = self.settings, self.path
        table = _read(path)
        if missing := {settings.name, settings.ra, settings.dec} - set(table.colnames):
            raise SourceError(
                f"{path}: no column {', '.join(sorted(missing))} (it has "
                f"{', '.join(table.colnames)}); correct source.atlas"
            )
        names = [_text(value).strip().zfill(settings.digits) for value in table[settings.name]]
        bad = [name for name in names if not _NAME.match(name) or ".." in name]
        if bad or len(set(names)) < len(names):
            raise SourceError(
                f"{path}: column {settings.name} holds {bad[0]!r}, no name of a tile"
                if bad
                else f"{path}: column {settings.name} names a tile twice"
            )
        ra, dec = (np.asarray(table[c], np.float64) for c in (settings.ra, settings.dec))
        return names, ra, dec


def _read(path: Path) -> Table:
    try:
        if path.name.removesuffix(".gz").endswith((".csv", ".txt")):
            return Table.read(path, format="ascii.csv")
        return Table.read(path, format="fits")
    except (OSError, ValueError) as error:
        raise SourceError(f"{path}: no table of tiles ({error}); correct atlas.table") from error


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
