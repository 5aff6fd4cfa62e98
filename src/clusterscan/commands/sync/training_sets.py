"""Find and unpin pinned training sets, and list the changes since they were pinned.

A pinned training set is a source of the workflow like any other: while it exists and was made for
the present settings, no rule makes it, so new images and catalogues train nothing again.
"""

from __future__ import annotations

from pathlib import Path

from clusterscan.config.model import Config
from clusterscan.core.errors import ProductError
from clusterscan.core.fingerprint import file_sha256
from clusterscan.core.records import records_of
from clusterscan.flow.paths import Paths
from clusterscan.flow.stage_settings import StageSettings
from clusterscan.formats.training_set import TrainingSet, label_name, read_training_set


def pinned_surveys(config: Config) -> list[str]:
    """Return the surveys whose networks are trained on a pinned training set.

    A set that was made for other settings, or cannot be read, does not count: it is made again.
    """
    return [survey for survey in config.surveys if _pinned(config, survey) is not None]


def drop_training_sets(config: Config) -> list[str]:
    """Unpin all training sets, so that the next run makes new ones; return their surveys."""
    dropped = pinned_surveys(config)
    for survey in dropped:
        Path(Paths(config).training_set(survey)).unlink(missing_ok=True)
    return dropped


def changes_since(config: Config) -> list[str]:
    """Return a line for each pinned training set that present images or catalogues differ from.

    Raises
    ------
    ProductError
        If a block manifest is damaged.
    """
    lines = []
    for survey in config.surveys:
        release = _pinned(config, survey)
        if release is None:
            continue
        tiles = _changed_tiles(config, release)
        names = _changed_catalogues(config, release)
        if tiles or names:
            what = [f"{tiles} tiles"] if tiles else []
            what += [f"catalogue {name}" for name in names]
            lines.append(
                f"training set of {survey}: pinned; since then changed: {', '.join(what)} "
                "(`clusterscan unpin` has the next run train on what there is now)"
            )
    return lines


def _pinned(config: Config, survey: str) -> TrainingSet | None:
    # This setting trains again after every change of images or catalogues.
    if config.surveys[survey].training_set == "follow":
        return None
    try:
        release = read_training_set(Path(Paths(config).training_set(survey)))
    except ProductError:
        return None
    # Settings that make examples unpin the set; new images and catalogues never do.
    current = StageSettings(config).training_set(survey).fingerprint
    return release if release.made_for == current else None


def _changed_tiles(config: Config, release: TrainingSet) -> int:
    paths = [p for p in Paths(config).manifests("preprocess", release.survey) if Path(p).is_file()]
    now = {str(tile): record.identity for tile, record in records_of(paths).items()}
    return sum(release.images.get(tile) != identity for tile, identity in now.items())


def _changed_catalogues(config: Config, release: TrainingSet) -> list[str]:
    changed = []
    for text in [*Paths(config).known_catalogues(), *Paths(config).labels(release.survey)]:
        path = Path(text)
        name = label_name(path)
        if path.is_file() and release.catalogues.get(name) != file_sha256(path):
            changed.append(name)
    return changed
