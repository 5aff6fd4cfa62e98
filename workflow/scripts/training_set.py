"""Stage sample, its end: see `pin_training_set` in clusterscan/sample/stage.py."""

from pathlib import Path

from clusterscan.flow.job import Job, arguments, run_stage
from clusterscan.flow.stage_settings import TrainingSetStage
from clusterscan.sample.stage import pin_training_set

if __name__ == "__main__":
    parser = arguments("training_set", __doc__, TrainingSetStage)
    parser.add_argument("--samples", type=Path, nargs="+", required=True, help="sample manifests")
    parser.add_argument("--tiles", type=Path, nargs="+", required=True, help="tile manifests")
    parser.add_argument("--catalogues", type=Path, nargs="*", default=[], help="known catalogues")
    run_stage(
        parser,
        lambda args, told: pin_training_set(
            Job.of(args, told), args.samples, args.tiles, args.catalogues
        ),
    )
