"""Stage scan: see clusterscan/scan/stage.py."""

from pathlib import Path

from clusterscan.flow.job import Job, block_arguments, run_stage
from clusterscan.flow.stage_settings import ScanStage
from clusterscan.scan.stage import scan_block

if __name__ == "__main__":
    parser = block_arguments("scan", __doc__, ScanStage)
    parser.add_argument(
        "--tiles", type=Path, nargs="+", required=True, help="the block's tiles, by survey"
    )
    parser.add_argument("--model", type=Path, nargs="?", help="a network's card")
    parser.add_argument("--read-ahead", type=int, default=0, help="tiles read while one is scanned")
    run_stage(
        parser,
        lambda args, told: scan_block(Job.of(args, told), args.tiles, args.model, args.read_ahead),
    )
