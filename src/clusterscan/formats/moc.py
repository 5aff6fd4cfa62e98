"""Read MOCs (multi-order coverage maps), completely or not at all.

mocpy accepts whatever it finds: from a truncated file it returns the cells that were there, and a
path that does not exist is taken for a network address. Both are errors here.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from astropy.io import fits

from clusterscan.core.errors import SourceError

if TYPE_CHECKING:
    from mocpy import MOC


def read_moc(path: Path) -> MOC:
    """Read a MOC from a FITS file, or from a JSON file whose name ends in ``.json``.

    Raises
    ------
    SourceError
        If the file is missing, truncated, or not a MOC.
    """
    from mocpy import MOC

    if not path.is_file():
        raise SourceError(f"{path}: no such MOC file; correct the path")
    kind = "json" if path.suffix == ".json" else "fits"
    try:
        # JSON needs no such check: a truncated text does not parse.
        if kind == "fits":
            _check_length(path)
        return MOC.load(str(path), format=kind)
    except Exception as error:  # mocpy raises whatever its parsers raise
        raise SourceError(f"{path}: not a MOC ({error}); restore the file") from error


def _check_length(path: Path) -> None:
    """Raise ValueError if a FITS file ends before its data do; only padding may be missing."""
    with path.open("rb") as handle:
        if handle.read(2) == b"\x1f\x8b":  # gzip has its own checksum
            return
    with fits.open(path, memmap=True) as hdus:
        # astropy reads the headers of a truncated file without complaint; only its length gives it
        # away.
        hdu = hdus[-1]
        begin, header = hdu.fileinfo()["datLoc"], hdu.header
        end = begin + header.get("NAXIS1", 0) * header.get("NAXIS2", 0)
    if (size := path.stat().st_size) < end:
        raise ValueError(f"truncated: {size} of at least {end} bytes")
