"""Stage train: see clusterscan/train/stage.py."""

from pathlib import Path

from clusterscan.flow.job import Job, arguments, run_stage
from clusterscan.flow.stage_settings import TrainStage
from clusterscan.train.stage import train_network

if __name__ == "__main__":
    parser = arguments("train", __doc__, TrainStage)
    parser.add_argument("--training-sets", type=Path, nargs="+", required=True)
    run_stage(parser, lambda args, told: train_network(Job.of(args, told), args.training_sets))
