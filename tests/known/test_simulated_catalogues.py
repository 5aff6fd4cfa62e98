"""Catalogues of the simulated sky cover the footprint and the tiles around it."""

import pytest

pytest.importorskip(
    "clusterscan.simulate.simulated_catalogues", reason="the simulator is not there"
)

from clusterscan.config.catalogs import SimulatedCatalogue
from clusterscan.config.simulation import SimulationSettings
from clusterscan.core import sky
from clusterscan.core.errors import ConfigError
from clusterscan.known.read import read_any_catalogue
from clusterscan.known.simulated import with_margin

TILES, ORDER = [4433], 5


def read(selection, tiles=TILES, simulation=True):
    settings = SimulatedCatalogue(kind="simulated", name="sim", selection=selection)
    return read_any_catalogue(
        settings,
        tiles=tiles,
        tile_order=ORDER,
        seed=1,
        simulation=SimulationSettings() if simulation else None,
    ).table


@pytest.mark.parametrize("selection", ["truth", "sz", "richness"])
def test_the_catalogue_lies_in_the_footprint_and_its_margin(selection):
    table = read(selection)
    cells = sky.owning_cell(table["ra_deg"].to_numpy(), table["dec_deg"].to_numpy(), ORDER)
    assert set(cells) <= set(with_margin(TILES, ORDER))
    assert len(table) > 0
    assert table["name"].is_unique


def test_a_larger_footprint_adds_clusters_and_changes_none():
    small, large = read("truth"), read("truth", with_margin(TILES, ORDER)[:2] + TILES)
    both = small.merge(large, on=["name", "ra_deg", "dec_deg", "z", "m500c_msun"])
    assert len(both) == len(small)
    assert len(large) > len(small)


def test_a_simulated_catalogue_needs_the_simulation():
    with pytest.raises(ConfigError, match="`simulation`"):
        read("truth", simulation=False)
