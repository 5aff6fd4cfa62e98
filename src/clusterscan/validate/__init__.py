"""Validation: completeness and purity on the test region, of networks and plain filters alike."""

from clusterscan.validate.performance import validate
from clusterscan.validate.recovery import Curve, Recovery, compare, completeness_at_purity, recovery

__all__ = ["Curve", "Recovery", "compare", "completeness_at_purity", "recovery", "validate"]
