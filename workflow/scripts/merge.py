"""Stage merge: see clusterscan/merge/stage.py."""

from clusterscan.flow.job import Job, arguments, run_stage
from clusterscan.flow.stage_settings import MergeStage
from clusterscan.merge.stage import merge_run

if __name__ == "__main__":
    parser = arguments("merge", __doc__, MergeStage)
    run_stage(parser, lambda args, told: merge_run(Job.of(args, told)))
