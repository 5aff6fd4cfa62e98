"""Random turns, mirrors, moves and zooms of crops, for a whole step at once.

Quarter turns, mirrors and moves by whole pixels only rearrange pixels, so all of them together are
one look-up of indices. Other angles and zooms are one linear interpolation.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch.nn import functional

from clusterscan.config.train import AugmentationSettings


@dataclass(frozen=True)
class Changes:
    """The random changes of each of B examples, the same in all views of an example.

    Attributes
    ----------
    quarters : int ndarray, shape (B,)
        Quarter turns.
    angle_rad : float ndarray, shape (B,), or None
        Angles in place of the quarter turns, for interpolation.
    mirror_y, mirror_x : bool ndarray, shape (B,)
        True to reverse rows, columns.
    move_px : int ndarray, shape (B, 2)
        Moves along y and x, in pixels of the first view.
    zoom : float ndarray, shape (B,), or None
        Magnifications, for interpolation; None: no zoom.
    """

    quarters: np.ndarray
    angle_rad: np.ndarray | None
    mirror_y: np.ndarray
    mirror_x: np.ndarray
    move_px: np.ndarray
    zoom: np.ndarray | None = None

    def moved(self, scale: float) -> Changes:
        """Return the changes for a view whose pixels are ``1 / scale`` of the first view's."""
        # Whole pixels, so that moves stay a look-up; views may differ by half a pixel on the sky.
        moves = np.rint(self.move_px * scale).astype(np.int64)
        return replace(self, move_px=moves)


def draw_changes(count: int, settings: AugmentationSettings, rng: np.random.Generator) -> Changes:
    """Draw the changes of the examples of a step."""
    # The order of these draws is part of the results: a new draw goes after all others.
    quarters = np.zeros(count, dtype=np.int64)
    if settings.rotation == "quarter":
        quarters = rng.integers(4, size=count)
    angle = _angles(count, settings, rng)
    mirrors = np.zeros((2, count), dtype=bool)
    if settings.flips != "none":
        mirrors[0] = rng.integers(2, size=count) == 1
    if settings.flips == "both":
        mirrors[1] = rng.integers(2, size=count) == 1
    most = settings.shift_px
    moves = rng.integers(-most, most + 1, size=(count, 2))
    zoom = None
    if settings.zooms:
        least, most_zoom = np.log(settings.zoom)
        zoom = np.exp(rng.uniform(least, most_zoom, size=count))
        angle = quarters * (np.pi / 2) if angle is None else angle
    return Changes(quarters, angle, mirrors[1], mirrors[0], moves, zoom)


def _angles(
    count: int, settings: AugmentationSettings, rng: np.random.Generator
) -> np.ndarray | None:
    if isinstance(settings.rotation, float):
        return np.deg2rad(rng.uniform(-settings.rotation, settings.rotation, size=count))
    if settings.rotation == "any":
        return rng.uniform(0, 2 * np.pi, size=count)
    if settings.rotation == "steps":
        return rng.integers(settings.rotation_steps, size=count) * (
            2 * np.pi / settings.rotation_steps
        )
    return None


def margin_px(size_px: int, settings: AugmentationSettings, scale: float = 1.0) -> int:
    """Return the margin around a crop that its changed pixels come from [px].

    Parameters
    ----------
    size_px : int
        Crop size.
    settings : AugmentationSettings
        Largest turn, move and zoom.
    scale : float
        Pixels of the view in one pixel of ``shift_px``.
    """
    # A crop turned by an angle up to 45 degrees reaches (cos + sin) times as far along the axes.
    shift = int(np.ceil(settings.shift_px * scale))
    if settings.rotation in ("none", "quarter"):
        widest = 0.0
    elif isinstance(settings.rotation, float):
        widest = min(np.pi / 4, np.deg2rad(settings.rotation))
    else:
        widest = np.pi / 4
    reach = (np.cos(widest) + np.sin(widest)) / min(settings.zoom[0], 1.0)
    return int(np.ceil((size_px / 2 + shift) * reach - size_px / 2))


def changed(images: torch.Tensor, rows: np.ndarray, size_px: int, changes: Changes) -> torch.Tensor:
    """Cut changed crops from some images.

    Parameters
    ----------
    images : float16 tensor, shape (n, L, L, bands)
        Images with margin. Pixels beyond them continue by reflection.
    rows : int ndarray, shape (B,)
        Row numbers of the images.
    size_px : int
        Crop size N, of L's parity.
    changes : Changes
        Turn, mirror, move and zoom of each.

    Returns
    -------
    float32 tensor, shape (B, bands, N, N)
        On the images' device, bands innermost in memory.
    """
    if changes.angle_rad is None:
        return _gathered(images, rows, size_px, changes)
    return _interpolated(images, rows, size_px, changes)


def _gathered(
    images: torch.Tensor, rows: np.ndarray, size_px: int, changes: Changes
) -> torch.Tensor:
    # Each output pixel (y, x) comes from one input pixel. After mirrors and quarter turns its input
    # row and column each depend on only one of y and x, so two index vectors per example, one along
    # y and one along x, add up to the flat index of all its pixels.
    L, N = images.shape[1], size_px
    ramp = np.arange(N)
    along_y = np.where(changes.mirror_y[:, None], ramp[::-1], ramp)
    along_x = np.where(changes.mirror_x[:, None], ramp[::-1], ramp)
    turns = changes.quarters[:, None]
    odd = turns % 2 == 1
    # Turning by 90 degrees: out[y, x] = in[x, N - 1 - y]; the others follow.
    from_y = np.where(turns == 2, ramp[-1] - along_y, along_y)
    from_x = np.where(turns == 2, ramp[-1] - along_x, along_x)
    row_of_y, column_of_x = from_y, from_x
    row_of_x = np.where(turns == 3, ramp[-1] - along_x, along_x)
    column_of_y = np.where(turns == 1, ramp[-1] - along_y, along_y)
    first = (L - N) // 2 + changes.move_px
    y, x = first[:, :1], first[:, 1:]
    by_y = np.where(odd, _inside(x + column_of_y, L), _inside(y + row_of_y, L) * L)
    by_x = np.where(odd, _inside(y + row_of_x, L) * L, _inside(x + column_of_x, L))
    by_y += rows[:, None] * (L * L)
    device = images.device
    index = (
        torch.from_numpy(by_y).to(device)[:, :, None] + torch.from_numpy(by_x).to(device)[:, None]
    )
    picked = images.reshape(-1, images.shape[3]).index_select(0, index.reshape(-1))
    return picked.float().view(len(rows), N, N, -1).permute(0, 3, 1, 2)


def _inside(index: np.ndarray, length: int) -> np.ndarray:
    """Reflect indices at the ends, which are not repeated: 2 1 | 0 1 2 3 | 2 1."""
    if length == 1:
        return np.zeros_like(index)
    period = 2 * (length - 1)
    # A triangle wave: it rises to the last pixel, falls back to the first, and repeats.
    return (length - 1) - np.abs(index % period - (length - 1))


def _interpolated(
    images: torch.Tensor, rows: np.ndarray, size_px: int, changes: Changes
) -> torch.Tensor:
    """Interpolate crops whose pixel p comes from R (F p / zoom + move): turn R, mirror F."""
    assert changes.angle_rad is not None
    L, N = images.shape[1], size_px
    cosine, sine = np.cos(changes.angle_rad), np.sin(changes.angle_rad)
    # grid_sample asks for the input position of each output pixel, so these are the inverse
    # changes.
    turn = np.stack([np.stack([cosine, -sine], 1), np.stack([sine, cosine], 1)], 1)  # of (x, y)
    mirror = np.stack([np.where(changes.mirror_x, -1, 1), np.where(changes.mirror_y, -1, 1)], 1)
    move = turn @ changes.move_px[:, ::-1, None]
    # affine_grid counts in half image sizes, N / 2 in the crop and L / 2 in the image.
    shrink = 1.0 if changes.zoom is None else 1 / changes.zoom[:, None, None]
    theta = np.concatenate([turn * mirror[:, None, :] * (shrink * N / L), move * (2 / L)], axis=2)
    picked = images[torch.from_numpy(rows).to(images.device)].permute(0, 3, 1, 2).float()
    grid = functional.affine_grid(
        torch.from_numpy(theta).to(picked), [len(rows), picked.shape[1], N, N], align_corners=False
    )
    crops = functional.grid_sample(picked, grid, padding_mode="reflection", align_corners=False)
    return crops.contiguous(memory_format=torch.channels_last)
