"""Stage selection, first part: see `probe_block` in clusterscan/selection/stage.py."""

from pathlib import Path

from clusterscan.flow.job import Job, block_arguments, run_stage
from clusterscan.flow.stage_settings import ProbeStage
from clusterscan.selection.stage import probe_block

if __name__ == "__main__":
    parser = block_arguments("probe", __doc__, ProbeStage)
    parser.add_argument("--tiles", type=Path, nargs="+", help="tile manifests, sorted by survey")
    run_stage(parser, lambda args, told: probe_block(Job.of(args, told), args.tiles))
