"""What a stated mass function and the measured completeness lead one to expect on each tile.

The mass function is Tinker et al. 2008 in Planck 2018 cosmology (`clusterscan.physics.cosmology`),
between the lightest and the heaviest injected mass and over the injected redshifts: of clusters
beyond them the injections say nothing. Nothing here enters the catalogue.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from clusterscan.config.validation import InjectionGrid
from clusterscan.physics.cosmology import HaloTable, halo_table
from clusterscan.selection.completeness import Completeness


@dataclass(frozen=True)
class Expected:
    """Found clusters that a mass function leads one to expect.

    Attributes
    ----------
    table : HaloTable
        All clusters per square degree, in bins of ln mass and redshift.
    fit : Completeness
        Of the footprint.
    shifts : mapping of tile to float
        By how much ln M at a given completeness is higher on a tile; of others it is 0.
    """

    table: HaloTable
    fit: Completeness
    shifts: Mapping[int, float]

    def found(self, tile: int) -> np.ndarray:
        """Return the found clusters per square degree in the table's bins, (n_mass, n_z)."""
        mass = np.exp((self.table.ln_mass_edges[1:] + self.table.ln_mass_edges[:-1]) / 2)
        z = (self.table.z_edges[1:] + self.table.z_edges[:-1]) / 2
        eased = mass * np.exp(-self.shifts.get(tile, 0.0))
        return self.table.per_deg2 * self.fit.at(eased[:, None], z[None, :])

    def per_deg2(self, tile: int) -> float:
        """Return the found clusters per square degree of a tile."""
        return float(self.found(tile).sum())

    def draw(self, tile: int, count: int, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
        """Return ln M500c [ln Msun] and redshift of found clusters of a tile, each (count,)."""
        weight = self.found(tile).ravel()
        bins = rng.choice(weight.size, count, p=weight / weight.sum())
        row, column = np.divmod(bins, self.table.per_deg2.shape[1])
        return tuple(
            edges[at] + rng.random(count) * np.diff(edges)[at]
            for edges, at in ((self.table.ln_mass_edges, row), (self.table.z_edges, column))
        )


def mass_function(grid: InjectionGrid) -> HaloTable:
    """Return the mass function within the injected masses and redshifts, per square degree."""
    low, high = np.log(grid.m500c_edges_msun[0]), np.log(grid.m500c_edges_msun[-1])
    whole = halo_table(grid.m500c_edges_msun[0], grid.z_edges[0], grid.z_edges[-1])
    keep = whole.ln_mass_edges[:-1] < high
    edges = np.minimum(whole.ln_mass_edges[: keep.sum() + 1], high)
    # The bin that the heaviest mass cuts holds as much less as it is narrower.
    share = np.diff(edges) / np.diff(whole.ln_mass_edges[: keep.sum() + 1])
    edges[0] = low
    return HaloTable(edges, whole.z_edges, whole.per_deg2[keep] * share[:, None])


def expected_of(injection: Mapping[str, Any], grid: InjectionGrid) -> Expected | None:
    """Return what an injection report leads one to expect; None where it says nothing."""
    if not injection or "fit" not in injection:
        return None
    shifts = {int(row["tile"]): float(row["ln_shift"]) for row in injection["tiles"]}
    return Expected(mass_function(grid), Completeness(**injection["fit"]), shifts)
