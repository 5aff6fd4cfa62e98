"""Merging: candidates of all models become objects, scored together, matched with known clusters.

Steps, each a pure function: `merge_candidates` (which candidates are one object), `forced` (every
model's map at every position), `score_objects` (one calibrated probability) and
`clusterscan.catalogs.matching.match_known`. `clusterscan.merge.stage` is the story of a run.
"""

from clusterscan.merge.calibrate import ProbabilityModel
from clusterscan.merge.combine import Combiner, combine, fit_combiner
from clusterscan.merge.forced_values import forced
from clusterscan.merge.objects import merge_candidates, score_objects

__all__ = [
    "Combiner",
    "ProbabilityModel",
    "combine",
    "fit_combiner",
    "forced",
    "merge_candidates",
    "score_objects",
]
