"""Simulators that other packages bring: X-ray and optical skies, and catalogues made from them.

A package offers a simulator as an entry point of the group ``clusterscan.simulators``, named
``sky.NAME`` or ``catalogue.NAME``. So clusterscan never imports the packages that build on it.

A sky is a function ``render(wcs, shape, *, spec, seed, settings, noise_key)`` that returns
``(image, mask)``: float32 of shape (bands, ny, nx) in ``spec.unit``, and bit planes (MASK_DTYPE of
`clusterscan.formats.mask_planes`) of shape (ny, nx). A catalogue is a function ``make(tiles,
tile_order, *, seed, settings)`` that returns a table with the columns of
`clusterscan.catalogs.checks`.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Any

from clusterscan.core.errors import ConfigError

GROUP = "clusterscan.simulators"


def simulator(kind: str, name: str) -> Callable[..., Any]:
    """Load the simulator of a kind (``sky`` or ``catalogue``) and name.

    Raises
    ------
    ConfigError
        If no installed package offers it.
    """
    for entry in entry_points(group=GROUP, name=f"{kind}.{name}"):
        return entry.load()
    raise ConfigError(
        f"no installed package offers the simulated {kind} `{name}`; install clusterscan again "
        "(pip install -e .), or correct the configuration"
    )
