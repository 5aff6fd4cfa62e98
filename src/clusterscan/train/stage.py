"""Stage train: examples to one trained network with its card, history, measures and plots.

Where to read on, in the order of a training: `examples` and `views` (the data), `prepare` (network
and crops), `loop` (the stages), `recipe` and `range_test` (optimisers, schedules and the learning
rate), `batches` and `augment` (what each step shows), `fit`, `losses` and `checkpoint` (the steps),
`products` (the files).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from clusterscan.config.networks import FusionSettings
from clusterscan.core.atomic import noting_writes
from clusterscan.core.fingerprint import fingerprint
from clusterscan.flow.job import Job
from clusterscan.flow.stage_settings import TrainStage
from clusterscan.formats.training_set import read_training_set
from clusterscan.train.checkpoint import discard
from clusterscan.train.examples import Examples, read_examples
from clusterscan.train.kept import keep_training, take_back
from clusterscan.train.loop import train
from clusterscan.train.products import write_model
from clusterscan.train.views import join_views, shown_by_all

log = logging.getLogger(__name__)


def train_network(job: Job[TrainStage], training_sets: Sequence[Path]) -> None:
    """Train one network and write it; resume from its checkpoint if there is one.

    A network that was trained before with the same settings, version and examples is taken back
    instead.

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
    shelf = job.root / "trained" / folder.name
    made_from = fingerprint_of_inputs(job, training_sets)
    if take_back(shelf, made_from, folder, last=job.output.name):
        log.info("trained before with these settings and examples: taken from %s", shelf)
        discard(checkpoint)
        return
    result = train(
        read_training_sets(job, training_sets),
        job.settings.network,
        job.settings.train,
        progress=job.progress,
        checkpoint=checkpoint,
    )
    with noting_writes() as written:
        write_model(folder, result)
    keep_training(shelf, made_from, folder, written)
    discard(checkpoint)


def fingerprint_of_inputs(job: Job[TrainStage], training_sets: Sequence[Path]) -> str:
    """Return the hash of a training's settings, version and examples."""
    found = [read_training_set(path) for path in training_sets]
    return fingerprint([job.fingerprint, {each.survey: each.examples for each in found}])


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
