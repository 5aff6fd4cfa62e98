"""Scan one tile: a network's probability at each map pixel.

A tile is first prepared (normalised; map pixels without a good window left out), which any thread
can do while the tile before is still with the network. Then the logits of the remaining map pixels
are computed, crop by crop (`windowed_scan`) or from shared features (`dense_scan`), and turned into
probabilities.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from clusterscan.config.scan import ScanSettings
from clusterscan.core.errors import ImageError, ModelError
from clusterscan.formats.mask_planes import BAD_PLANES
from clusterscan.networks.device import choose_device, fixed_threads
from clusterscan.networks.network import Network, ScanNetwork, WholeNetwork
from clusterscan.networks.normalise import Normalisation, apply
from clusterscan.scan.dense_scan import dense_grid
from clusterscan.scan.fast.coarse import coarse_to_fine
from clusterscan.scan.validity import VALID, reasons
from clusterscan.scan.windowed_scan import LogitGrid, windowed_grid, windowed_logits

Scannable = ScanNetwork | WholeNetwork

# Size of a chunk of the fine look after a coarse one [px]. It is small, since most of a tile needs
# no fine look, and a chunk is computed whole if it holds a single position that does.
FINE_PIXELS = 300.0**2


@dataclass(frozen=True)
class Prepared:
    """A tile as a network reads it, and the map pixels in it.

    Attributes
    ----------
    inputs : float32 ndarray, shape (bands, ny, nx)
        Normalised, 0 at bad pixels.
    x, y : float ndarray, shape (n,)
        Positions of the map pixels [px].
    reason : uint8 ndarray, shape (n,)
        Why a map pixel gets no value: 0 it gets one, 1 no coverage, 2 masked, 3 too few valid
        pixels in the window.
    """

    inputs: np.ndarray
    x: np.ndarray
    y: np.ndarray
    reason: np.ndarray


def scan_tile(
    network: Network,
    card: dict[str, Any],
    image: np.ndarray,
    mask: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    settings: ScanSettings,
    *,
    coarse: Network | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return a network's probability at each map pixel, and the reason where it is missing.

    Parameters are those of `prepare_tile` and `scan_prepared`.
    """
    tile = prepare_tile(network, card, image, mask, x, y, settings)
    return scan_prepared(network, tile, settings, coarse=coarse)


def prepare_tile(
    network: Network,
    card: dict[str, Any],
    image: np.ndarray,
    mask: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    settings: ScanSettings,
    *,
    view: int = 0,
) -> Prepared:
    """Normalise a tile and find its valid map pixels; uses neither torch nor a GPU.

    Parameters
    ----------
    network : ScanNetwork or WholeNetwork
        The network that will scan the tile.
    card : dict
        Its model card, for the normalisation.
    image : float32 ndarray, shape (bands, ny, nx)
        In the survey's unit; missing pixels NaN or marked in the mask.
    mask : MASK_DTYPE ndarray, shape (ny, nx)
        Bit planes, `clusterscan.formats.mask_planes.PLANES`; pixels of `BAD_PLANES` are left out.
    x, y : float ndarray, shape (n,)
        Positions of the map pixels in the image [px].
    settings : ScanSettings
        Engine, grid step, validity.
    view : int
        Number of the card's view.

    Raises
    ------
    ImageError
        If the shapes do not fit each other or the model.
    ModelError
        If the network joins several surveys, or was trained on images less their own background.
    """
    if not isinstance(network, Scannable):
        raise ModelError(
            f"{card.get('file', 'the model')} joins several surveys and cannot scan the tiles of "
            "one; scan each survey with a network of its own"
        )
    if image.ndim != 3 or image.shape[0] != network.bands or image.shape[1:] != mask.shape:
        raise ImageError(
            f"image {image.shape} and mask {mask.shape} do not fit a model of {network.bands} "
            "bands: give (bands, ny, nx) and (ny, nx) of the survey it was trained on"
        )
    if x.shape != y.shape or x.ndim != 1:
        raise ImageError(f"x {x.shape} and y {y.shape} must be lists of the same length")
    bad = (mask & BAD_PLANES) != 0
    bad |= ~np.isfinite(image).all(axis=0)
    window, least = network.window_px, settings.min_valid_fraction
    reason = reasons(
        bad, mask, x, y, window_px=window, min_valid_fraction=least, bad_planes=int(BAD_PLANES)
    )
    if not (reason == VALID).any():
        return Prepared(np.zeros_like(image, dtype=np.float32), x, y, reason)
    normalisation = Normalisation.from_json(card["views"][view]["normalisation"])
    if normalisation.background != "kept":
        raise ModelError(
            f"{card.get('file', 'the model')} was trained on stamps less their own background, "
            "and a tile has no such windows; train with normalisation.background: kept"
        )
    inputs = apply(image, normalisation)
    inputs[:, bad] = 0.0
    return Prepared(inputs, x, y, reason)


def scan_prepared(
    network: Network, tile: Prepared, settings: ScanSettings, *, coarse: Network | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return a network's probability at each map pixel, and the reason where it is missing.

    Parameters
    ----------
    network : ScanNetwork or WholeNetwork
        In evaluation mode. A whole network is always scanned crop by crop.
    tile : Prepared
        For this network.
    settings : ScanSettings
        Engine, grid step, precision.
    coarse : Network, optional
        The network of the coarse look, if the settings have a coarse step; default: the same.

    Returns
    -------
    probability : float32 ndarray, shape (n,)
        NaN where reason is not 0.
    reason : uint8 ndarray, shape (n,)
        The tile's.
    """
    assert isinstance(network, Scannable)  # or the tile could not have been prepared for it
    probability = np.full(len(tile.x), np.nan, dtype=np.float32)
    wanted = tile.reason == VALID
    if not wanted.any():
        return probability, tile.reason
    first = coarse if isinstance(coarse, Scannable) else network
    device = choose_device(settings.device)
    for one in (network, first):
        one.eval().to(device)
    with fixed_threads(settings.threads):
        if settings.coarse_step_px is None:
            logits = _fine_logits(network, tile, wanted, settings)
        else:
            logits = coarse_to_fine(
                _grid(first, tile, wanted, settings, settings.coarse_step_px),
                tile.x,
                tile.y,
                wanted,
                settings.coarse_probability,
                lambda near: _fine_logits(network, tile, near, settings, FINE_PIXELS),
            )
    # In float64, so that a probability is rounded only once: to the map's float32.
    probability[wanted] = 1.0 / (1.0 + np.exp(-logits.astype(np.float64)))
    return probability, tile.reason


def _fine_logits(
    network: Scannable,
    tile: Prepared,
    wanted: np.ndarray,
    settings: ScanSettings,
    chunk_pixels: float | None = None,
) -> np.ndarray:
    """Return the logits of the wanted positions, with the step that the settings give."""
    places = tile.x[wanted], tile.y[wanted]
    if _crop_by_crop(network, settings):
        return windowed_logits(
            network,
            tile.inputs,
            *places,
            batch_size=settings.batch_size,
            precision=settings.precision,
        )
    return _grid(network, tile, wanted, settings, settings.step_px, chunk_pixels).at(*places)


def _grid(
    network: Scannable,
    tile: Prepared,
    wanted: np.ndarray,
    settings: ScanSettings,
    step_px: int | None,
    chunk_pixels: float | None = None,
) -> LogitGrid:
    """Return logits on a grid around the wanted positions."""
    if _crop_by_crop(network, settings):
        assert step_px is not None  # only a coarse look has a grid of crops
        return windowed_grid(
            network,
            tile.inputs,
            tile.x[wanted],
            tile.y[wanted],
            step_px=step_px,
            batch_size=settings.batch_size,
            precision=settings.precision,
        )
    assert isinstance(network, ScanNetwork)
    # All map pixels in the image are handed over, not only the wanted ones: the borders of the
    # chunks follow from the tile's outline, so a mask does not move them, and with them the bytes
    # of values far from it.
    ny, nx = tile.inputs.shape[1:]
    on = (tile.x >= 0) & (tile.x < nx) & (tile.y >= 0) & (tile.y < ny)
    return dense_grid(
        network,
        tile.inputs,
        tile.x[on],
        tile.y[on],
        wanted=wanted[on],
        step_px=step_px,
        chunk_pixels=chunk_pixels,
        precision=settings.precision,
    )


def _crop_by_crop(network: Scannable, settings: ScanSettings) -> bool:
    return settings.engine == "windowed" or not isinstance(network, ScanNetwork)
