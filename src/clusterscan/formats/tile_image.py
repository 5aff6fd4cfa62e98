"""A tile's image, which sampling cuts examples from and scanning slides over, as FITS."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS

from clusterscan.core.atomic import atomic_path
from clusterscan.core.errors import ImageError
from clusterscan.formats.mask_planes import MASK_DTYPE, NO_COVERAGE
from clusterscan.formats.raw_image import wcs_header

_PIECE_PX = 256


@dataclass(frozen=True)
class TileImage:
    """A tile's image of one survey.

    Attributes
    ----------
    image : float32 ndarray, shape (bands, ny, nx)
        Finite everywhere; pixels without coverage hold the band's median.
    mask : MASK_DTYPE ndarray, shape (ny, nx)
        Bit planes: 1 no coverage, 2 saturated, 4 bright star, 8 large galaxy, 16 point source,
        32 survey mask. With one of the last four also 64 (candidates get a flag) or 128 (the
        pixel is no valid sky).
    wcs : astropy.wcs.WCS
        Celestial, ICRS; pixel centres at integers.
    unit : str
        Unit of the pixel values.
    bands : tuple of str
        Bands, in the order of the planes.
    ivar : float32 ndarray, shape (bands, ny, nx), optional
        Inverse variance of each pixel [1 / unit²]; 0 where it is unknown.
    """

    image: np.ndarray
    mask: np.ndarray
    wcs: WCS
    unit: str
    bands: tuple[str, ...]
    ivar: np.ndarray | None = None

    @property
    def covered(self) -> np.ndarray:
        """Return True for each pixel with data, bool, shape (ny, nx)."""
        return (self.mask & NO_COVERAGE) == 0

    @property
    def pixel_scale_arcsec(self) -> float:
        """Return the pixel size [arcsec] at the reference point, rounded to agree between tiles."""
        area_deg2 = np.abs(np.linalg.det(self.wcs.pixel_scale_matrix))
        return round(float(np.sqrt(area_deg2)) * 3600.0, 6)

    def to_pixel(self, ra_deg: np.ndarray, dec_deg: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return pixel positions (x, y), 0-based; NaN behind the tangent plane."""
        x, y = self.wcs.world_to_pixel_values(np.asarray(ra_deg), np.asarray(dec_deg))
        return np.atleast_1d(x), np.atleast_1d(y)


def write_tile(path: Path, tile: TileImage, compression: Literal["none", "gzip"] = "none") -> None:
    """Write a tile's image atomically; the same image always gives the same bytes."""
    header = wcs_header(tile.wcs)
    new = fits.ImageHDU if compression == "none" else _compressed
    cube = new(tile.image.astype(np.float32, copy=False), header, name="IMAGE")
    cube.header["BUNIT"] = tile.unit
    for index, band in enumerate(tile.bands, start=1):
        cube.header[f"BAND{index}"] = (band, f"band of plane {index}")
    mask = new(tile.mask.astype(MASK_DTYPE, copy=False), header, name="MASK")
    mask.header["COMMENT"] = "bits: 1 no coverage, 2 saturated, 4 bright star"
    if (tile.mask > 7).any():  # images without such masks keep their bytes
        mask.header["COMMENT"] = "8 large galaxy, 16 point source, 32 survey mask,"
        mask.header["COMMENT"] = "64 flags candidates, 128 is no valid sky"
    hdus = fits.HDUList([fits.PrimaryHDU(), cube, mask])
    if tile.ivar is not None:
        hdus.append(new(tile.ivar.astype(np.float32, copy=False), header, name="IVAR"))
        hdus["IVAR"].header["BUNIT"] = f"1/({tile.unit})2"
    with atomic_path(path) as temporary:
        hdus.writeto(temporary)
        if compression == "gzip":
            _forget_times(temporary)


def _compressed(data: np.ndarray, header: fits.Header, name: str) -> fits.CompImageHDU:
    # Lossless: floats are not quantised, their bytes shuffled and deflated in pieces.
    piece = (*([1] * (data.ndim - 2)), *(min(side, _PIECE_PX) for side in data.shape[-2:]))
    return fits.CompImageHDU(
        data,
        header,
        name=name,
        compression_type="GZIP_2",
        quantize_level=0.0,
        tile_shape=piece,
    )


def _forget_times(path: Path) -> None:
    """Set the time in every gzip header (RFC 1952, bytes 4 to 7) to 0.

    zlib writes the clock's time there, and the same image must always give the same bytes.
    """
    with fits.open(path, disable_image_compression=True) as hdus:
        # Each piece of a compressed image is a gzip stream of its own, with its own header.
        places = []
        for hdu in hdus:
            if not isinstance(hdu, fits.BinTableHDU):
                continue
            start = hdu.fileinfo()["datLoc"]
            heap = hdu.header.get("THEAP", hdu.header["NAXIS1"] * hdu.header["NAXIS2"])
            # The plain array holds each piece's (length, offset in the heap).
            pieces = hdu.data.view(np.ndarray)["COMPRESSED_DATA"]
            places += [start + heap + int(offset) for _, offset in pieces]
    with path.open("r+b") as handle:
        for place in places:
            handle.seek(place + 4)
            handle.write(b"\0\0\0\0")


def read_tile(path: Path) -> TileImage:
    """Read a tile's image.

    Raises
    ------
    ImageError
        If the file is missing, damaged, or not written by `write_tile`.
    """
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message="File may have been truncated")
            with fits.open(path, memmap=False, lazy_load_hdus=False) as hdus:
                cube, mask = hdus["IMAGE"], hdus["MASK"]
                image = np.asarray(cube.data, dtype=np.float32)
                planes = np.asarray(mask.data, dtype=MASK_DTYPE)
                ivar = np.asarray(hdus["IVAR"].data, np.float32) if "IVAR" in hdus else None
                header = cube.header
                bands = tuple(str(header[f"BAND{i + 1}"]) for i in range(image.shape[0]))
                # The mask's header, because the image has a third axis, its bands.
                wcs = WCS(mask.header)
    except (OSError, ValueError, TypeError, KeyError, UserWarning) as error:
        raise ImageError(
            f"{path}: not a whole tile image ({type(error).__name__}: {error}); "
            "delete it and run again, it is made again"
        ) from error
    if image.ndim != 3 or image.shape[1:] != planes.shape:
        raise ImageError(
            f"{path}: image {image.shape} and mask {planes.shape} do not fit; "
            "delete it and run again"
        )
    if ivar is not None and ivar.shape != image.shape:
        raise ImageError(
            f"{path}: image {image.shape} and inverse variance {ivar.shape} do not fit; "
            "delete it and run again"
        )
    return TileImage(image, planes, wcs, str(header.get("BUNIT", "")), bands, ivar)
