"""Stage train: examples to one trained network with its card, history, measures and plots."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

from clusterscan.config.networks import FusionSettings, NetworkSettings
from clusterscan.config.train import TrainSettings
from clusterscan.core.progress import Progress
from clusterscan.flow.job import arguments, run_stage
from clusterscan.formats.training_set import read_training_set
from clusterscan.train.checkpoint import discard
from clusterscan.train.dataset import Examples, join_views, read_examples, shown_by_all
from clusterscan.train.loop import train
from clusterscan.train.products import write_model


def main(args: argparse.Namespace, progress: Progress) -> None:
    """Train the model named by the arguments, going on from its checkpoint if there is one."""
    stage = args.settings["stage"]
    folder = args.output.parent
    checkpoint = folder / ".checkpoint"
    kind = FusionSettings if "surveys" in stage else NetworkSettings
    result = train(
        examples_of(args, stage),
        kind(**stage["network"]),
        TrainSettings(**stage["train"]),
        progress=progress,
        checkpoint=checkpoint,
    )
    write_model(folder, result)
    discard(checkpoint)


def examples_of(args: argparse.Namespace, stage: dict[str, Any]) -> Examples:
    """Return the examples of the training set, or of several surveys' joined."""
    releases = [read_training_set(path) for path in args.release]
    units = stage["surveys"] if "surveys" in stage else {stage["survey"]: stage}
    found = {}
    for release in releases:
        examples = read_examples(release.checked_shards(args.root), name=release.survey)
        found[release.survey] = with_unit(examples, units[release.survey]["unit"])
    if "surveys" not in stage:
        return found[stage["survey"]]
    joined = join_views({name: found[name] for name in stage["surveys"]})
    return shown_by_all(joined) if stage["examples"] == "common" else joined


def with_unit(examples: Examples, unit: str) -> Examples:
    """Return examples of one survey with the unit of its pixels."""
    (view,) = examples.views
    return replace(examples, views=(replace(view, unit=unit),))


if __name__ == "__main__":
    parser = arguments("train", __doc__)
    parser.add_argument("--release", type=Path, nargs="+", required=True, help="training sets")
    run_stage(parser, main)
