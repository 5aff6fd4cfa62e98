"""Stage sample: see clusterscan/sample/stage.py."""

from pathlib import Path

from clusterscan.flow.job import Job, block_arguments, run_stage
from clusterscan.flow.stage_settings import SampleStage
from clusterscan.sample.stage import sample_block

if __name__ == "__main__":
    parser = block_arguments("sample", __doc__, SampleStage)
    parser.add_argument("--tiles", type=Path, required=True, help="the block's tile manifest")
    parser.add_argument("--known", type=Path, nargs="*", default=[], help="united known clusters")
    parser.add_argument("--listed", type=Path, nargs="*", default=[], help="catalogue of `listed`")
    parser.add_argument(
        "--stamps", type=Path, nargs="*", default=[], help="stamps' source manifest"
    )
    run_stage(
        parser,
        lambda args, told: sample_block(
            Job.of(args, told), args.tiles, args.known, args.listed, args.stamps
        ),
    )
