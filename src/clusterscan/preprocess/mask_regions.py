"""Masks of stars, galaxies and point sources: from a table to regions to pixels.

A region is a circle or an ellipse on the sky. A pixel belongs to it if the pixel's centre,
projected on the tangent plane *at the region's own centre*, lies in an ellipse of half-axes tan(a)
and tan(b). For circles that is the exact spherical cap, also at the poles and across RA 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from astropy.coordinates import ICRS
from astropy.wcs import WCS
from astropy.wcs.utils import wcs_to_celestial_frame

from clusterscan.config.preprocess import (
    GalaxyMask,
    LegacySurveysRadius,
    PiecewiseRadius,
    RadiusRule,
    StarMask,
    TableMask,
)
from clusterscan.core import sky
from clusterscan.core.errors import CatalogueError
from clusterscan.formats.mask_planes import (
    BRIGHT_STAR,
    EXCLUDED,
    FLAGGED,
    LARGE_GALAXY,
    MASK_DTYPE,
    POINT_SOURCE,
)

_BITS = {"stars": BRIGHT_STAR, "galaxies": LARGE_GALAXY, "points": POINT_SOURCE}
_SIZE_TO_RADIUS_ARCMIN = {
    "diameter_arcmin": 1 / 2,
    "diameter_arcsec": 1 / 120,
    "radius_arcsec": 1 / 60,
}
# Legacy Surveys, legacypipe/reference.py, mask_radius_for_mag: 1630 arcsec * 1.396**(-mag).
_LEGACY_ARCSEC, _LEGACY_BASE = 1630.0, 1.396


def radius_arcmin(rule: RadiusRule, magnitude: np.ndarray) -> np.ndarray:
    """Return the mask radius that a rule gives for each magnitude [arcmin].

    Parameters
    ----------
    rule : RadiusRule
        The rule from the settings.
    magnitude : float ndarray, shape (n,)
        In the band that the rule was made for.

    Returns
    -------
    float ndarray, shape (n,)
        NaN for NaN; 0 where the rule masks nothing.
    """
    magnitude = np.asarray(magnitude, dtype=np.float64)
    if isinstance(rule, LegacySurveysRadius):
        return _LEGACY_ARCSEC / 60.0 * _LEGACY_BASE ** (-magnitude)
    if isinstance(rule, PiecewiseRadius):
        mags, radii = np.array(rule.points, dtype=np.float64).T
        radius = 10.0 ** np.interp(magnitude, mags, np.log10(radii))
        return np.where(magnitude > mags[-1], 0.0, radius)
    return rule.at_zero_arcmin * 10.0 ** (-rule.slope * magnitude)


def bits_of(plane: MASK_DTYPE, use: str) -> int:
    """Return a plane's bit together with the bit for its use (excluded or flagged)."""
    return int(plane | (EXCLUDED if use == "exclude" else FLAGGED))


def regions_of(
    mask: TableMask, table: pd.DataFrame, where: str
) -> tuple[pd.DataFrame, dict[str, int]]:
    """Return the regions of a table's objects, and statistics of its rows.

    Parameters
    ----------
    mask : StarMask, GalaxyMask or PointSourceMask
        The settings.
    table : DataFrame
        Validated: ra_deg, dec_deg and the columns that the mask needs.
    where : str
        Name of the table, for messages.

    Returns
    -------
    regions : DataFrame
        Columns `COLUMNS`; only objects with a size above 0.
    counts : dict
        Numbers of rows: rows, with a mask, unmeasured (no magnitude or size), too small (no size
        by the rule or a limit).

    Raises
    ------
    CatalogueError
        If the table has no rows, or objects have no magnitude or size and the settings do not say
        how to treat them.
    """
    if table.empty:
        raise CatalogueError(
            f"{where}: has no rows, so it masks nothing; correct it or its `select`, or remove "
            "the mask"
        )
    count = len(table)
    a, b, angle, without = _shapes(mask, table, where)
    _refuse_huge(a, table, where)
    drawn = a > 0
    regions = pd.DataFrame(
        {
            "bits": np.full(count, bits_of(_BITS[mask.kind], mask.use)),
            "ra_deg": table["ra_deg"].to_numpy(),
            "dec_deg": table["dec_deg"].to_numpy(),
            "a_deg": a / 60.0,
            "b_deg": b / 60.0,
            "pa_deg": angle,
        }
    ).astype(COLUMNS)[drawn]
    counts = {
        "rows": count,
        "with a mask": int(drawn.sum()),
        "unmeasured": int((without & ~drawn).sum()),
        "too small": int((~drawn & ~without).sum()),
    }
    return regions.reset_index(drop=True), counts


def _shapes(
    mask: TableMask, table: pd.DataFrame, where: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return half-axes [arcmin] (0: no mask), angle [deg], and True for objects without a size."""
    if isinstance(mask, GalaxyMask):
        return _ellipses(mask, table, where)
    if isinstance(mask, StarMask):
        radius, without = _star_radii(mask, table, where)
    else:
        radius, without = _point_radii(mask.radius_arcmin, table, where)
    return radius, radius, np.zeros(len(table)), without


# No star is this bright in any band; catalogues write -9.99, -99 or -999 for a missing magnitude.
_NO_STARS_MAG = -9.0


def _star_radii(mask: StarMask, table: pd.DataFrame, where: str) -> tuple[np.ndarray, np.ndarray]:
    magnitude = _numbers(table, "mag")
    without = ~(np.isfinite(magnitude) & (magnitude > _NO_STARS_MAG))
    if mask.without_magnitude == "error":
        _refuse(without, table, "mag", where, "without_magnitude: leave_out, or largest")
    radius = mask.factor * radius_arcmin(mask.radius, np.where(without, 0.0, magnitude))
    radius = np.where(radius > 0, np.clip(radius, mask.min_arcmin, mask.max_arcmin), 0.0)
    if mask.faintest_mag is not None:
        radius[magnitude > mask.faintest_mag] = 0.0
    radius[without] = mask.max_arcmin if mask.without_magnitude == "largest" else 0.0
    return radius, without


def _ellipses(
    mask: GalaxyMask, table: pd.DataFrame, where: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    size = _numbers(table, "size")
    without = ~np.isfinite(size)
    if mask.size == "log_d25":
        radius = 10.0**size / 20.0  # log10 of a diameter in units of 0.1 arcmin
    else:
        without |= ~(size > 0)
        radius = size * _SIZE_TO_RADIUS_ARCMIN[mask.size]
    if mask.without_size == "error":
        _refuse(without, table, "size", where, "without_size: leave_out")
    small = 2 * radius < mask.min_diameter_arcmin
    a = np.where(without | small, 0.0, np.minimum(mask.factor * radius, mask.max_arcmin))
    ratio, angle = np.ones(len(table)), np.zeros(len(table))
    if mask.axis_ratio != "none":
        given, turned = _numbers(table, "axis_ratio"), _numbers(table, "pa_deg")
        if mask.axis_ratio == "log_a_over_b":
            given = 10.0 ** (-given)
        # If the shape or angle is unknown, a circle contains every possible ellipse.
        known = np.isfinite(given) & (given > 0) & (given <= 1) & np.isfinite(turned)
        ratio, angle = np.where(known, given, 1.0), np.where(known, turned, 0.0)
    return a, a * ratio, angle, without


def _point_radii(
    radius: float | None, table: pd.DataFrame, where: str
) -> tuple[np.ndarray, np.ndarray]:
    if radius is not None:
        return np.full(len(table), radius), np.zeros(len(table), bool)
    values = _numbers(table, "radius_arcmin")
    without = ~(np.isfinite(values) & (values > 0))
    _refuse(without, table, "radius_arcmin", where, "radius_arcmin, one for all")
    return values, without


def _refuse_huge(a: np.ndarray, table: pd.DataFrame, where: str) -> None:
    """Refuse half-axes that do not fit on a tangent plane at the region's centre."""
    huge = a > 60.0 * LARGEST_DEG
    if huge.any():
        row = int(np.flatnonzero(huge)[0])
        raise CatalogueError(
            f"{where}: {int(huge.sum())} of {len(table)} masks are larger than {LARGEST_DEG:g} "
            f"degrees, the first is row {row + 1} ({table['name'].iloc[row]}, {a[row]:g} arcmin); "
            "correct the table or its unit, or lower the mask's radius, factor or max_arcmin"
        )


def _numbers(table: pd.DataFrame, column: str) -> np.ndarray:
    number = pd.to_numeric(table[column], errors="coerce")
    return number.to_numpy(dtype=np.float64, na_value=np.nan)


def _refuse(bad: np.ndarray, table: pd.DataFrame, column: str, where: str, remedy: str) -> None:
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise CatalogueError(
            f"{where}: {int(bad.sum())} of {len(table)} rows lack {column}, the first is row "
            f"{row + 1} ({table['name'].iloc[row]}, RA {table['ra_deg'].iloc[row]:.5f}, Dec "
            f"{table['dec_deg'].iloc[row]:.5f}); correct the table, or set {remedy}"
        )


COLUMNS = {
    "bits": np.dtype(MASK_DTYPE).name,  # bits to set in the mask
    "ra_deg": "float64",
    "dec_deg": "float64",
    "a_deg": "float64",  # half-axes
    "b_deg": "float64",
    "pa_deg": "float64",  # position angle of the long axis, east of north
}
"""Columns of a table of regions."""

_AROUND = np.radians(np.arange(16) * 22.5)
LARGEST_DEG = 60.0
"""Largest half-axis; regions near 90 degrees would not fit on a tangent plane."""


def empty_regions() -> pd.DataFrame:
    """Return an empty table of regions."""
    return pd.DataFrame({name: np.empty(0, dtype) for name, dtype in COLUMNS.items()})


def draw(mask: np.ndarray, directions: Directions, regions: pd.DataFrame) -> None:
    """Set each region's bits in a mask, in place.

    Parameters
    ----------
    mask : MASK_DTYPE ndarray, shape (ny, nx)
        Bit planes.
    directions : Directions
        Directions of the mask's pixels.
    regions : DataFrame
        `COLUMNS`.
    """
    if regions.empty:
        return
    axes = _axes(regions)
    a, b = (np.tan(np.radians(regions[c].to_numpy())) for c in ("a_deg", "b_deg"))
    bits = regions["bits"].to_numpy()
    for index, box in enumerate(_boxes(directions, axes[:, 2], regions["a_deg"].to_numpy())):
        if box is None:
            continue
        along, across, depth = directions.products(axes[index], box)
        with np.errstate(invalid="ignore"):  # NaN where a pixel is not on the sky: not inside
            inside = (along / a[index]) ** 2 + (across / b[index]) ** 2 <= depth**2
            inside &= depth > 0
        mask[box.slices] |= np.where(inside, bits[index], MASK_DTYPE(0))


def touching(directions: Directions, regions: pd.DataFrame) -> np.ndarray:
    """Return True for regions that may overlap an image, shape (n,); errs on the safe side."""
    if regions.empty:
        return np.zeros(0, bool)
    centres = sky.unit_vectors(regions["ra_deg"].to_numpy(), regions["dec_deg"].to_numpy())
    boxes = _boxes(directions, centres, regions["a_deg"].to_numpy())
    return np.array([box is not None for box in boxes])


def _axes(regions: pd.DataFrame) -> np.ndarray:
    """Return each region's unit vectors along, across, and to its centre, shape (n, 3, 3)."""
    ra, dec, angle = (np.radians(regions[c].to_numpy()) for c in ("ra_deg", "dec_deg", "pa_deg"))
    zero = np.zeros_like(ra)
    centre = np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=1)
    east = np.stack([-np.sin(ra), np.cos(ra), zero], axis=1)
    north = np.stack([-np.sin(dec) * np.cos(ra), -np.sin(dec) * np.sin(ra), np.cos(dec)], axis=1)
    cos, sin = np.cos(angle)[:, None], np.sin(angle)[:, None]
    return np.stack([cos * north + sin * east, cos * east - sin * north, centre], axis=1)


def _boxes(directions: Directions, centres: np.ndarray, radius_deg: np.ndarray) -> list[Box | None]:
    """Return the box of pixels around each circle; None if it does not overlap the image."""
    # Two arbitrary vectors perpendicular to the centre span the circle's plane.
    helper = np.where(np.abs(centres[:, 2:]) < 0.9, [[0.0, 0.0, 1.0]], [[1.0, 0.0, 0.0]])
    first = np.cross(centres, helper)
    first /= np.linalg.norm(first, axis=1, keepdims=True)
    second = np.cross(centres, first)
    # A polygon of 16 corners contains the circle if its corners are 1 / cos(11.25 deg) further out.
    radius = np.radians(np.minimum(radius_deg, LARGEST_DEG)) / np.cos(np.pi / 16)
    turn = np.cos(_AROUND)[:, None] * first[:, None] + np.sin(_AROUND)[:, None] * second[:, None]
    rim = np.cos(radius)[:, None, None] * centres[:, None] + np.sin(radius)[:, None, None] * turn
    x, y = directions.places(rim)
    ny, nx = directions.shape
    lost = ~(np.isfinite(x) & np.isfinite(y)).all(axis=1)
    near = np.linalg.norm(centres - _middle(directions), axis=1) < sky.chord(90.0)
    low_x, low_y = (np.floor(v.min(axis=1, initial=np.inf, where=np.isfinite(v))) for v in (x, y))
    high_x, high_y = (np.ceil(v.max(axis=1, initial=-np.inf, where=np.isfinite(v))) for v in (x, y))
    boxes: list[Box | None] = []
    for i in range(len(centres)):
        if lost[i]:  # it crosses the horizon of the image's plane
            boxes.append(directions.whole if near[i] else None)
            continue
        x0, x1 = max(int(low_x[i]), 0), min(int(high_x[i]) + 1, nx)
        y0, y1 = max(int(low_y[i]), 0), min(int(high_y[i]) + 1, ny)
        boxes.append(Box(x0, x1, y0, y1) if x0 < x1 and y0 < y1 else None)
    return boxes


def _middle(directions: Directions) -> np.ndarray:
    ny, nx = directions.shape
    box = Box(nx // 2, nx // 2 + 1, ny // 2, ny // 2 + 1)
    vector = directions.vectors(box)[:, 0, 0]
    return vector / np.linalg.norm(vector)


_TOLERANCE_RAD = 1e-9


@dataclass(frozen=True)
class Box:
    """Columns [x0, x1) and rows [y0, y1) of an image."""

    x0: int
    x1: int
    y0: int
    y1: int

    @property
    def slices(self) -> tuple[slice, slice]:
        """Rows and columns."""
        return slice(self.y0, self.y1), slice(self.x0, self.x1)


@dataclass(frozen=True)
class Directions:
    """Directions on the sky of an image's pixels, as scalar products with given vectors.

    In a tangent plane the unnormalised direction is linear in the pixel coordinates, so a product
    is an outer sum and needs no trigonometry. Other projections are computed pixel by pixel.
    Vectors are ICRS; pixel centres are at integers.

    Attributes
    ----------
    wcs : WCS
        Celestial.
    shape : (ny, nx)
        Size of the image.
    """

    wcs: WCS
    shape: tuple[int, int]

    @property
    def whole(self) -> Box:
        """All pixels."""
        return Box(0, self.shape[1], 0, self.shape[0])

    def products(self, vectors: np.ndarray, box: Box) -> np.ndarray:
        """Return scalar products of vectors with each pixel's direction, up to a positive factor.

        Parameters
        ----------
        vectors : float ndarray, shape (n, 3)
            ICRS.
        box : Box
            The pixels.

        Returns
        -------
        float64 ndarray, shape (n, y1 - y0, x1 - x0)
            NaN where a pixel is not on the sky. The factor depends on the pixel, not on the vector.
        """
        x = np.arange(box.x0, box.x1, dtype=np.float64)
        y = np.arange(box.y0, box.y1, dtype=np.float64)
        if self._linear is not None:
            origin, along_x, along_y = self._linear
            rows = (vectors @ origin)[:, None] + np.outer(vectors @ along_y, y)
            return rows[:, :, None] + np.outer(vectors @ along_x, x)[:, None, :]
        return np.einsum("nk,yxk->nyx", vectors, self._directions_at(*np.meshgrid(x, y)))

    def vectors(self, box: Box) -> np.ndarray:
        """Return the pixels' directions, shape (3, ny, nx), not normalised."""
        return self.products(np.eye(3), box)

    def places(self, vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return pixel positions (x, y) of unit vectors, shape (..., 3).

        NaN where a vector is not on the image's sky, or behind its tangent plane.
        """
        lon = np.degrees(np.arctan2(vectors[..., 1], vectors[..., 0])) % 360.0
        lat = np.degrees(np.arctan2(vectors[..., 2], np.hypot(vectors[..., 0], vectors[..., 1])))
        x, y = _to_pixel(self.wcs, lon, lat)
        if self._linear is not None:
            # WCS libraries disagree about positions behind the tangent plane; here they are NaN.
            behind = vectors @ self._centre <= 0.0
            x, y = np.where(behind, np.nan, x), np.where(behind, np.nan, y)
        return x, y

    @cached_property
    def _centre(self) -> np.ndarray:
        return sky.unit_vectors(*(np.array([v]) for v in self.wcs.wcs.crval))[0]

    @cached_property
    def _linear(self) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
        """Return the direction of pixel (0, 0) and its steps along x and y, for a tangent plane."""
        wcs = self.wcs
        plain = [text[5:] for text in wcs.wcs.ctype] == ["TAN", "TAN"] and not wcs.has_distortion
        if not plain or not isinstance(wcs_to_celestial_frame(wcs), ICRS) or wcs.wcs.lng != 0:
            return None
        ra, dec = np.radians(wcs.wcs.crval)
        centre = self._centre
        east = np.array([-np.sin(ra), np.cos(ra), 0.0])
        north = np.array([-np.sin(dec) * np.cos(ra), -np.sin(dec) * np.sin(ra), np.cos(dec)])
        matrix = np.radians(wcs.pixel_scale_matrix)
        along_x = matrix[0, 0] * east + matrix[1, 0] * north
        along_y = matrix[0, 1] * east + matrix[1, 1] * north
        x_ref, y_ref = np.asarray(wcs.wcs.crpix) - 1.0
        origin = centre - x_ref * along_x - y_ref * along_y
        # A rotated native pole (LONPOLE) would rotate everything. The corners are compared with
        # the WCS, and if they differ, the general method is used.
        ny, nx = self.shape
        corners = np.array([[0, 0], [nx - 1, 0], [0, ny - 1], [nx - 1, ny - 1]], dtype=np.float64)
        ours = origin + corners[:, :1] * along_x + corners[:, 1:] * along_y
        ours /= np.linalg.norm(ours, axis=1, keepdims=True)
        theirs = self._directions_at(corners[:, 0], corners[:, 1])
        same = np.abs(ours - theirs).max() < _TOLERANCE_RAD
        return (origin, along_x, along_y) if same else None

    def _directions_at(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        where = self.wcs.pixel_to_world(x, y).icrs.cartesian
        return np.stack([where.x.value, where.y.value, where.z.value], axis=-1)


def _to_pixel(wcs: WCS, lon: np.ndarray, lat: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    frame = wcs_to_celestial_frame(wcs)
    if not isinstance(frame, ICRS):
        from astropy import units as u
        from astropy.coordinates import SkyCoord

        there = SkyCoord(lon * u.deg, lat * u.deg, frame="icrs").transform_to(frame).spherical
        lon, lat = there.lon.deg, there.lat.deg
    pair = (lon, lat) if wcs.wcs.lng == 0 else (lat, lon)
    x, y = wcs.world_to_pixel_values(*pair)
    return np.asarray(x), np.asarray(y)
