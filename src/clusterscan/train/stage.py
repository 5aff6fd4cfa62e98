"""Stage train: examples to one trained network with its card, history, measures and plots.

Where to read on, in the order of a training: `examples` and `views` (the data), `prepare` (network
and crops), `loop` (the stages), `recipe` and `range_test` (optimisers, schedules and the learning
rate), `batches` and `augment` (what each step shows), `fit`, `losses` and `checkpoint` (the steps),
`products` (the files).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from clusterscan.config.networks import FusionSettings
from clusterscan.flow.job import Job
from clusterscan.flow.stage_settings import TrainStage
from clusterscan.formats.training_set import read_training_set
from clusterscan.train.checkpoint import discard
from clusterscan.train.examples import Examples, read_examples
from clusterscan.train.loop import train
from clusterscan.train.products import write_model
from clusterscan.train.views import join_views, shown_by_all


def train_network(job: Job[TrainStage], training_sets: Sequence[Path]) -> None:
    """Train one network and write it; resume from its checkpoint if there is one.

    Parameters
    ----------
    job : Job
        The settings, and where to write.
    training_sets : sequence of Path
        The training set of each of the network's surveys.
    """
    # The checkpoint is removed last: a job killed while it writes the model resumes from it.
    folder = job.output.parent
    checkpoint = folder / ".checkpoint"
    result = train(
        read_training_sets(job, training_sets),
        job.settings.network,
        job.settings.train,
        progress=job.progress,
        checkpoint=checkpoint,
    )
    write_model(folder, result)
    discard(checkpoint)


def read_training_sets(job: Job[TrainStage], paths: Sequence[Path]) -> Examples:
    """Read the examples of one survey, or of several surveys joined for a fusion."""
    found = {}
    for training_set in map(read_training_set, paths):
        survey = training_set.survey
        examples = read_examples(training_set.checked_shards(job.root), name=survey)
        (view,) = examples.views
        view = replace(view, unit=job.settings.units[survey])
        found[survey] = replace(examples, views=(view,))
    if not isinstance(job.settings.network, FusionSettings):
        (survey,) = job.settings.units
        return found[survey]
    joined = join_views({name: found[name] for name in sorted(job.settings.units)})
    return shown_by_all(joined) if job.settings.examples == "common" else joined
