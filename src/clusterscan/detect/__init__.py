"""Detection: peaks of a probability or S/N map become candidates, each owned by one tile."""

from clusterscan.detect.peaks import (
    COLUMNS,
    FLAG_BLENDED,
    FLAG_CENTROID,
    FLAG_EDGE,
    FLAG_SATURATED,
    empty_candidates,
    find_peaks,
)

__all__ = [
    "COLUMNS",
    "FLAG_BLENDED",
    "FLAG_CENTROID",
    "FLAG_EDGE",
    "FLAG_SATURATED",
    "empty_candidates",
    "find_peaks",
]
