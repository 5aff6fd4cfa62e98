"""Small skies through the stages themselves: tile images to maps to candidates."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from clusterscan.config.networks import NetworkSettings
from clusterscan.config.scan import DetectSettings, ScanSettings
from clusterscan.core import sky
from clusterscan.detect.stage import detect_block
from clusterscan.flow.blocks import BlockJob, TileOutcome, run_block, tiles_of_block
from clusterscan.flow.job import Job
from clusterscan.flow.paths import RunFolder
from clusterscan.flow.products import Products
from clusterscan.flow.stage_settings import DetectStage, ScanStage, SkyCut, StageModel
from clusterscan.formats.tile_image import TileImage, write_tile
from clusterscan.networks.card import save_model
from clusterscan.networks.registry import build
from clusterscan.scan.stage import scan_block

SCALE_ARCSEC = 30.0
SIZE_PX = 32
UNCHANGED = {"kind": "standard", "softening": 1.0, "median": [0.0], "sigma": [1.0]}
VIEW = {
    "survey": "act",
    "bands": ["f150"],
    "pixel_scale_arcsec": SCALE_ARCSEC,
    "unit": "uK_CMB",
    "normalisation": UNCHANGED,
}

Light = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Brightness at positions (ra_deg, dec_deg)."""


def cluster(ra_deg: float, dec_deg: float, sigma_arcmin: float = 1.2) -> Light:
    """Return the light of a cluster, a Gaussian of height 50."""

    def light(ra: np.ndarray, dec: np.ndarray) -> np.ndarray:
        away = 60 * sky.separation_deg(ra, dec, ra_deg, dec_deg)
        return 50 * np.exp(-0.5 * (away / sigma_arcmin) ** 2)

    return light


@cache
def vgg16() -> torch.nn.Module:
    """Return a network that takes longer to build than to test; do not change it."""
    settings = NetworkSettings(
        name="vgg16", form="dense", window_px=112, size_px=336, output_stride=16
    )
    return build(settings, 1, 1).eval()


def seer_of_clusters(**options) -> torch.nn.Module:
    """Return a network of set weights: -4 on empty sky, +4 where a `cluster` is centred.

    Its logit rises with the mean of the smoothed image's positive part.
    """
    settings = {"size_px": SIZE_PX, "window_px": 8, "output_stride": 4}
    net = build(NetworkSettings(**settings | options), 1, 1).eval()
    for module in net.modules():
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.constant_(module.weight, 1.0 / module.weight[0].numel())
    torch.nn.init.constant_(net.head.weight, 1.0)
    torch.nn.init.constant_(net.head.bias, 0.0)
    yy, xx = (np.indices((SIZE_PX, SIZE_PX)) - (SIZE_PX - 1) / 2) * SCALE_ARCSEC / 60
    crop = 50 * np.exp(-0.5 * (xx**2 + yy**2) / 1.2**2)
    with torch.inference_mode():
        seen = net(torch.from_numpy(crop.astype(np.float32))[None, None]).item()
    torch.nn.init.constant_(net.head.weight, 8.0 / seen)
    torch.nn.init.constant_(net.head.bias, -4.0)
    return net


@dataclass
class Chain:
    """A run's folder with tile images, a network, and the scripts that scan and detect."""

    root: Path
    tiles: tuple[int, ...]
    tile_order: int = 7
    block_order: int = 4
    map_order: int = 12

    @property
    def blocks(self) -> list[int]:
        """The blocks that hold the tiles."""
        return sorted({int(sky.ancestor(t, self.tile_order, self.block_order)) for t in self.tiles})

    def make_images(self, light: Light, halo_arcmin: float = 12.0) -> None:
        """Write the tiles' images of a sky, in frames as the workflow has them."""

        def compute(tile: int, shard: Path) -> TileOutcome:
            wcs, shape = sky.tile_frame(tile, self.tile_order, SCALE_ARCSEC, halo_arcmin)
            y, x = np.indices(shape)
            image = light(*wcs.pixel_to_world_values(x, y)).astype(np.float32)
            mask = np.zeros(shape, np.uint8)
            write_tile(shard, TileImage(image[None], mask, wcs, "uK_CMB", ("f150",)))
            return TileOutcome()

        for block in self.blocks:
            job = BlockJob(
                stage="preprocess", version=1, key="act", root=self.root, folder="tiles/act",
                suffix=".fits", settings={}, tile_order=self.tile_order,
                block_order=self.block_order, block=block,
                manifest=self.manifest("preprocess", block),
            )  # fmt: skip
            mine = tiles_of_block(self.tiles, self.tile_order, block, self.block_order)
            run_block(job, dict.fromkeys(mine), compute)

    def make_model(self, network: torch.nn.Module) -> None:
        """Write the network."""
        save_model(self.root / "model", network, {"views": [VIEW], "classes": ["sky", "cluster"]})

    def manifest(self, stage: str, block: int) -> Path:
        """Return the place of a block's manifest."""
        key = "act" if stage == "preprocess" else "act/seer"
        return self.root / "manifests" / stage / key / f"o{self.block_order}-{block}.json"

    def scan(self, blocks: Iterable[int] | None = None, read_ahead: int = 0, **how) -> None:
        """Run the stage `scan` on blocks, in the order given."""
        settings = ScanStage(
            kind="network",
            pixel_scale_arcsec=SCALE_ARCSEC,
            map_order=self.map_order,
            how=ScanSettings(**{"device": "cpu", "step_px": 2, **how}),
        )
        for block in self.blocks if blocks is None else blocks:
            scan_block(
                self._job("scan", block, settings),
                [self.manifest("preprocess", block)],
                self.root / "model" / "model.json",
                read_ahead,
            )

    def detect(self) -> pd.DataFrame:
        """Run the stage `detect` on all blocks and return the candidates."""
        settings = DetectStage(
            scale="probability", map_order=self.map_order, detect=DetectSettings()
        )
        for block in self.blocks:
            around = {int(b) for b in sky.neighbours(block, self.block_order)} & set(self.blocks)
            near = [self.manifest("scan", b) for b in sorted(around)]
            job = self._job("detect", block, settings)
            detect_block(job, self.manifest("scan", block), near)
        orders = self.block_order, self.tile_order, self.map_order
        return Products(self.root, tuple(self.blocks), *orders).table("detect", "act/seer")

    def maps(self) -> dict[str, bytes]:
        """Return the maps' files."""
        folder = self.root / "maps"
        return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*.fits")}

    def _job(self, stage: str, block: int, settings: StageModel) -> Job:
        cut = SkyCut(
            tile_order=self.tile_order, block_order=self.block_order, map_order=self.map_order
        )
        return Job(
            folder=RunFolder(self.root),
            settings=settings,
            version=1,
            sky=cut,
            output=self.manifest(stage, block),
            key="act/seer",
            block=block,
        )


@pytest.fixture(scope="session")
def seer():
    """Return what makes a network of set weights."""
    return seer_of_clusters


@pytest.fixture(scope="session")
def light_of():
    """Return what gives the light of a cluster at a place."""
    return cluster


@pytest.fixture(scope="session")
def chain():
    """Return what makes a run of a few tiles."""
    return Chain
