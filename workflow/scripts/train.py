"""Stage train: examples to one trained network with its card, history, measures and plots."""

from __future__ import annotations

import argparse
from pathlib import Path

from clusterscan.config.networks import NetworkSettings
from clusterscan.config.train import TrainSettings
from clusterscan.networks.card import save_model
from clusterscan.progress import Progress
from clusterscan.provenance.atomic import write_json
from clusterscan.provenance.records import records_of
from clusterscan.stage import arguments, run_stage
from clusterscan.train.dataset import read_examples
from clusterscan.train.loop import range_curve_json, train
from clusterscan.train.plots import plot_history, plot_range_test, plot_roc_and_precision


def main(args: argparse.Namespace, progress: Progress) -> None:
    """Train the model named by the arguments."""
    stage = args.settings["stage"]
    shards = [args.root / r.path for r in records_of(args.samples).values() if r.has_shard]
    result = train(
        read_examples(shards),
        NetworkSettings(**stage["network"]),
        TrainSettings(**stage["train"]),
        progress=progress,
    )
    folder = args.output.parent
    write_json(
        folder / "history.json",
        {"epochs": result.history, "range_test": range_curve_json(result.range_curve)},
    )
    write_json(folder / "metrics.json", result.metrics)
    plot_history(result.history, folder / "history.png")
    if result.range_curve is not None:
        plot_range_test(result.range_curve, folder / "range_test.png")
    plot_roc_and_precision(result.metrics, folder / "roc_precision.png")
    card = {**result.card, "survey": stage["survey"], "unit": stage["unit"]}
    save_model(folder, result.network, card)  # last: the card is what Snakemake waits for


if __name__ == "__main__":
    parser = arguments("train", __doc__)
    parser.add_argument("--samples", type=Path, nargs="+", required=True, help="sample manifests")
    run_stage(parser, main)
