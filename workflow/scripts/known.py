"""Stage known: see `unite_catalogues` in clusterscan/known/stage.py."""

from clusterscan.flow.job import Job, arguments, run_stage
from clusterscan.flow.stage_settings import KnownStage
from clusterscan.known.stage import unite_catalogues

if __name__ == "__main__":
    parser = arguments("known", __doc__, KnownStage)
    run_stage(parser, lambda args, told: unite_catalogues(Job.of(args, told)))
