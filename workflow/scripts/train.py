"""Stage train: examples to one trained network with its card, history, measures and plots."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from clusterscan.config.networks import NetworkSettings
from clusterscan.config.train import TrainSettings
from clusterscan.progress import Progress
from clusterscan.provenance.release import read_release
from clusterscan.stage import arguments, run_stage
from clusterscan.train.checkpoint import discard
from clusterscan.train.dataset import Examples, read_examples
from clusterscan.train.loop import train
from clusterscan.train.products import write_model


def main(args: argparse.Namespace, progress: Progress) -> None:
    """Train the model named by the arguments, going on from its checkpoint if there is one."""
    stage = args.settings["stage"]
    shards = read_release(args.release).checked_shards(args.root)
    folder = args.output.parent
    checkpoint = folder / ".checkpoint"
    result = train(
        with_unit(read_examples(shards, name=stage["survey"]), stage["unit"]),
        NetworkSettings(**stage["network"]),
        TrainSettings(**stage["train"]),
        progress=progress,
        checkpoint=checkpoint,
    )
    write_model(folder, result)
    discard(checkpoint)


def with_unit(examples: Examples, unit: str) -> Examples:
    """Return examples of one survey with the unit of its pixels."""
    (view,) = examples.views
    return replace(examples, views=(replace(view, unit=unit),))


if __name__ == "__main__":
    parser = arguments("train", __doc__)
    parser.add_argument("--release", type=Path, required=True, help="the survey's training set")
    run_stage(parser, main)
