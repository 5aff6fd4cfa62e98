"""Stage selection: see clusterscan/selection/stage.py."""

from clusterscan.flow.job import Job, arguments, run_stage
from clusterscan.flow.stage_settings import SelectionStage
from clusterscan.selection.stage import measure_selection

if __name__ == "__main__":
    parser = arguments("selection", __doc__, SelectionStage)
    run_stage(parser, lambda args, told: measure_selection(Job.of(args, told)))
