"""What a HiPS tree says of itself in its file ``properties``.

References
----------
IVOA Recommendation HiPS 1.0 (Fernique et al. 2017), section 4.4.1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from clusterscan.core.errors import SourceError

_FRAMES = {"equatorial": "icrs", "galactic": "galactic", "C": "icrs", "G": "galactic"}
_DEFAULT_WIDTH = 512


@dataclass(frozen=True)
class Properties:
    """A tree's properties.

    Attributes
    ----------
    frame : {"icrs", "galactic"}
        The frame of its HEALPix cells.
    order, order_min : int
        The finest and the coarsest order of its tiles.
    tile_width : int
        Pixels along a side of a tile, a power of 2.
    release : str
        Its release date as the tree writes it; empty where it has none.
    """

    frame: Literal["icrs", "galactic"]
    order: int
    order_min: int
    tile_width: int
    release: str

    def pixel_scale_arcsec(self, order: int) -> float:
        """Return the side of a HEALPix pixel of the tiles of an order [arcsec]."""
        side_of_order_0 = math.degrees(math.sqrt(math.pi / 3.0)) * 3600.0
        return side_of_order_0 / 2**order / self.tile_width

    def best_order(self, pixel_scale_arcsec: float) -> int:
        """Return the coarsest order with pixels no larger than asked for, else the finest."""
        for order in range(self.order_min, self.order):
            if self.pixel_scale_arcsec(order) <= pixel_scale_arcsec * (1 + 1e-6):
                return order
        return self.order


def parse_properties(text: str, where: str) -> Properties:
    """Read ``properties``.

    Raises
    ------
    SourceError
        If a needed key is missing or strange, or the tree has no FITS tiles.
    """
    lines = [line.split("=", 1) for line in text.splitlines() if line.strip()[:1] != "#"]
    found = {pair[0].strip(): pair[1].strip() for pair in lines if len(pair) == 2}
    name = found.get("hips_frame") or found.get("coordsys") or "?"
    if name not in _FRAMES:
        raise SourceError(
            f"{where}: hips_frame is {name!r}; only equatorial and galactic trees can be read"
        )
    formats = found.get("hips_tile_format", "fits").lower().replace(",", " ").split()
    if "fits" not in formats:
        raise SourceError(
            f"{where}: its tiles are {' and '.join(formats)}, pictures without physical values; "
            "name a tree with FITS tiles"
        )
    try:
        order = int(found.get("hips_order") or found["maxOrder"])
        order_min = int(found.get("hips_order_min") or min(3, order))
        width = int(found.get("hips_tile_width") or _DEFAULT_WIDTH)
    except (KeyError, ValueError) as error:
        raise SourceError(f"{where}: no HiPS properties ({error}); is the URL right?") from error
    if not (0 <= order_min <= order <= 20 and 0 < width <= 8192 and width & (width - 1) == 0):
        raise SourceError(f"{where}: orders {order_min} to {order}, tiles of {width} px: no HiPS")
    release = found.get("hips_release_date") or found.get("hips_creation_date") or ""
    frame: Literal["icrs", "galactic"] = "galactic" if _FRAMES[name] == "galactic" else "icrs"
    return Properties(frame, order, order_min, width, release)
