"""The bit masks that surveys publish beside their images, as planes of a tile's own mask."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from clusterscan.config.image_sources import ArchiveBand
from clusterscan.core.errors import SourceError
from clusterscan.fetch.archive.image_set import Frame, _Image
from clusterscan.fetch.coadd import Cut, coadd
from clusterscan.formats.fits_window import read_window, window_of, window_wcs
from clusterscan.formats.mask_planes import PLANES


def mask_planes(path: Path, band: ArchiveBand, frame: Frame) -> np.ndarray:
    """Return the planes that a survey's mask file sets on a frame.

    Each pixel of the frame takes the bits of the mask's pixel under its centre: a mask's pixels
    should not be much smaller than the frame's.

    Parameters
    ----------
    path : Path
        An image of integers, with its own WCS.
    band : ArchiveBand
        Which of its bits mean what, and its extension.
    frame : (WCS, (ny, nx))
        Of the tile's raw image.

    Returns
    -------
    uint8 ndarray, shape (ny, nx)
        Of `clusterscan.formats.mask_planes.PLANES`; 0 beyond the file's border.

    Raises
    ------
    SourceError
        If the file is damaged, or holds no integers.
    """
    wcs, shape = frame
    planes = np.zeros(shape, np.uint8)
    asked = band.model_copy(update={"extension": band.mask_extension, "plane": 0})
    with _Image(path, asked) as image:
        window = window_of(image.wcs, image.shape, *frame)
        if window is None:
            return planes
        if not str(image.dtype).startswith(("int", "uint")):
            raise SourceError(
                f"{path}: holds {image.dtype}, and bits are of integers; correct mask_extension"
            )
        bits = read_window(image.section, window, image.shape[1], dtype=np.int64, fill=0)
        here = window_wcs(image.wcs, window)
    for plane, numbers in band.mask_bits.items():
        wanted = np.bitwise_or.reduce(np.left_shift(np.int64(1), np.array(numbers, np.int64)))
        found = ((bits & wanted) != 0).astype(np.float32)
        if found.any():
            cut = Cut(found, np.ones_like(found), here)
            planes |= np.where(coadd([cut], wcs, shape, "nearest") > 0.5, PLANES[plane], 0).astype(
                np.uint8
            )
    return planes
