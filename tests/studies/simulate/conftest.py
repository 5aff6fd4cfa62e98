"""The X-ray and optical skies are tested in the frames of the other simulated skies."""

from tests.simulate.conftest import make_frame, settings

__all__ = ["make_frame", "settings"]
