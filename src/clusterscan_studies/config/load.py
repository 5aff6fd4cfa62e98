"""Find and read a study, in its full or its reduced form."""

from __future__ import annotations

import copy
import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from clusterscan.config.load import merge, read_yaml, validated
from clusterscan.core.data_paths import PROJECT_ROOT
from clusterscan.core.errors import ConfigError
from clusterscan_studies.config.study import Study

STUDIES = PROJECT_ROOT / "resources" / "studies"
_QUICK = "quick"


@dataclass(frozen=True)
class StudyForm:
    """A study in one of its two forms.

    Attributes
    ----------
    name : str
        The file's name without its ending.
    study : Study
        Its settings in this form.
    quick : bool
        True for the reduced form.
    reduced : tuple of (str, str, str)
        Each setting that the reduced form changes: its key, its full and its reduced value.
    """

    name: str
    study: Study
    quick: bool
    reduced: tuple[tuple[str, str, str], ...] = ()

    @property
    def root(self) -> Path:
        """Folder of the study's products."""
        return Path("studies") / (f"{self.name}-quick" if self.quick else self.name)


def find_study(name_or_file: str | Path) -> Path:
    """Return a study's file, given its path or the name of a shipped one.

    Raises
    ------
    ConfigError
        If there is none, with the names there are.
    """
    path = Path(name_or_file)
    if path.suffix in (".yaml", ".yml"):
        return path
    shipped = STUDIES / f"{name_or_file}.yaml"
    if shipped.is_file():
        return shipped
    names = shipped_studies()
    near = difflib.get_close_matches(str(name_or_file), names, n=1, cutoff=0.6)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    raise ConfigError(
        f"{str(name_or_file)!r}: no study of this name{hint}; there are "
        f"{', '.join(names) or 'none'}; for another give its file, such as my_study.yaml"
    )


def shipped_studies() -> list[str]:
    """Return the names of the shipped studies; other files in the folder are ordinary runs."""
    files = sorted(STUDIES.glob("*.yaml"))
    # Only a study has experiments; parsing all files would be slow for a list of names.
    return [f.stem for f in files if "\nexperiments:" in f.read_text(encoding="utf-8")]


def load_study(file: str | Path, *, quick: bool = False) -> StudyForm:
    """Read a study's file.

    Parameters
    ----------
    file : path
        The YAML file.
    quick : bool
        Lay its `quick` section over the rest. A key without a value there removes it, such as
        an experiment that the reduced form leaves out.

    Raises
    ------
    ConfigError
        With one line for each fault: ``file:line: key: what is wrong; what would be right``.
    """
    path = Path(file)
    full, places = read_yaml(path, "a shipped study")
    changes = full.pop(_QUICK, {})
    if not isinstance(changes, Mapping) or (quick and not changes):
        where = places.get((_QUICK,), f"{path}:1")
        raise ConfigError(
            f"{where}: quick: should be a section that lays smaller settings over the others, "
            "such as train: {epochs: 2}"
        )
    if not quick:
        return StudyForm(path.stem, validated(Study, full, places), quick=False)
    small = copy.deepcopy(full)
    removed = _lay_over(small, changes)
    for key in list(places):
        # A fault in a value of the `quick` section must name the line in that section, not the line
        # that it overrides.
        if key[:1] == (_QUICK,) and len(key) > 1 and key[1:] not in removed:
            places[key[1:]] = places[key]
    study = validated(Study, small, places)
    return StudyForm(path.stem, study, quick=True, reduced=_differences(full, small))


def _lay_over(base: dict[str, Any], changes: Mapping[str, Any], at: tuple = ()) -> set[tuple]:
    """Merge changes into settings, drop keys whose change is null, and return the dropped keys."""
    removed = set()
    for key, value in changes.items():
        if value is None and key in base:
            del base[key]
            removed.add((*at, key))
        elif isinstance(value, Mapping) and isinstance(base.get(key), dict):
            removed |= _lay_over(base[key], value, (*at, key))
        else:
            merge(base, {key: value})
    return removed


def _differences(full: Any, small: Any, at: str = "") -> tuple[tuple[str, str, str], ...]:
    if isinstance(full, Mapping) and isinstance(small, Mapping):
        found: list[tuple[str, str, str]] = []
        for key in [*full, *(k for k in small if k not in full)]:
            inner = f"{at}.{key}" if at else str(key)
            if key not in small:
                found.append((inner, _text(full[key]), "left out"))
            elif key not in full:
                found.append((inner, "as by default", _text(small[key])))
            else:
                found.extend(_differences(full[key], small[key], inner))
        return tuple(found)
    return () if full == small else ((at, _text(full), _text(small)),)


def _text(value: Any) -> str:
    if isinstance(value, Mapping) and "title" in value:
        return str(value["title"])  # a whole experiment or data set
    text = yaml.safe_dump(value, default_flow_style=True, width=10_000, allow_unicode=True)
    return text.removesuffix("\n").removesuffix("\n...")
