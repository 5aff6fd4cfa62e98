"""Make probes and scan them: tiles with model clusters injected, and null skies.

A null sky keeps much of the real images but holds no cluster that may be found: a network that is
as confident there as on the real sky has learnt something other than clusters. Model clusters are
drawn in bins of mass and redshift, at most one in each cell of sky, and are added to the tile
images as each survey would see them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from astropy.wcs import WCS
from scipy import fft

from clusterscan.config.image_sources import SimulatedSource
from clusterscan.config.preprocess import PreprocessSettings
from clusterscan.config.simulation import HaloSettings, SimulationSettings
from clusterscan.config.validation import INJECTED, GalaxiesSignal, InjectionGrid, SzSignal
from clusterscan.core import sky
from clusterscan.core.errors import ConfigError, ImageError
from clusterscan.fetch.simulated import Simulated
from clusterscan.flow.stage_settings import ProbedSurvey, ProbeStage
from clusterscan.formats.mask_planes import EXCLUDED, FLAGGED, NO_COVERAGE, SATURATED
from clusterscan.formats.tile_image import TileImage
from clusterscan.physics.psf import PSFS
from clusterscan.preprocess.make_tile import preprocess_tile
from clusterscan.preprocess.reduction import bin_image
from clusterscan.sample.inject import decrement_uk
from clusterscan.scan.scanners import FusionScanner, Scanner
from clusterscan.simulate.canvas import Frame, convolve_gaussians, deposit
from clusterscan.simulate.galaxies import draw_members
from clusterscan.simulate.halos import Halos, make_halos
from clusterscan.simulate.infrared import flux_nanomaggies

_SCRAMBLING_KEY = 31


def changed_tile(
    probe: str,
    survey: str,
    tile: int,
    tile_order: int,
    image: TileImage,
    settings: ProbeStage,
    scratch: Path,
) -> TileImage:
    """Change a survey's tile image as a probe asks for.

    Parameters
    ----------
    probe : str
        "injected" or the name of a null sky.
    survey : str
    tile, tile_order : int
    image : TileImage
        The run's own image.
    settings : ProbeStage
        The probe's settings.
    scratch : Path
        A temporary file for raw images.

    Raises
    ------
    ConfigError
        If the probe is unknown.
    """
    own, seed = settings.surveys[survey], settings.seed
    if probe == INJECTED:
        assert settings.grid is not None
        assert settings.halos is not None
        # Clusters of neighbouring tiles shine into this tile's margin; both tiles must show the
        # same sky there, as real images do.
        around = {tile, *(int(t) for t in sky.neighbours(tile, tile_order))}
        clusters = injected_in(around, tile_order, settings.grid, seed)
        if own.signal is None:
            return image
        return add_signal(
            image,
            as_halos(clusters, settings.halos),
            own.signal,
            own.preprocess,
            seed,
        )
    if probe == "empty":
        return _with_masks(_empty_tile(tile, own, scratch), image.mask)
    if probe == "scrambled":
        rng = np.random.default_rng([seed, _SCRAMBLING_KEY, tile_order, tile, *survey.encode()])
        plane = scrambled(image.image, rng)
    elif probe == "inverted":
        plane = inverted(image.image)
    elif probe == "shuffled":
        plane = shuffled(image.image)
    else:
        raise ConfigError(f"selection.nulls: {probe!r} is not a probe")
    return TileImage(plane, image.mask, image.wcs, image.unit, image.bands)


def _with_masks(tile: TileImage, mask: np.ndarray) -> TileImage:
    """Copy the masks that come from tables and files from the run's own image."""
    # Stars and galaxies of mask tables lie at the same places on every null sky, so the searched
    # area stays that of the run.
    if not (mask & (FLAGGED | EXCLUDED)).any():
        return tile
    return replace(tile, mask=tile.mask | (mask & ~(NO_COVERAGE | SATURATED)))


def _empty_tile(tile: int, own: ProbedSurvey, scratch: Path) -> TileImage:
    """Render a tile of the simulated sky without halos."""
    images = own.images
    assert images is not None
    assert images.simulation is not None
    assert isinstance(images.source, SimulatedSource)
    simulation = without_halos(images.simulation)
    source = Simulated(images.source, images.spec, simulation, images.seed)
    source.fetch_tile(tile, scratch)
    try:
        return preprocess_tile(scratch, own.preprocess, images.spec)
    finally:
        scratch.unlink(missing_ok=True)


def scanned_maps(
    tiles: Mapping[str, TileImage],
    scanners: Mapping[str, Scanner | FusionScanner],
    number: int,
    tile_order: int,
    map_order: int,
) -> pd.DataFrame:
    """Scan one tile with every network.

    Parameters
    ----------
    tiles : mapping of survey to TileImage
    scanners : mapping of "survey/model" to Scanner or FusionScanner
    number, tile_order, map_order : int
        The tile, and the orders.

    Returns
    -------
    DataFrame, 4 ** (map_order - tile_order) rows in nested order
        A float32 column for each scanner, NaN where invalid; all NaN without an image.
    """
    ra, dec = sky.map_pixels(number, tile_order, map_order)
    columns = {}
    for key, scan in scanners.items():
        image = tiles.get(key.partition("/")[0])
        if isinstance(scan, FusionScanner) and tiles:
            columns[key] = scan(tiles, ra, dec)[0]
        elif isinstance(scan, FusionScanner) or image is None:
            columns[key] = np.full(ra.size, np.nan, dtype=np.float32)
        else:
            columns[key] = scan(image, *image.to_pixel(ra, dec))[0]
    return pd.DataFrame(columns)


def inverted(image: np.ndarray) -> np.ndarray:
    """Reverse the sign of an image: decrements become increments, noise stays noise."""
    return -image


def scrambled(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Give an image random phases but keep its power spectra.

    All bands get the same phases, so their cross-spectra are kept too. Everything that is not
    Gaussian is lost, clusters included.

    The image (bands, ny, nx) must be finite everywhere.

    Returns
    -------
    float32 ndarray, the same shape
    """
    ny, nx = image.shape[-2:]
    # Phases of a real random field, so that the image stays real.
    noise = fft.rfft2(rng.standard_normal((ny, nx)), workers=1)
    turn = noise / np.maximum(np.abs(noise), 1e-300)
    turn[0, 0] = 1.0  # the mean stays
    planes = [
        fft.irfft2(fft.rfft2(plane.astype(np.float64), workers=1) * turn, s=(ny, nx), workers=1)
        for plane in image
    ]
    return np.stack(planes).astype(np.float32)


def shuffled(image: np.ndarray) -> np.ndarray:
    """Move every band of an image to the place of the next.

    Raises
    ------
    ValueError
        If there is only one band.
    """
    if len(image) < 2:
        raise ValueError("an image of one band has no bands to exchange")
    return np.roll(image, 1, axis=0)


def without_halos(settings: SimulationSettings) -> SimulationSettings:
    """Return the settings of a sky without halos, but with as many galaxies.

    Galaxy counts follow published ones; without cluster members the field holds all galaxies.
    """
    heavy = HaloSettings.model_fields["m500c_min_msun"].metadata
    limit = max(m.le for m in heavy if hasattr(m, "le"))  # the heaviest limit that is allowed
    halos = settings.halos.model_copy(
        update={"m500c_min_msun": limit, "group_m500c_min_msun": limit}
    )
    return settings.model_copy(update={"halos": halos})


_INJECTION_KEY = 23  # keeps these draws apart from all others of a seed
_INNER = 8  # positions are centres of cells this many orders finer: 3 arcsec for order 8


def injected_in(
    tiles: Iterable[int], tile_order: int, grid: InjectionGrid, seed: int
) -> pd.DataFrame:
    """Draw the clusters that are injected into tiles, at most one per cell of sky.

    Parameters
    ----------
    tiles : iterable of int
        NESTED indices.
    tile_order : int
    grid : InjectionGrid
        Edges of the bins, and the order of the cells.
    seed : int

    Returns
    -------
    DataFrame
        One row per cell, sorted by cell: cell, tile, ra_deg, dec_deg, m500c_msun, z, mass_bin,
        z_bin, gas and galaxies (standard normal scatters).
    """
    order = max(grid.cell_order, tile_order)
    rows = []
    for tile in sorted({int(t) for t in tiles}):
        cells = np.sort(sky.descendants(tile, tile_order, order))
        # Within a tile all bins of the grid are equally frequent, in random order.
        # A permutation deals the bins out evenly. Independent draws would leave some bins of mass
        # and redshift with few clusters.
        place = np.random.default_rng([seed, _INJECTION_KEY, tile_order, tile]).permutation(
            cells.size
        )
        rows += [
            _cluster(int(cell), int(turn), tile, order, grid, seed)
            for cell, turn in zip(cells, place, strict=True)
        ]
    columns = ["cell", "tile", "ra_deg", "dec_deg", "m500c_msun", "z", "mass_bin", "z_bin",
               "gas", "galaxies"]  # fmt: skip
    return pd.DataFrame(rows, columns=columns).sort_values("cell", ignore_index=True)


def _cluster(cell: int, turn: int, tile: int, order: int, grid: InjectionGrid, seed: int) -> tuple:
    rng = np.random.default_rng([seed, _INJECTION_KEY, order, cell])
    n_mass, n_z = len(grid.m500c_edges_msun) - 1, len(grid.z_edges) - 1
    # Adding the tile's number starts each tile at another bin, so that a remainder does not always
    # favour the first bins.
    mass_bin, z_bin = divmod((turn + tile) % (n_mass * n_z), n_z)
    low, high = np.log(grid.m500c_edges_msun[mass_bin : mass_bin + 2])
    z_low, z_high = grid.z_edges[z_bin : z_bin + 2]
    mass, z = np.exp(rng.uniform(low, high)), rng.uniform(z_low, z_high)
    side = 1 << _INNER
    # The central half of the cell along each axis: clusters of neighbouring cells keep half a cell
    # apart and do not blend.
    x, y = (rng.integers(side // 4, 3 * side // 4, size=1) for _ in range(2))
    place = (cell << (2 * _INNER)) + _nested_offsets(x, y)
    ra, dec = sky.cell_centres(place, order + _INNER)
    gas, galaxies = rng.standard_normal(2)
    return cell, tile, ra[0], dec[0], mass, z, mass_bin, z_bin, gas, galaxies


def _nested_offsets(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the nested offsets of columns and rows in a cell: even bits x, odd bits y."""
    offset = np.zeros(x.size, dtype=np.int64)
    for bit in range(_INNER):
        offset |= ((x >> bit) & 1) << (2 * bit) | ((y >> bit) & 1) << (2 * bit + 1)
    return offset


def as_halos(clusters: pd.DataFrame, settings: HaloSettings) -> Halos:
    """Turn injected clusters into halos with the gas and galaxies of the simulated sky."""
    return make_halos(
        cell=clusters["cell"].to_numpy(dtype=np.int64),
        index=np.zeros(len(clusters), dtype=np.int64),
        ra_deg=clusters["ra_deg"].to_numpy(),
        dec_deg=clusters["dec_deg"].to_numpy(),
        z=clusters["z"].to_numpy(),
        m500c_msun=clusters["m500c_msun"].to_numpy(),
        gas=clusters["gas"].to_numpy(),
        galaxies=clusters["galaxies"].to_numpy(),
        settings=settings,
    )


_MEMBERS_KEY = 29
_SZ_REACH_ARCMIN = 20.0  # beyond, the high-passed signal is below 1e-3 of its centre
_MEMBERS_REACH_ARCMIN = 15.0
_MEMBERS_LIMIT_W1_MAG = 19.5  # faintest member galaxy that is drawn [Vega mag]
_BORDER_ARCSEC = 220.0  # as for the simulated sky: 5.7 sigma of the PSF's widest Gaussian


def add_signal(
    tile: TileImage,
    halos: Halos,
    signal: SzSignal | GalaxiesSignal,
    preprocess: PreprocessSettings,
    seed: int,
) -> TileImage:
    """Add clusters to a tile image as the survey would see them.

    Parameters
    ----------
    tile : TileImage
    halos : Halos
        All clusters that may reach the image, in any order.
    signal : SzSignal or GalaxiesSignal
        The survey's view of a cluster.
    preprocess : PreprocessSettings
        Binning of the tile image.
    seed : int
        Seed of the member galaxies.

    Raises
    ------
    ImageError
        If the signal has other bands than the tile.
    """
    if isinstance(signal, SzSignal):
        added = sz_signal(tile, halos, signal)
    else:
        added = galaxies_signal(tile, halos, preprocess, seed)
    if added.shape[0] != tile.image.shape[0]:
        raise ImageError(
            f"selection.signals: a signal of {added.shape[0]} bands for images of {tile.bands}; "
            "give one frequency and beam per band; kind galaxies needs the bands W1 and W2"
        )
    # The signal is added to the real image with its noise, sources and artefacts: the completeness
    # includes losses that no simulated image would have.
    image = np.where(tile.covered, tile.image + added, tile.image)
    return TileImage(image.astype(np.float32), tile.mask, tile.wcs, tile.unit, tile.bands)


def sz_signal(tile: TileImage, halos: Halos, signal: SzSignal) -> np.ndarray:
    """Return the temperature decrement of clusters [uK_CMB], float64 (bands, ny, nx)."""
    ny, nx = tile.mask.shape
    scale = tile.pixel_scale_arcsec / 60.0
    half = int(np.ceil(_SZ_REACH_ARCMIN / scale))
    total = np.zeros((len(signal.frequencies_ghz), ny, nx))
    x, y = tile.to_pixel(halos.ra_deg, halos.dec_deg)
    near = (x > -half) & (x < nx + half) & (y > -half) & (y < ny + half)
    for row in np.flatnonzero(near).tolist():
        ix, iy = round(float(x[row])), round(float(y[row]))
        stamp = decrement_uk(
            {"theta500_arcmin": halos.theta500_arcmin[row], "y0": halos.y0[row]},
            (y[row] - iy, x[row] - ix),
            2 * half + 1,
            scale,
            signal,
        )
        # The stamp is centred on the nearest pixel and shifted by the rest, then cut at the image's
        # edge.
        rows, columns = _overlap(iy - half, 2 * half + 1, ny), _overlap(ix - half, 2 * half + 1, nx)
        total[:, rows[0], columns[0]] += stamp[:, rows[1], columns[1]]
    return total


def galaxies_signal(
    tile: TileImage,
    halos: Halos,
    preprocess: PreprocessSettings,
    seed: int,
) -> np.ndarray:
    """Return the light of member galaxies in W1 and W2 [nanomaggy per pixel], (2, ny, nx)."""
    n = preprocess.binning
    # Galaxies are drawn on the survey's own pixels and binned as the image was: on binned pixels
    # the PSF would be undersampled.
    wcs, shape = _unbinned(tile.wcs, n), (tile.mask.shape[0] * n, tile.mask.shape[1] * n)
    scale = tile.pixel_scale_arcsec / n
    frame = Frame(wcs, shape, int(np.ceil(_BORDER_ARCSEC / scale)))
    x, y = frame.to_pixel(halos.ra_deg, halos.dec_deg)
    near = frame.inside(x, y, _MEMBERS_REACH_ARCMIN * 60.0 / scale)
    columns = [_members_of(halos.take(np.array([row])), seed) for row in np.flatnonzero(near)]
    ra, dec, w1, w2 = (
        np.concatenate([np.empty(0), *part])
        for part in (zip(*columns, strict=True) if columns else ((),) * 4)
    )
    bright = w1 < _MEMBERS_LIMIT_W1_MAG
    px, py = frame.to_pixel(ra[bright], dec[bright])
    inside = frame.inside(px, py)
    flux = flux_nanomaggies(np.stack([w1[bright][inside], w2[bright][inside]]))
    grids = deposit(px[inside], py[inside], flux, frame.wide_shape)
    light = [
        frame.inner(convolve_gaussians(grid, psf.amplitudes, psf.variances_px2(scale), spline=True))
        for grid, psf in zip(grids, PSFS, strict=True)
    ]
    everywhere = np.ones(shape, dtype=bool)
    return bin_image(np.stack(light), everywhere, n, preprocess.combine)


def _members_of(one: Halos, seed: int) -> tuple[np.ndarray, ...]:
    # The galaxies of a cluster depend only on its cell, so all tiles see the same ones.
    rng = np.random.default_rng([seed, _MEMBERS_KEY, int(one.cell[0]), int(one.index[0])])
    members = draw_members(one, rng)
    return members.ra_deg, members.dec_deg, members.w1_mag, members.w2_mag


def _unbinned(wcs: WCS, n: int) -> WCS:
    """Return the WCS of the image before it was binned."""
    raw = wcs.deepcopy()
    # FITS pixel 1 is centred at 1.0, so its left edge lies at 0.5; edges scale, centres do not.
    raw.wcs.crpix = [(reference - 0.5) * n + 0.5 for reference in wcs.wcs.crpix]
    if wcs.wcs.has_cd():
        raw.wcs.cd = wcs.wcs.cd / n
    else:
        raw.wcs.cdelt = [step / n for step in wcs.wcs.cdelt]
    raw.wcs.set()
    return raw


def _overlap(first: int, size: int, limit: int) -> tuple[slice, slice]:
    """Return the overlap of a stamp with an image along an axis, as slices of both."""
    low, high = max(first, 0), min(first + size, limit)
    high = max(high, low)
    return slice(low, high), slice(low - first, high - first)
