"""All about examples in memory, under one name for those who train on them."""

from clusterscan.train.examples import CLASSES, SPLITS, Examples, View, check, read_examples
from clusterscan.train.views import grey, join_views, select_bands, shown_by_all, stack_views

__all__ = [
    "CLASSES",
    "SPLITS",
    "Examples",
    "View",
    "check",
    "grey",
    "join_views",
    "read_examples",
    "select_bands",
    "shown_by_all",
    "stack_views",
]
