"""Stage fetch: see clusterscan/fetch/stage.py."""

from pathlib import Path

from clusterscan.config.execution import DownloadSettings
from clusterscan.fetch.stage import fetch_block
from clusterscan.flow.job import Job, block_arguments, run_stage
from clusterscan.flow.stage_settings import FetchStage

if __name__ == "__main__":
    parser = block_arguments("fetch", __doc__, FetchStage)
    parser.add_argument(
        "--download",
        type=DownloadSettings.model_validate_json,
        default=DownloadSettings(),
        help="settings of downloads as JSON",
    )
    parser.add_argument("--sources", type=Path, required=True, help="the block's source manifest")
    run_stage(
        parser, lambda args, told: fetch_block(Job.of(args, told), args.sources, args.download)
    )
