"""The simulated sky as a source: one object a tile, a token that covers all it depends on."""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("clusterscan.simulate.infrared", reason="the simulator is not there")

from clusterscan.config.image_sources import SimulatedSource
from clusterscan.config.simulation import SimulationSettings
from clusterscan.core.errors import ConfigError
from clusterscan.fetch.registry import open_source
from clusterscan.formats.image_spec import ImageSpec
from clusterscan.formats.raw_image import read_raw

SPEC = ImageSpec(
    survey="act",
    bands=("f090", "f150", "f220"),
    unit="uK_CMB",
    pixel_scale_arcsec=30.0,
    tile_order=7,
    halo_arcmin=2.0,
)


def source(spec=SPEC, seed=1):
    settings = SimulatedSource(kind="simulated", sky="microwave")
    return open_source(settings, spec, seed=seed, simulation=SimulationSettings())


def test_tokens_change_with_the_seed_the_frame_and_the_tile_and_nothing_else():
    tokens = [
        item.token
        for some in (source(), source(seed=2), source(replace(SPEC, halo_arcmin=3.0)))
        for item in some.objects([5, 6])
    ]
    assert len(set(tokens)) == 6
    assert [i.token for i in source().objects([6])] == [source().objects([5, 6])[1].token]


def test_a_tile_is_written_with_all_bands_and_the_same_bytes_again(tmp_path):
    tile = 17_684
    assert source().fetch_tile(tile, tmp_path / "1.fits").status == "ok"
    assert source().fetch_tile(tile, tmp_path / "2.fits").status == "ok"
    assert (tmp_path / "1.fits").read_bytes() == (tmp_path / "2.fits").read_bytes()
    raw = read_raw(tmp_path / "1.fits", SPEC.bands)
    assert np.isfinite(raw.image).all()
    assert raw.unit == "uK_CMB"


def test_a_simulated_survey_needs_the_simulation():
    with pytest.raises(ConfigError, match="`simulation`"):
        open_source(SimulatedSource(kind="simulated", sky="microwave"), SPEC)
