"""Validation: completeness and purity on the test region, of networks and plain filters alike."""

from clusterscan.validate.bootstrap import compare
from clusterscan.validate.recovery import Curve, Recovery, completeness_at_purity, recovery
from clusterscan.validate.report import validate

__all__ = ["Curve", "Recovery", "compare", "completeness_at_purity", "recovery", "validate"]
