"""Stage preprocess: see clusterscan/preprocess/stage.py."""

from pathlib import Path

from clusterscan.flow.job import Job, block_arguments, run_stage
from clusterscan.flow.stage_settings import PreprocessStage
from clusterscan.preprocess.stage import preprocess_block

if __name__ == "__main__":
    parser = block_arguments("preprocess", __doc__, PreprocessStage)
    parser.add_argument("--raw", type=Path, required=True, help="the block's manifest of fetch")
    parser.add_argument(
        "--masks", type=Path, nargs="?", help="the block's mask list, if the survey has one"
    )
    run_stage(parser, lambda args, told: preprocess_block(Job.of(args, told), args.raw, args.masks))
