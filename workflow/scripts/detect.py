"""Stage detect: see clusterscan/detect/stage.py."""

from pathlib import Path

from clusterscan.detect.stage import detect_block
from clusterscan.flow.job import Job, block_arguments, run_stage
from clusterscan.flow.stage_settings import DetectStage

if __name__ == "__main__":
    parser = block_arguments("detect", __doc__, DetectStage)
    parser.add_argument("--maps", type=Path, required=True, help="the block's scan manifest")
    parser.add_argument("--around", type=Path, nargs="*", default=[], help="touching blocks'")
    run_stage(parser, lambda args, told: detect_block(Job.of(args, told), args.maps, args.around))
