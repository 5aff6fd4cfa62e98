"""X-ray telescopes and pointings: field of view, chips, vignetting, PSF, background.

Detector coordinates (x, y) are arcminutes from the optical axis, in the tangent plane.

References
----------
Ghizzardi 2001, XMM-SOC EPIC-MCT-TN-008 (MOS: King profiles against energy and off-axis angle).
XMM-Newton Users' Handbook (chips, gaps, vignetting at 1.5 keV, off-axis stretching; rounded).
Pacaud et al. 2006, MNRAS 372, 578, after Read & Ponman 2003, A&A 409, 395 (XMM background).
Chiappetti et al. 2005, A&A 439, 413 (XMM counts per flux, 0.5-2 keV, photon index 1.7).
Hasinger et al. 1992, Legacy 2, 77 (ROSAT: Gaussian part of the PSPC's point-spread function).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from clusterscan.config.simulation_xray import XraySettings
from clusterscan.core import sky
from clusterscan.simulate.sky_cells import Kind, generator

PSF_LIMIT_ARCSEC = 300.0
"""The point-spread functions end here."""

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Instrument:
    """An X-ray telescope with its cameras added up.

    Attributes
    ----------
    pointing_order : int
        HEALPix order of the cells that hold one pointing each.
    jitter_arcmin : float
        Largest distance of a pointing from its cell's centre along either axis [arcmin].
    field_radius_arcmin : float
        Nothing is seen further off axis [arcmin].
    counts_per_flux : float
        Counts per second on axis of 1 erg/s/cm2 in 0.5-2 keV.
    sky_rate, particle_rate : float
        Background on axis, vignetted and not [ct/s/arcmin2].
    noisy_rate : float
        Additional rate of a noisy chip [ct/s/arcmin2].
    noisy_chips : tuple of (x_low, x_high, y_low, y_high)
        The chips that may be noisy [arcmin].
    vignetting_table : (off-axis angles [arcmin], effective area over that on axis)
    """

    pointing_order: int
    jitter_arcmin: float
    field_radius_arcmin: float
    counts_per_flux: float
    sky_rate: float
    particle_rate: float
    noisy_rate: float
    noisy_chips: tuple[Box, ...]
    vignetting_table: tuple[tuple[float, ...], tuple[float, ...]]
    live: Callable[[np.ndarray, np.ndarray], np.ndarray]
    """Fraction of the cameras that sees a detector position (x, y), 0 outside the field."""
    psf_radius: Callable[[np.ndarray, np.ndarray], np.ndarray]
    """Radius [arcsec] that holds a part u of a star's photons, at an off-axis angle [arcmin]."""
    stretch: Callable[[np.ndarray], np.ndarray]
    """Ratio of a star's length to its width; it is long across the direction to the axis."""

    def vignetting(self, off_axis_arcmin: np.ndarray) -> np.ndarray:
        """Return the effective area over that on axis."""
        return np.interp(off_axis_arcmin, *self.vignetting_table)

    def psf_offsets(
        self, rng: np.random.Generator, x: np.ndarray, y: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Draw the offsets of photons from stars at (x, y) [arcmin]."""
        off_axis = np.hypot(x, y)
        radius = self.psf_radius(rng.random(len(x)), off_axis) / 60.0
        angle = rng.random(len(x)) * 2 * np.pi
        # Stretching one axis and shrinking the other by the same factor keeps the area, so the peak
        # brightness does not depend on the shape.
        longer = np.sqrt(self.stretch(off_axis))
        along, across = radius * np.cos(angle) / longer, radius * np.sin(angle) * longer
        safe = np.maximum(off_axis, 1e-9)
        ux, uy = np.where(off_axis > 1e-9, x / safe, 1.0), np.where(off_axis > 1e-9, y / safe, 0.0)
        return along * ux - across * uy, along * uy + across * ux


def king_radius(part: np.ndarray, core: np.ndarray, slope: np.ndarray) -> np.ndarray:
    """Return the radius that holds a part of a King profile ended at `PSF_LIMIT_ARCSEC`.

    The profile is (1 + (r / core)^2)^-slope with slope > 1.
    """
    # The enclosed flux of a King profile has a closed inverse, so photons are drawn without a
    # table. `inside` normalises to the flux within the limit.
    inside = 1 - (1 + (PSF_LIMIT_ARCSEC / core) ** 2) ** (1 - slope)
    return core * np.sqrt((1 - part * inside) ** (1 / (1 - slope)) - 1)


# --- XMM-Newton: the pn and the two MOS cameras ---------------------------------------------------

# The pn has two rows of six chips, each MOS seven chips of which the outer six may be noisy in the
# soft band (a known fault of some EPIC MOS CCDs).
_PN_WEIGHT, _MOS_WEIGHT = 0.626, 0.187  # their parts of the counts in 0.5-2 keV
_XMM_RADIUS = 15.0
_PN_CHIP, _PN_GAP = (4.37, 13.66), 0.2  # arcmin
_MOS_CHIP, _MOS_GAP = 10.9, 0.25
_ENERGY_KEV = 1.0


def _inside(x: np.ndarray, y: np.ndarray, box: Box) -> np.ndarray:
    return (x > box[0]) & (x < box[1]) & (y > box[2]) & (y < box[3])


def _pn_chips() -> tuple[Box, ...]:
    width, height = _PN_CHIP
    step, low = width + _PN_GAP, _PN_GAP / 2
    return tuple(
        (i * step + low, i * step + low + width, y, y + height)
        for i in range(-3, 3)
        for y in (low, -low - height)
    )


def _mos_chips() -> tuple[Box, ...]:
    side, step = _MOS_CHIP, _MOS_CHIP + _MOS_GAP
    centres = [(0.0, j * step) for j in (-1, 0, 1)]
    centres += [(i * step, j * step) for i in (-1, 1) for j in (-0.5, 0.5)]
    half = side / 2
    return tuple((x - half, x + half, y - half, y + half) for x, y in centres)


_PN, _MOS = _pn_chips(), _mos_chips()


def _any_chip(x: np.ndarray, y: np.ndarray, chips: tuple[Box, ...]) -> np.ndarray:
    seen = np.zeros(np.shape(x), dtype=bool)
    for box in chips:
        seen |= _inside(x, y, box)
    return seen


def _xmm_live(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    # The three cameras look at the same sky and their images are added. Their gaps lie at different
    # places, so a gap of one camera dims the sum but seldom leaves it empty.
    total = _PN_WEIGHT * _any_chip(x, y, _PN)
    total += _MOS_WEIGHT * _any_chip(x, y, _MOS)
    total += _MOS_WEIGHT * _any_chip(y, x, _MOS)  # MOS2 is turned by a quarter
    return total * (np.hypot(x, y) < _XMM_RADIUS)


def _xmm_psf_radius(part: np.ndarray, off_axis_arcmin: np.ndarray) -> np.ndarray:
    e = _ENERGY_KEV
    # Core radius [arcsec] and slope of the King profile both fall with the off-axis angle: the core
    # shrinks slightly and the wings gain light.
    core = 5.074 - 0.236 * e + (0.002 - 0.0180 * e) * off_axis_arcmin
    slope = 1.472 - 0.010 * e - (0.001 + 0.0016 * e) * off_axis_arcmin
    return king_radius(part, core, slope)


def _xmm_stretch(off_axis_arcmin: np.ndarray) -> np.ndarray:
    return 1 + 0.8 * (np.asarray(off_axis_arcmin) / 12.0) ** 2


_PER_25_ARCSEC = 3600 / 2.5**2  # of a pixel of 2.5 arcsec -> of an arcmin2

XMM = Instrument(
    pointing_order=7,
    jitter_arcmin=2.0,
    field_radius_arcmin=_XMM_RADIUS,
    counts_per_flux=1.07e12,
    sky_rate=5.1e-6 * _PER_25_ARCSEC,
    particle_rate=2.6e-6 * _PER_25_ARCSEC,
    noisy_rate=6e-6 * _PER_25_ARCSEC,
    noisy_chips=tuple(box for box in _MOS if not _inside(np.zeros(1), np.zeros(1), box)[0]),
    vignetting_table=(
        (0.0, 2.0, 4.0, 6.0, 8.0, 10.0, 12.0, 14.0, 16.0),
        (1.0, 0.97, 0.90, 0.81, 0.71, 0.60, 0.49, 0.40, 0.33),
    ),
    live=_xmm_live,
    psf_radius=_xmm_psf_radius,
    stretch=_xmm_stretch,
)

# --- ROSAT: the PSPC ------------------------------------------------------------------------------


def _rosat_live(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the window's transmission: a ring and eight spokes, blurred by the wobble."""
    r, angle = np.hypot(x, y), np.arctan2(y, x)
    # The PSPC's window is held by a support structure that casts shadows: a ring at 20 arcmin and
    # spokes outside it. ROSAT wobbled by some arcmin while observing, so the shadows are soft.
    ring = 1 - 0.6 * np.exp(-0.5 * ((r - 20.5) / 1.2) ** 2)
    to_spoke = np.abs(np.sin(4 * angle)) * r / 4
    spokes = 1 - 0.6 * np.exp(-0.5 * (to_spoke / 1.0) ** 2) * (r > 21.0)
    return ring * spokes * (r < 57.0)


def _rosat_psf_radius(part: np.ndarray, off_axis_arcmin: np.ndarray) -> np.ndarray:
    # Detector resolution, scattering by the mirror, and the mirror's off-axis blur, which dominates
    # beyond about 10 arcmin: at the edge of the field a star is arcminutes wide.
    variance = 108.7 + 1.121 + 0.219 * np.asarray(off_axis_arcmin) ** 2.848  # at 1 keV [arcsec2]
    inside = -np.expm1(-0.5 * PSF_LIMIT_ARCSEC**2 / variance)
    # On axis the limit lies so far out that `inside` is 1: no photon lands at infinity.
    beyond = np.maximum(1 - part * inside, 1e-15)
    return np.minimum(np.sqrt(-2 * variance * np.log(beyond)), PSF_LIMIT_ARCSEC)


def _round(off_axis_arcmin: np.ndarray) -> np.ndarray:
    return np.ones(np.shape(off_axis_arcmin))


ROSAT = Instrument(
    pointing_order=5,
    jitter_arcmin=5.0,
    field_radius_arcmin=57.0,
    counts_per_flux=8.3e10,
    sky_rate=2.7e-4,
    particle_rate=2e-5,
    noisy_rate=0.0,
    noisy_chips=(),
    vignetting_table=(
        (0.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0),
        (1, 0.96, 0.85, 0.73, 0.6, 0.5, 0.4),
    ),
    live=_rosat_live,
    psf_radius=_rosat_psf_radius,
    stretch=_round,
)

INSTRUMENTS = {"xmm": XMM, "rosat": ROSAT}


_ARCMIN_PER_RAD = 60 * 180 / np.pi


@dataclass(frozen=True)
class Pointing:
    """One observation.

    Attributes
    ----------
    cell : int
        Its cell at the instrument's `pointing_order`.
    ra_deg, dec_deg, roll_rad : float
        The optical axis, and the angle from north through east of the detector's y.
    exposure_s : float
        Exposure on axis.
    background : float
        Background relative to the published.
    noisy_chip : int
        Index of the noisy chip in the instrument's `noisy_chips`, -1: none.
    """

    cell: int
    ra_deg: float
    dec_deg: float
    roll_rad: float
    exposure_s: float
    background: float
    noisy_chip: int
    instrument: Instrument

    @property
    def _axes(self) -> np.ndarray:
        """Unit vectors of x, y and the optical axis, as rows."""
        ra, dec = np.radians(self.ra_deg), np.radians(self.dec_deg)
        east = np.array([-np.sin(ra), np.cos(ra), 0.0])
        north = np.array([-np.sin(dec) * np.cos(ra), -np.sin(dec) * np.sin(ra), np.cos(dec)])
        axis = np.array([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)])
        c, s = np.cos(self.roll_rad), np.sin(self.roll_rad)
        return np.stack([east * c - north * s, east * s + north * c, axis])

    def to_detector(self, vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return detector positions (x, y) of unit vectors (..., 3) [arcmin]; NaN behind it."""
        x, y, depth = np.moveaxis(vectors @ self._axes.T, -1, 0)
        # The tangent plane also projects the opposite side of the sky, mirrored; a pointing sees
        # nothing farther than a degree away.
        depth = np.where(depth > 0.5, depth, np.nan)
        return x / depth * _ARCMIN_PER_RAD, y / depth * _ARCMIN_PER_RAD

    def to_sky(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the sky positions (ra_deg, dec_deg) of detector positions [arcmin]."""
        plane = np.stack([x / _ARCMIN_PER_RAD, y / _ARCMIN_PER_RAD, np.ones_like(x)], axis=-1)
        v = plane @ self._axes
        ra = np.degrees(np.arctan2(v[..., 1], v[..., 0])) % 360.0
        return ra, np.degrees(np.arctan2(v[..., 2], np.hypot(v[..., 0], v[..., 1])))

    def exposure(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return the vignetted exposure at detector positions [s]; 0 outside the field."""
        off_axis = np.hypot(x, y)
        seen = self.instrument.vignetting(off_axis) * self.instrument.live(x, y)
        return np.where(np.isfinite(off_axis), self.exposure_s * seen, 0.0)

    def background_counts(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return the expected background without noisy chips [ct/arcmin2]."""
        tube = self.instrument
        rate = tube.sky_rate * tube.vignetting(np.hypot(x, y)) + tube.particle_rate
        return self.background * self.exposure_s * rate * tube.live(x, y)


@lru_cache(maxsize=4096)
def pointing_of_cell(cell: int, seed: int, settings: XraySettings) -> Pointing:
    """Draw a cell's pointing: near its centre, at any roll, of some depth and background."""
    tube = INSTRUMENTS[settings.instrument]
    rng = generator(seed, Kind.XRAY_POINTING, tube.pointing_order, cell)
    # All numbers are drawn whatever the settings, so that a change of the exposure or of the noise
    # does not move the pointings.
    jitter = rng.uniform(-tube.jitter_arcmin, tube.jitter_arcmin, 2)
    roll = rng.uniform(0.0, 2 * np.pi)
    depth, level = rng.standard_normal(2)
    noisy, which = rng.random(2)
    ra, dec = (float(v) for v in sky.cell_centres(np.array(cell), tube.pointing_order))
    middle = Pointing(cell, ra, dec, 0.0, 1.0, 1.0, -1, tube)
    ra, dec = (float(v) for v in middle.to_sky(*jitter))
    exposure = 1e3 * settings.exposure_ks
    chips = len(tube.noisy_chips)
    return Pointing(
        cell=cell,
        ra_deg=ra,
        dec_deg=dec,
        roll_rad=roll,
        exposure_s=exposure * float(np.exp(settings.exposure_scatter_ln * np.clip(depth, -2, 2))),
        background=settings.background * float(np.exp(settings.background_scatter_ln * level)),
        noisy_chip=int(which * chips) if noisy < settings.noisy_chip_part and chips else -1,
        instrument=tube,
    )


def pointings_around(
    ra_deg: float, dec_deg: float, radius_deg: float, seed: int, settings: XraySettings
) -> list[Pointing]:
    """Return the pointings whose field reaches into a cone, by rising cell."""
    tube = INSTRUMENTS[settings.instrument]
    # The jitter along both axes adds up to 1.42 times its size along a diagonal.
    reach = radius_deg + (tube.field_radius_arcmin + 1.5 * tube.jitter_arcmin) / 60.0
    cells = sky.cells_in_cone(ra_deg, dec_deg, reach, tube.pointing_order)
    found = [pointing_of_cell(int(cell), seed, settings) for cell in cells]
    limit = radius_deg + tube.field_radius_arcmin / 60.0
    return [p for p in found if sky.separation_deg(ra_deg, dec_deg, p.ra_deg, p.dec_deg) <= limit]
