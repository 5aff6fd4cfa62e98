"""Every setting of a configuration reruns the stages that use it, and no earlier one.

Each leaf of the mini configuration and of the shipped ones is changed in turn. The settings files
that then differ tell which stages rerun (Snakemake adds all later ones). No job runs.
"""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest
from pydantic import BaseModel, ValidationError

from clusterscan.config.load import load_config
from clusterscan.config.model import Config
from clusterscan.flow.stage_settings import StageSettings

PROJECT = Path(__file__).resolve().parents[2]

# What a change of a setting reruns, by patterns of its name; the last that fits counts. The
# settings of `publish` show the whole configuration but for `execution`, so every other setting
# reruns it too.
RERUNS = {
    "title output publish.* surveys.*.title surveys.*.training_set surveys.*.beam_*": "",
    "execution.*": None,
    "seed": "fetch sample training_set catalogue probe merge validate selection",
    "sky.tile_order": "fetch preprocess sample training_set catalogue scan detect probe merge "
    "validate selection",
    "sky.block_order sky.map_order": "fetch preprocess sample scan detect probe merge validate "
    "selection",
    "sky.footprint.order": "catalogue probe merge validate selection",
    "sky.footprint.ipix": "catalogue selection",
    "sky.regions.order sky.regions.test": "sample training_set probe merge validate selection",
    "sky.regions.validation sky.regions.guard_arcmin": "sample training_set merge validate "
    "selection",
    "simulation.*": "",
    "simulation.halos.* simulation.infrared.* simulation.microwave.*": "fetch training_set "
    "catalogue probe",
    "simulation.known.*": "catalogue",
    "surveys.*.bands surveys.*.unit": "fetch preprocess training_set train probe",
    "surveys.act.bands": "fetch preprocess sample training_set train probe",
    "surveys.*.pixel_scale_arcsec surveys.*.preprocess.binning": "fetch preprocess sample "
    "training_set train scan probe",
    "surveys.*.source.*": "fetch training_set probe",
    "surveys.*.preprocess.*": "preprocess training_set probe",
    "surveys.*.preprocess.binning": "fetch preprocess sample training_set train scan probe",
    "surveys.*.preprocess.inverse_variance surveys.*.preprocess.background.fwhm_arcmin": "fetch "
    "preprocess training_set probe",
    "surveys.*.preprocess.masks": "preprocess training_set probe",
    "surveys.*.sample.*": "sample training_set",
    "surveys.*.sample.size_px": "fetch preprocess sample training_set probe",
    "surveys.*.models.*": "train",
    "surveys.*.scan.*": "scan probe",
    "surveys.*.filter.*": "scan",
    "catalogs.*": "catalogue",
    "known.*": "known",
    "detect.*": "detect selection",
    "merge.*": "merge selection",
    "merge.calibration.purities": "merge validate selection",
    "validate_.*": "validate",
    "validate_.radius_arcmin": "merge validate selection",
    "validate_.purity_cut.*": "merge validate",
    "validate_.confidence": "validate selection",
    "selection.*": "selection",
    "selection.tiles selection.max_null_tiles selection.signals.* selection.grid.* "
    "selection.nulls": "probe selection",
}


def leaves(value: Any, name: tuple = ()) -> Iterator[tuple[tuple, Any]]:
    """Yield the path and value of every setting, without the tags of the kinds of a model."""
    if isinstance(value, BaseModel):
        for field in type(value).model_fields:
            if field != "kind":
                yield from leaves(getattr(value, field), (*name, field))
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from leaves(item, (*name, key))
    elif isinstance(value, tuple | list) and any(isinstance(item, BaseModel) for item in value):
        for number, item in enumerate(value):
            yield from leaves(item, (*name, number))
    else:
        yield name, value


def changed(value: Any, name: tuple, annotation: Any = None) -> Any:
    """Return a copy in which the setting of a name has another value of its type."""
    if not name:
        return other(value, annotation)
    first, *rest = name
    if isinstance(value, BaseModel):
        kind = type(value).model_fields[first].annotation
        return value.model_copy(update={first: changed(getattr(value, first), tuple(rest), kind)})
    if isinstance(value, dict):
        return {**value, first: changed(value[first], tuple(rest))}
    items = list(value)
    items[first] = changed(items[first], tuple(rest))
    return tuple(items)


def other(value: Any, annotation: Any) -> Any:
    """Return another value of the same type; of a fixed choice another choice."""
    choices = [c for c in choices_of(annotation) if c != value]
    if choices and isinstance(value, str | None):
        return choices[0]
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if isinstance(value, float):
        return value * 0.99 or 0.01
    if isinstance(value, str):
        return f"{value}x"
    if isinstance(value, tuple | list) and value:
        return type(value)([other(value[0], None), *value[1:]])
    return value


def choices_of(annotation: Any) -> Iterator[Any]:
    """Yield the values of the literals in an annotation."""
    if get_origin(annotation) is Literal:
        yield from get_args(annotation)
    else:
        for part in get_args(annotation):
            yield from choices_of(part)


def texts(config: Config) -> dict[str, list[str]]:
    """Return the settings files of each stage."""
    found: dict[str, list[str]] = {}
    for key, settings in StageSettings(config).everything().items():
        found.setdefault(key[0], []).append(settings.text())
    return found


def expected(name: str) -> set[str] | None:
    """Return the stages that the table names for a setting."""
    fits = [
        stages
        for patterns, stages in RERUNS.items()
        if any(fnmatchcase(name, pattern) for pattern in patterns.split())
    ]
    assert fits, f"{name}: the table RERUNS has no line for it"
    return None if fits[-1] is None else {*fits[-1].split(), "publish"}


@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
def test_every_setting_reruns_the_stages_that_use_it_and_no_other():
    config = load_config([PROJECT / "config.yaml"])
    before, wrong, seen = texts(config), {}, 0
    for path, _ in leaves(config):
        name = ".".join(map(str, path))
        try:
            copy = changed(config, path)
            after = texts(copy)
        except ValidationError:  # other settings would have to change with it
            continue
        if copy == config or (name.startswith("catalogs.") and path[-1] in ("name", "role")):
            continue  # the only value there is; names and roles change what jobs there are
        seen += 1
        found = {stage for stage in {**before, **after} if before.get(stage) != after.get(stage)}
        if found != (expected(name) or set()):
            wrong[name] = sorted(found)
    assert wrong == {}
    assert seen > 400
