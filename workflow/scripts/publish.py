"""Stage publish: see clusterscan/publish/stage.py."""

from clusterscan.flow.job import Job, arguments, run_stage
from clusterscan.flow.stage_settings import PublishStage
from clusterscan.publish.stage import publish_run

if __name__ == "__main__":
    parser = arguments("publish", __doc__, PublishStage)
    run_stage(parser, lambda args, told: publish_run(Job.of(args, told)))
