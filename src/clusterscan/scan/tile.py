"""Scan one tile: a network's probability at each map pixel."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np

from clusterscan.config.scan import ScanSettings
from clusterscan.errors import ImageError, ModelError
from clusterscan.fetch.raw import BAD_PLANES
from clusterscan.networks.device import choose_device, fixed_threads
from clusterscan.networks.network import Network, ScanNetwork
from clusterscan.networks.normalise import Normalisation, apply
from clusterscan.networks.whole import WholeNetwork
from clusterscan.scan.coarse import could_matter, windowed_grid
from clusterscan.scan.dense import LogitGrid, dense_grid
from clusterscan.scan.validity import VALID, reasons
from clusterscan.scan.windowed import windowed_logits

log = logging.getLogger(__name__)

Scannable = ScanNetwork | WholeNetwork

# A chunk of the fine look [px]: small, for most of a tile needs none; its overlap is at least half.
FINE_PIXELS = 300.0**2


def scan_tile(
    network: Network,
    card: dict[str, Any],
    image: np.ndarray,
    mask: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    settings: ScanSettings,
    *,
    bad_planes: int = int(BAD_PLANES),
    coarse: Network | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return a network's probability at each map pixel, and why it is missing where it is.

    Parameters
    ----------
    network : ScanNetwork or WholeNetwork
        In evaluation mode. A whole network is always scanned crop by crop.
    card : dict
        Its model card, for the normalisation.
    image : float32 ndarray, shape (bands, ny, nx)
        The tile's image in the survey's unit; missing pixels NaN or marked in the mask.
    mask : uint8 ndarray, shape (ny, nx)
        Bit planes, `clusterscan.fetch.raw.PLANES`.
    x, y : float ndarray, shape (n,)
        Positions of the map pixels in the image [px].
    settings : ScanSettings
        Engine, grid step, validity.
    bad_planes : int
        Bits of the mask whose pixels are left out.
    coarse : Network, optional
        What looks first where the settings have a coarse step; the network itself if left out.

    Returns
    -------
    probability : float32 ndarray, shape (n,)
        NaN where reason is not 0.
    reason : uint8 ndarray, shape (n,)
        0 valid, 1 no coverage, 2 masked, 3 too few valid pixels in the window, 4 to 7 excluded
        for a bright star, a large galaxy, a point source, by a survey's mask.

    Raises
    ------
    ImageError
        If the shapes do not fit each other or the model.
    ModelError
        If the network joins several surveys: a tile is of one; or if it was trained on images
        less their own background, which a window of a tile is not.
    """
    if not isinstance(network, Scannable):
        raise ModelError(
            f"{card.get('file', 'the model')} joins several surveys and cannot scan the tiles of "
            "one; scan each survey with a network of its own"
        )
    _check_shapes(network, image, mask, x, y)
    bad = (mask & bad_planes) != 0
    bad |= ~np.isfinite(image).all(axis=0)
    reason = reasons(
        bad,
        mask,
        x,
        y,
        window_px=network.window_px,
        min_valid_fraction=settings.min_valid_fraction,
        bad_planes=bad_planes,
    )
    probability = np.full(len(x), np.nan, dtype=np.float32)
    wanted = reason == VALID
    if wanted.any():
        inputs = apply(image, _normalisation(card))
        inputs[:, bad] = 0.0
        first = coarse if isinstance(coarse, Scannable) else network
        logits = _logits(network, first, inputs, x, y, wanted, settings)
        probability[wanted] = 1.0 / (1.0 + np.exp(-logits.astype(np.float64)))
    return probability, reason


def _normalisation(card: dict[str, Any]) -> Normalisation:
    found = Normalisation.from_json(card["views"][0]["normalisation"])
    if found.background != "kept":
        raise ModelError(
            f"{card.get('file', 'the model')} was trained on stamps less their own background, "
            "and a tile has no such windows; train with normalisation.background: kept"
        )
    return found


def _logits(
    network: Scannable,
    first: Scannable,
    inputs: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    wanted: np.ndarray,
    settings: ScanSettings,
) -> np.ndarray:
    """Return the logits of the wanted positions."""
    device = choose_device(settings.device)
    for one in (network, first):
        one.eval().to(device)
    with fixed_threads(settings.threads):
        if settings.coarse_step_px is None:
            return _finely(network, inputs, x, y, wanted, settings)
        grid = _coarse_grid(first, inputs, x, y, wanted, settings)
        near = np.zeros_like(wanted)
        places = x[wanted], y[wanted]
        near[wanted] = could_matter(grid, *places, settings.coarse_probability)
        log.info("%d of %d map pixels are looked at finely", near.sum(), wanted.sum())
        logits = grid.at(*places)
        if near.any():
            small = FINE_PIXELS if settings.engine == "dense" else None
            logits[near[wanted]] = _finely(network, inputs, x, y, near, settings, small)
        return logits


def _finely(
    network: Scannable,
    inputs: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    wanted: np.ndarray,
    settings: ScanSettings,
    chunk_pixels: float | None = None,
) -> np.ndarray:
    places = x[wanted], y[wanted]
    if settings.engine == "windowed" or not isinstance(network, ScanNetwork):
        return windowed_logits(network, inputs, *places, batch_size=settings.batch_size)
    step = settings.step_px
    grid = _grid(network, inputs, x, y, wanted, step, chunk_pixels)
    return grid.at(*places)


def _coarse_grid(
    network: Scannable,
    inputs: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    wanted: np.ndarray,
    settings: ScanSettings,
) -> LogitGrid:
    assert settings.coarse_step_px is not None
    if settings.engine == "windowed" or not isinstance(network, ScanNetwork):
        return windowed_grid(
            network,
            inputs,
            x[wanted],
            y[wanted],
            step_px=settings.coarse_step_px,
            batch_size=settings.batch_size,
        )
    return _grid(network, inputs, x, y, wanted, settings.coarse_step_px, None)


def _grid(
    network: ScanNetwork,
    inputs: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    wanted: np.ndarray,
    step_px: int | None,
    chunk_pixels: float | None,
) -> LogitGrid:
    # The chunks follow from the tile's outline, so that what is masked moves no border.
    ny, nx = inputs.shape[1:]
    on = (x >= 0) & (x < nx) & (y >= 0) & (y < ny)
    return dense_grid(
        network,
        inputs,
        x[on],
        y[on],
        wanted=wanted[on],
        step_px=step_px,
        chunk_pixels=chunk_pixels,
    )


def _check_shapes(
    network: Scannable,
    image: np.ndarray,
    mask: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
) -> None:
    if image.ndim != 3 or image.shape[0] != network.bands or image.shape[1:] != mask.shape:
        raise ImageError(
            f"image {image.shape} and mask {mask.shape} do not fit a model of {network.bands} "
            "bands: give (bands, ny, nx) and (ny, nx) of the survey it was trained on"
        )
    if x.shape != y.shape or x.ndim != 1:
        raise ImageError(f"x {x.shape} and y {y.shape} must be lists of the same length")
