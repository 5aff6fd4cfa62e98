"""Reference catalogues: see clusterscan/known/stage.py."""

from clusterscan.flow.job import Job, arguments, run_stage
from clusterscan.flow.stage_settings import CatalogueStage
from clusterscan.known.stage import write_catalogue

if __name__ == "__main__":
    parser = arguments("catalogue", __doc__, CatalogueStage)
    run_stage(parser, lambda args, told: write_catalogue(Job.of(args, told)))
