"""Merging: candidates of all models become objects, scored together, matched with known clusters.

Steps, each a pure function: `merge_candidates` (what belongs together), `forced` (every model's
map at every position), `score_objects` (one calibrated probability), `match_known` and
`unite_known` (what the literature knows).
"""

from clusterscan.known.unite import match_known, unite_known
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
    "match_known",
    "merge_candidates",
    "score_objects",
    "unite_known",
]
