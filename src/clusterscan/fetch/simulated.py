"""The source `simulated`: raw images of the simulated sky, each tile rendered independently."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from clusterscan.config.image_sources import SimulatedSource
from clusterscan.core import sky
from clusterscan.core.fingerprint import fingerprint
from clusterscan.fetch.source import SourceObject
from clusterscan.flow.blocks import TileOutcome
from clusterscan.formats.image_spec import ImageSpec
from clusterscan.formats.mask_planes import MASK_DTYPE
from clusterscan.simulate.plugins import simulator

if TYPE_CHECKING:
    from clusterscan.config.simulation import SimulationSettings


@dataclass(frozen=True)
class Simulated:
    """The simulated sky as a source; images are rendered in each tile's own frame."""

    settings: SimulatedSource
    spec: ImageSpec
    simulation: SimulationSettings
    seed: int

    def objects(self, tiles: Sequence[int]) -> list[SourceObject]:
        """List one object per tile; its token covers everything that the image depends on."""
        from clusterscan.simulate import SIMULATOR_VERSION

        common = {
            "simulator": SIMULATOR_VERSION,
            "sky": self.settings.sky,
            "seed": self.seed,
            "settings": self.simulation.parts_of(self.settings.sky),
            "frame": [
                self.spec.tile_order,
                self.spec.pixel_scale_arcsec,
                self.spec.raw_halo_arcmin,
                self.spec.binning,
            ],
        }
        if self.settings.sky == "optical":
            common["bands"] = list(self.spec.bands)  # the other skies have fixed bands
        name = f"{self.settings.sky}-o{self.spec.tile_order}"
        return [
            SourceObject(f"{name}-{tile}", (int(tile),), fingerprint({**common, "tile": int(tile)}))
            for tile in tiles
        ]

    def fetch_tile(self, tile: int, destination: Path) -> TileOutcome:
        """Render a tile's raw image and write it atomically."""
        # Imported here, because every start of the workflow lists objects and must be quick.
        from clusterscan.formats.raw_image import RawImage, write_raw

        spec = self.spec
        wcs, shape = sky.tile_frame(
            tile, spec.tile_order, spec.pixel_scale_arcsec, spec.raw_halo_arcmin, spec.binning
        )
        image, mask = self._render(wcs, shape, tile)
        write_raw(destination, RawImage(image, mask, wcs, spec.unit), spec.bands, tile)
        return TileOutcome(counts={"pixels": int(mask.size)})

    def _render(self, wcs, shape: tuple[int, int], tile: int) -> tuple[np.ndarray, np.ndarray]:
        key = (self.spec.tile_order, tile)
        if self.settings.sky == "infrared":
            from clusterscan.simulate.infrared import render_infrared

            return render_infrared(
                wcs, shape, seed=self.seed, settings=self.simulation, noise_key=key
            )
        if self.settings.sky != "microwave":
            return simulator("sky", self.settings.sky)(
                wcs, shape, spec=self.spec, seed=self.seed, settings=self.simulation, noise_key=key
            )
        from clusterscan.simulate.microwave import render_microwave

        image = render_microwave(
            wcs, shape, seed=self.seed, settings=self.simulation, noise_key=key
        )
        return image, np.zeros(shape, MASK_DTYPE)
