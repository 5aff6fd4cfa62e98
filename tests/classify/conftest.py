"""Tiny models with random weights, stamps in every format, and a tile of a run."""

import io

import numpy as np
import pytest
import torch
from astropy.io import fits
from astropy.wcs import WCS
from PIL import Image

from clusterscan.commands.cli import main
from clusterscan.config.networks import FusionSettings, NetworkSettings
from clusterscan.core import sky
from clusterscan.formats.mask_planes import NO_COVERAGE
from clusterscan.formats.tile_image import TileImage, write_tile
from clusterscan.networks.card import save_model
from clusterscan.networks.normalise import Normalisation
from clusterscan.networks.registry import build

SIZE, SCALE = 16, 0.4
BANDS = ("i", "r", "g")
ORDER, TILE = 12, 100_000_000
TEMPERATURE = 2.0
SETTINGS = NetworkSettings(name="baseline", size_px=SIZE, window_px=8, output_stride=4)


def view(survey="sdss", bands=BANDS, scale=SCALE):
    normalisation = Normalisation(
        "standard", 1.0, median=(100.0,) * len(bands), sigma=(40.0,) * len(bands)
    )
    return {
        "survey": survey,
        "bands": list(bands),
        "pixel_scale_arcsec": scale,
        "unit": "display",
        "normalisation": normalisation.to_json(),
    }


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    """Return a folder with a model of one survey, whose probabilities are not all alike."""
    folder = tmp_path_factory.mktemp("model")
    network = build(SETTINGS, len(BANDS), seed=5)
    with torch.no_grad():
        network.head.weight *= 40  # else random weights say one half of everything
    card = {
        "views": [view()],
        "classes": ["other", "member"],
        "calibration": {"kind": "temperature", "temperature": TEMPERATURE},
    }
    save_model(folder, network, card)
    return folder


@pytest.fixture(scope="session")
def fusion(tmp_path_factory):
    """Return a folder with a model of two surveys of different pixel sizes."""
    folder = tmp_path_factory.mktemp("fusion")
    settings = FusionSettings(branches={"sdss": SETTINGS, "xray": SETTINGS}, hidden=8)
    network = build(settings, [3, 1], seed=5)
    views = [view(), view("xray", ("counts",), 2 * SCALE)]
    save_model(folder, network, {"views": views, "classes": ["other", "cluster"]})
    return folder


def pixels(seed, side=SIZE, bands=3):
    return np.random.default_rng(seed).integers(0, 256, (bands, side, side)).astype(np.uint8)


def picture(planes, form="PNG"):
    """Return a picture's bytes; its first row is north, the planes' first row south."""
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(planes[:, ::-1].transpose(1, 2, 0))).save(buffer, form)
    return buffer.getvalue()


def fits_bytes(planes, scale=SCALE, at=(10.0, 20.0), header=()):
    hdu = fits.PrimaryHDU(np.asarray(planes, np.float32))
    if scale is not None:
        wcs = WCS(naxis=2)
        wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
        wcs.wcs.crval = at
        wcs.wcs.cdelt = [-scale / 3600, scale / 3600]
        wcs.wcs.crpix = [(planes.shape[-1] + 1) / 2, (planes.shape[-2] + 1) / 2]
        hdu.header.update(wcs.to_header())
    hdu.header.update(dict(header))
    buffer = io.BytesIO()
    hdu.writeto(buffer)
    return buffer.getvalue()


def write_folder(folder, files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


def run_tile(root, survey="sdss", bands=BANDS, scale=SCALE, seed=3, tile=TILE):
    """Write a tile image whose south-west corner has no coverage, and return it."""
    wcs, shape = sky.tile_frame(tile, ORDER, scale, 0.4)
    rng = np.random.default_rng(seed)
    image = rng.normal(100, 40, (len(bands), *shape)).astype(np.float32)
    mask = np.zeros(shape, np.uint8)
    mask[: shape[0] // 3, : shape[1] // 3] = NO_COVERAGE
    made = TileImage(image, mask, wcs, "display", tuple(bands))
    path = root / "tiles" / survey / sky.shard_path(tile, ORDER, ".fits")
    path.parent.mkdir(parents=True)
    write_tile(path, made)
    return made


@pytest.fixture
def classify(capsys):
    """Return what runs the command and gives its exit code and what it printed."""

    def run(*arguments):
        code = 0
        try:
            main(["classify", *map(str, arguments), "--threads", "1", "--device", "cpu"])
        except SystemExit as end:
            code = end.code
        said = capsys.readouterr()
        return (1 if isinstance(code, str) else code or 0), f"{code}\n{said.out}{said.err}"

    return run
