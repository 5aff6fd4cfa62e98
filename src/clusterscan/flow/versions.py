"""The version of each stage's results.

Raise a stage's number when its code gives other results for the same input: Snakemake does not
see code behind a script, so this number is what makes the stage and all later ones run again.
"""

STAGE_VERSIONS = {
    "fetch": 2,
    "catalogue": 2,
    "known": 1,
    "preprocess": 1,
    "sample": 1,
    "training_set": 1,
    "train": 3,
    "scan": 4,
    "detect": 1,
    "merge": 3,
    "validate": 3,
    "probe": 1,
    "selection": 2,
    "publish": 3,
}
