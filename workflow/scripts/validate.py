"""Stage validate: see clusterscan/validate/stage.py."""

from clusterscan.flow.job import Job, arguments, run_stage
from clusterscan.flow.stage_settings import ValidateStage
from clusterscan.validate.stage import validate_run

if __name__ == "__main__":
    parser = arguments("validate", __doc__, ValidateStage)
    run_stage(parser, lambda args, told: validate_run(Job.of(args, told)))
