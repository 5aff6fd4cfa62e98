"""Read a MOC of a file: whole or not at all.

The library takes what it finds: of a file that was cut short it returns the cells that came, and
a path that is not there it takes for an address in the network.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from astropy.io import fits

from clusterscan.core.errors import SourceError

if TYPE_CHECKING:
    from mocpy import MOC


def read_moc(path: Path) -> MOC:
    """Return the MOC of a FITS file, or of a JSON file whose name ends in ``.json``.

    Raises
    ------
    SourceError
        If the file is missing, cut short, or no MOC.
    """
    from mocpy import MOC

    if not path.is_file():
        raise SourceError(f"{path}: there is no such file of a MOC; correct the path")
    kind = "json" if path.suffix == ".json" else "fits"
    try:
        if kind == "fits":
            _check_length(path)
        return MOC.load(str(path), format=kind)
    except Exception as error:  # the library raises whatever its parsers do
        raise SourceError(f"{path}: no MOC ({error}); restore the file") from error


def _check_length(path: Path) -> None:
    """Refuse a file that ends before its last data; only their padding may be missing."""
    with path.open("rb") as handle:
        if handle.read(2) == b"\x1f\x8b":  # gzip, whose own checksum tells
            return
    with fits.open(path, memmap=True) as hdus:
        hdu = hdus[-1]
        begin, header = hdu.fileinfo()["datLoc"], hdu.header
        end = begin + header.get("NAXIS1", 0) * header.get("NAXIS2", 0)
    if (size := path.stat().st_size) < end:
        raise ValueError(f"cut short: {size} bytes of at least {end}")
