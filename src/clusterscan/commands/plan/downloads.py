"""Estimate the size of a run's downloads, survey by survey."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from clusterscan.commands.sync.listed import not_listed
from clusterscan.config.image_sources import (
    ArchiveSource,
    AtlasSettings,
    CutoutsSource,
    Hips2fitsSource,
    HipsSource,
)
from clusterscan.config.model import Config, SurveySettings
from clusterscan.core import sky
from clusterscan.flow.footprint import run_tiles
from clusterscan.flow.paths import Paths

_FLOAT = 4
_URL = ("http://", "https://")
# Cells of the viewer overlap, and their circumscribed squares are twice as large as they are.
_CUTOUT_EXCESS = 2.0


@dataclass(frozen=True)
class Download:
    """The download of one survey.

    Attributes
    ----------
    survey : str
        The survey.
    files : int
        Files, or requests.
    gib : float
        Their size; files of unknown size count as 0.
    how : str
        Source of these numbers, as text for the table.
    """

    survey: str
    files: int
    gib: float
    how: str

    def __str__(self) -> str:
        return f"{self.survey}: {self.files:,} files, {self.gib:,.1f} GiB; {self.how}"


def downloads(config: Config, megapixels: dict[str, float]) -> list[Download]:
    """Return the download of each survey whose source is on a server.

    Parameters
    ----------
    config : Config
        The run.
    megapixels : dict of str to float
        For each survey the size of a tile's raw image, 10^6 pixels of one band.
    """
    found = []
    for name, survey in config.surveys.items():
        source = survey.source
        if isinstance(source, ArchiveSource):
            found += _archive(config, name, source)
            continue
        tiles, bands = len(run_tiles(config.sky)), len(survey.bands)
        gib = tiles * megapixels[name] * 1e6 * bands * _FLOAT / 2**30
        if isinstance(source, Hips2fitsSource):
            found.append(Download(name, tiles * bands, gib, "one image a band and tile"))
        elif isinstance(source, HipsSource):
            if remote := [tree for tree in source.trees.values() if tree.startswith(_URL)]:
                part = len(remote) / len(source.trees)
                how = "as many 4-byte pixels as the tiles' own images have; files of 512 px"
                count = int(gib * part * 2**30 / (512**2 * _FLOAT)) + 1
                found.append(Download(name, count, gib * part, how))
        elif isinstance(source, CutoutsSource):
            found.append(_cutouts(name, survey, source, gib))
    return found


def _cutouts(name: str, survey: SurveySettings, source: CutoutsSource, gib: float) -> Download:
    # Cutouts come at the pixel size of the server's layer, whatever size the tiles have.
    finer = (survey.pixel_scale_arcsec / source.scale_arcsec) ** 2
    size = gib * finer * _CUTOUT_EXCESS
    one = source.max_px**2 * len(survey.bands) * _FLOAT / 2**30
    how = f"at the layer's {source.scale_arcsec:g} arcsec a pixel, overlaps counted; all by area"
    return Download(name, int(2 * size / one) + 1, size, how)


def _archive(config: Config, survey: str, source: ArchiveSource) -> list[Download]:
    """Return one line: counted in the manifests of sync, or by area where there are none."""
    missing = not_listed(config, survey)
    if missing and source.atlas is not None:
        counts, how = _by_area(config, survey, source), "files by area (sync counts them)"
    elif missing:
        counts, how = Counter({(b, p): 1 for b, p, _ in _remote(source)}), "all of its files"
    else:
        counts, how = _listed(config, survey, source), "files counted in the manifests of sync"
    if not counts:
        return []
    gib, told = 0.0, set()
    for (band, part), count in counts.items():
        size, words = _megabytes(source, band, part)
        gib += count * size * 1e6 / 2**30
        told.add(words)
    return [Download(survey, sum(counts.values()), gib, "; ".join([how, *sorted(told)]))]


def _megabytes(source: ArchiveSource, band: str, part: str) -> tuple[float, str]:
    settings = source.files[band]
    if part in settings.megabytes:  # a mapping by part
        return settings.megabytes[part], "sizes as the configuration says"
    if source.atlas is None:
        return 0.0, "SIZE UNKNOWN of files without `megabytes`, counted as 0"
    words = f"{_FLOAT} bytes for each of {source.atlas.size_px}² pixels (.gz files are smaller)"
    return source.atlas.size_px**2 * _FLOAT / 1e6, words


def _remote(source: ArchiveSource) -> list[tuple[str, str, str]]:
    """Return (band, part, template) of the files on servers."""
    return [
        (band, part, template)
        for band, settings in source.files.items()
        for part, template in settings.files().items()
        if template.startswith(_URL)
    ]


def _by_area(config: Config, survey: str, source: ArchiveSource) -> Counter[tuple[str, str]]:
    assert source.atlas is not None
    halo = config.surveys[survey].halo_arcmin / 60.0
    tiles = len(run_tiles(config.sky))
    side = sky.cell_area_deg2(config.sky.tile_order) ** 0.5
    # Neighbouring tiles share what lies between them: only the outer border is more.
    border = 4 * (tiles**0.5) * side * (halo + _side_deg(source.atlas))
    count = round((tiles * side**2 + border) / _side_deg(source.atlas) ** 2)
    return Counter({(band, part): count for band, part, _ in _remote(source)})


def _side_deg(atlas: AtlasSettings) -> float:
    return atlas.size_px * atlas.pixel_scale_arcsec / 3600.0


def _listed(config: Config, survey: str, source: ArchiveSource) -> Counter[tuple[str, str]]:
    remote = {(band, part) for band, part, _ in _remote(source)}
    paths, names = Paths(config), set()
    for block in paths.blocks:
        content = json.loads(Path(paths.sources(survey, block)).read_text(encoding="utf-8"))
        for entries in content["tiles"].values():
            names |= {entry.partition("=")[0] for entry in entries}
    kinds = ((unquote(n.split(":", 3)[0]), n.split(":", 3)[2]) for n in names)
    return Counter(kind for kind in kinds if kind in remote)
