"""Where in a FITS file a map stands, and how a HEALPix map's pixels are numbered.

Types of fields that footprints, masks and archives share; None: as the file says.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

Extension = Annotated[
    str | int | None,
    Field(description="Name or number of the extension; null: the first image (or table)."),
]
HealpixColumn = Annotated[
    str | None, Field(description="Column of a HEALPix map; null: the first.")
]
HealpixFrame = Annotated[
    Literal["icrs", "galactic"] | None,
    Field(description="Frame of a HEALPix map; null: as its header says."),
]
HealpixOrdering = Annotated[
    Literal["nested", "ring"] | None,
    Field(description="Ordering of a HEALPix map; null: as its header says."),
]
