"""The map tile: one HEALPix cell of a map as a HiPS tile in FITS: values, reasons and flags.

NESTED ordering, ICRS. A map tile of W x W pixels holds the cells that are log2(W) orders finer,
laid out by `clusterscan.core.sky.to_hips_array`.

References
----------
Fernique et al. 2017, HiPS - Hierarchical Progressive Survey 1.0, IVOA Recommendation.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from clusterscan.core import sky
from clusterscan.core.atomic import atomic_path
from clusterscan.core.errors import ProductError
from clusterscan.formats.mask_planes import MASK_DTYPE, MASKABLE

Header = Mapping[str, Any]

#: Codes of the REASON extension: why a map pixel has no value.
REASONS = (
    "valid",
    "no coverage",
    "masked",
    "too few valid pixels",
    *(plane.excluded for plane in MASKABLE),  # codes `reason` of the planes
)
_ALWAYS_TOLD = 4  # the other codes are only in the headers of tiles that use them

_TILE_NAME = re.compile(r"Npix(\d+)\.fits")


def write_map_tile(
    path: Path,
    values: np.ndarray,
    reason: np.ndarray,
    header: Header,
    flags: np.ndarray | None = None,
) -> None:
    """Write one HiPS tile of a map; the same input always gives the same bytes.

    Parameters
    ----------
    path : Path
        Replaced atomically.
    values : float ndarray, shape (W * W,)
        The map in nested order (W a power of two), NaN where it has no value.
    reason : uint8 ndarray, shape (W * W,)
        Why a pixel has no value, a code of `REASONS`; 0 where it has one.
    header : mapping
        Cards of the primary header; a value may be a (value, comment) pair.
    flags : MASK_DTYPE ndarray, shape (W * W,), optional
        Planes of masks that flag candidates (`clusterscan.scan.validity.flags_at`).

    Raises
    ------
    ProductError
        If the arrays do not form one square tile with a power-of-two side, or if a pixel has both
        a value and a reason for having none.
    """
    from astropy.io import fits

    values = np.asarray(values, dtype=np.float32)
    reason = np.asarray(reason, dtype=np.uint8)
    _check_tile(path, values, reason)
    primary = fits.PrimaryHDU(sky.to_hips_array(values))
    for keyword, card in header.items():
        primary.header[keyword] = card
    extension = fits.ImageHDU(sky.to_hips_array(reason), name="REASON")
    told = REASONS[: max(_ALWAYS_TOLD, int(reason.max(initial=0)) + 1)]
    extension.header["COMMENT"] = "; ".join(f"{n} {text}" for n, text in enumerate(told))
    hdus = fits.HDUList([primary, extension])
    if flags is not None:
        hdus.append(fits.ImageHDU(sky.to_hips_array(flags), name="FLAGS"))
        hdus["FLAGS"].header["COMMENT"] = "; ".join(f"{p.bit} {p.label}" for p in MASKABLE)
    with atomic_path(path) as temporary:
        hdus.writeto(temporary, output_verify="exception", overwrite=True)


def read_map_tile(path: Path) -> np.ndarray:
    """Return a map tile's values in nested order, float32, NaN where invalid.

    Raises
    ------
    ProductError
        If the file is missing or is not a map tile.
    """
    from astropy.io import fits

    try:
        with fits.open(path, memmap=False) as hdus:
            array = np.asarray(hdus[0].data, dtype=np.float32)
        return sky.from_hips_array(array)
    except (OSError, TypeError, IndexError, ValueError) as error:
        raise ProductError(
            f"{path}: not a readable map tile ({error}); delete it and run the scan again"
        ) from error


def read_map_flags(path: Path) -> np.ndarray | None:
    """Return a map tile's flags in nested order, MASK_DTYPE, or None if it has none."""
    from astropy.io import fits

    with fits.open(path, memmap=False) as hdus:
        if "FLAGS" not in hdus:
            return None
        return sky.from_hips_array(np.asarray(hdus["FLAGS"].data, dtype=MASK_DTYPE))


def tiles_on_disk(root: Path, order: int) -> list[int]:
    """Return the sorted tiles of one order in a map's folder, whatever the footprint is now."""
    # By the files themselves: tiles of an earlier, larger footprint count too.
    matches = (_TILE_NAME.fullmatch(p.name) for p in Path(root).glob(f"Norder{order}/Dir*/*.fits"))
    return sorted(int(m.group(1)) for m in matches if m)


def tile_path(root: Path, tile: int, order: int) -> Path:
    """Return the path of a map's tile."""
    return Path(root) / sky.shard_path(tile, order, ".fits")


def _check_tile(path: Path, values: np.ndarray, reason: np.ndarray) -> None:
    width = int(np.sqrt(values.size))
    if values.ndim != 1 or width * width != values.size or width & (width - 1):
        raise ProductError(f"{path}: a tile has W * W values in nested order, got {values.shape}")
    if reason.shape != values.shape:
        raise ProductError(f"{path}: {values.size} values but reasons of shape {reason.shape}")
    # A reader must be able to tell sky that was not searched from sky where nothing was found.
    wrong = np.isfinite(values) != (reason == 0)
    if wrong.any():
        raise ProductError(
            f"{path}: {wrong.sum()} pixels have both a value and a reason for having none, or "
            f"neither, the first at nested offset {int(np.flatnonzero(wrong)[0])}"
        )
