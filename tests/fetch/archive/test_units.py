"""Values come in the survey's unit, or not at all."""

import pytest

from clusterscan.core.errors import SourceError
from clusterscan.fetch.archive_images import conversion_factor


@pytest.mark.parametrize(
    ("have", "want", "expected"),
    [
        ("K_CMB", "uK_CMB", 1e6),
        ("K", "uK_CMB", 1e6),
        ("mK,thermodynamic", "uK_CMB", 1e3),
        ("uK", "uK_CMB", 1.0),
        ("MJy/sr", "kJy / sr", 1e3),
        ("nanomaggy (Vega)", "nanomaggy (Vega)", 1.0),
    ],
)
def test_units_of_the_same_kind_are_converted(have, want, expected):
    assert conversion_factor(have, want) == pytest.approx(expected)


def test_plancks_factors_are_near_those_of_its_frequencies():
    from astropy import units as u
    from astropy.cosmology import Planck15

    for channel, ghz in (("HFI100", 100), ("HFI143", 143), ("HFI217", 217), ("HFI353", 353)):
        at = u.thermodynamic_temperature(ghz * u.GHz, Planck15.Tcmb0)
        mono = (1 * u.K).to_value("MJy / sr", equivalencies=at)
        assert conversion_factor("K_CMB", "MJy/sr", channel) == pytest.approx(mono, rel=0.06)
        assert conversion_factor("MJy/sr", "uK_CMB", channel) == pytest.approx(1e6 / mono, rel=0.06)


@pytest.mark.parametrize(("have", "want"), [("MJy/sr", "uK_CMB"), ("count", "K"), ("x y", "uK")])
def test_a_unit_that_cannot_be_converted_is_an_error(have, want):
    with pytest.raises(SourceError, match="no conversion"):
        conversion_factor(have, want)
