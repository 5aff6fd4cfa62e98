"""The bit planes of image masks. Imported where no FITS is read, such as on GPU nodes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

MASK_DTYPE = np.uint8
"""The type of all masks in memory and in files. Its eight bits are taken: a ninth plane needs a
wider type here, and raised versions in `clusterscan.flow.versions`, because files change."""


@dataclass(frozen=True)
class Plane:
    """One bit plane of a mask, with what it means further on.

    Attributes
    ----------
    name : str
        Its name in settings.
    bit : MASK_DTYPE
        Its bit in masks.
    nearby : str
        The flag (`clusterscan.formats.catalogue_columns.FLAGS`) of catalogue objects with such
        pixels within the search radius; empty if none.
    masks : str
        The masks of the settings that set it; empty if none does. The fields below belong to them.
    reason, excluded : int and str
        Code in the REASON plane of map tiles where such a mask has ``use: exclude``, and its
        meaning. Codes count on from 4, in the order of the table.
    flag : int
        Bit of a catalogue object's `flags` where such a mask has ``use: flag``.
    """

    name: str
    bit: MASK_DTYPE
    nearby: str = ""
    masks: str = ""
    reason: int = 0
    excluded: str = ""
    flag: int = 0

    @property
    def label(self) -> str:
        """The name in words."""
        return self.name.replace("_", " ")


NO_COVERAGE = MASK_DTYPE(1)
SATURATED = MASK_DTYPE(2)
BRIGHT_STAR = MASK_DTYPE(4)
LARGE_GALAXY = MASK_DTYPE(8)
POINT_SOURCE = MASK_DTYPE(16)
SURVEY_MASK = MASK_DTYPE(32)
FLAGGED = MASK_DTYPE(64)
"""Set beside the plane's bit by masks with ``use: flag``: candidates here get a flag."""
EXCLUDED = MASK_DTYPE(128)
"""Set beside the plane's bit by masks with ``use: exclude``: this is no valid sky."""

TABLE = (
    Plane("no_coverage", NO_COVERAGE, nearby="incomplete"),
    Plane("saturated", SATURATED, nearby="star"),
    Plane(
        "bright_star",
        BRIGHT_STAR,
        nearby="star",
        masks="a mask of bright stars",
        reason=4,
        excluded="excluded for a bright star",
        flag=512,
    ),
    Plane(
        "large_galaxy",
        LARGE_GALAXY,
        masks="a mask of large galaxies",
        reason=5,
        excluded="excluded for a large galaxy",
        flag=1024,
    ),
    Plane(
        "point_source",
        POINT_SOURCE,
        masks="a mask of point sources",
        reason=6,
        excluded="excluded for a point source",
        flag=2048,
    ),
    Plane(
        "survey_mask",
        SURVEY_MASK,
        masks="a survey's own mask",
        reason=7,
        excluded="excluded by a survey's mask",
        flag=4096,
    ),
)
"""All planes. The scan, detection, map tiles and the catalogue read their meaning from here."""
PLANES = {plane.name: plane.bit for plane in TABLE}
MASKABLE = tuple(plane for plane in TABLE if plane.masks)
"""The planes that masks of the settings set; the first of two at a pixel gives its reason."""
BAD_PLANES = NO_COVERAGE | SATURATED | EXCLUDED
"""Pixels that networks do not see: missing in examples, 0 in the scan's normalised image."""
