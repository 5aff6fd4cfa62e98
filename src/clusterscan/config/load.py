"""Read a configuration: strict, and with the line, the fault and the mending in every message."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from clusterscan.config.model import Config
from clusterscan.errors import ConfigError


def load_config(files: Iterable[str | Path], overrides: Mapping[str, Any] | None = None) -> Config:
    """Return the validated configuration of one or several files, later ones winning.

    Parameters
    ----------
    files : iterable of path
        YAML files; mappings are merged key by key.
    overrides : mapping, optional
        Settings from the command line, merged last.

    Raises
    ------
    ConfigError
        With one line for each fault: ``file:line: key: what is wrong; what would be right``.
    """
    merged: dict[str, Any] = {}
    places: dict[tuple, str] = {}
    for file in files:
        values, lines = _read(Path(file))
        _merge(merged, values)
        places.update({key: f"{file}:{line}" for key, line in lines.items()})
    if overrides:
        _merge(merged, dict(overrides))
    try:
        return Config.model_validate(merged)
    except ValidationError as error:
        raise ConfigError(_explain(error, places)) from error


def _read(file: Path) -> tuple[dict[str, Any], dict[tuple, int]]:
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: cannot be read as text ({error})") from error
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or error
        raise ConfigError(f"{file}{line}: not valid YAML: {problem}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{file}: holds no settings; start from the shipped config.yaml")
    lines: dict[tuple, int] = {}
    assert node is not None  # a mapping was read from it
    _note_lines(node, (), lines, file)
    return values, lines


def _note_lines(node: yaml.Node, key: tuple, lines: dict[tuple, int], file: Path) -> None:
    lines.setdefault(key, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        for name, value in node.value:
            here = (*key, name.value)
            line = name.start_mark.line + 1
            if here in lines:
                raise ConfigError(
                    f"{file}:{line}: {_dotted(here)} stands here again (first in line "
                    f"{lines[here]}); YAML would silently keep the last: remove one"
                )
            lines[here] = line
            _note_lines(value, here, lines, file)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            _note_lines(value, (*key, index), lines, file)


def _merge(base: dict[str, Any], extra: Mapping[str, Any]) -> None:
    for key, value in extra.items():
        if isinstance(value, Mapping) and isinstance(base.get(key), dict):
            _merge(base[key], value)
        else:
            base[key] = value


def _explain(error: ValidationError, places: dict[tuple, str]) -> str:
    return "\n".join(_one_fault(fault, places) for fault in error.errors())


def _one_fault(fault: Any, places: dict[tuple, str]) -> str:
    key = tuple(fault["loc"])
    known = _written_part(key, places)
    where = places.get(known, "configuration")
    name = _dotted(_without_tags(key, places)) or "configuration"
    if fault["type"] == "extra_forbidden":
        return f"{where}: {name}: no such setting{_suggestion(key, places)}"
    if fault["type"] == "missing":
        return f"{where}: {name}: this setting is missing; add it"
    if fault["type"] in ("union_tag_not_found", "union_tag_invalid"):
        kinds = fault.get("ctx", {}).get("expected_tags")
        return f"{where}: {name}.kind: give one of {kinds or _kinds_at(key)}"
    got = fault.get("input")
    shown = "" if isinstance(got, dict | list | BaseModel) else f" (got {got!r})"
    return f"{where}: {name}: {_plain(fault['msg'])}{shown}"


def _plain(message: str) -> str:
    return message.removeprefix("Value error, ").replace("Input should be", "should be")


def _written_part(key: tuple, places: dict[tuple, str]) -> tuple:
    """Return the longest part of a key that stands in a file (defaults stand in none)."""
    key = _without_tags(key, places)
    while key and key not in places:
        key = key[:-1]
    return key


def _without_tags(key: tuple, places: dict[tuple, str]) -> tuple:
    """Drop what pydantic adds to a location: the chosen member of a tagged union."""
    kept: tuple = ()
    for index, part in enumerate(key):
        is_last = index == len(key) - 1
        if (*kept, part) in places or is_last or isinstance(part, int):
            kept = (*kept, part)
    return kept


def _suggestion(key: tuple, places: dict[tuple, str]) -> str:
    names = _keys_beside(key)
    near = difflib.get_close_matches(str(key[-1]), names, n=1, cutoff=0.6)
    if near:
        return f"; did you mean {near[0]!r}?"
    return f"; here stand: {', '.join(sorted(names))}" if names else ""


def _keys_beside(key: tuple) -> list[str]:
    """Return the settings allowed where an unknown one was found, by walking the models."""
    models: list[type[BaseModel]] = [Config]
    for part in key[:-1]:
        inner = [
            _models_in(m.model_fields[part].annotation) for m in models if part in m.model_fields
        ]
        found = [model for group in inner for model in group]
        # A part that is no field is a mapping's own key or a union's tag: stay at these models.
        models = found or [m for m in models if _tag(m) in (None, part)] or models
    return sorted({name for model in models for name in model.model_fields})


def _kinds_at(key: tuple) -> str:
    """Return the kinds that a tagged union at a key offers."""
    models: list[type[BaseModel]] = [Config]
    for part in key:
        inner = [
            _models_in(m.model_fields[part].annotation) for m in models if part in m.model_fields
        ]
        models = [model for group in inner for model in group] or models
    return ", ".join(sorted({tag for m in models if (tag := _tag(m))})) or "its kinds"


def _models_at(models: list[type[BaseModel]], part: Any) -> list[type[BaseModel]]:
    fields = [model.model_fields[part] for model in models if part in model.model_fields]
    return [inner for field in fields for inner in _models_in(field.annotation)]


def _tag(model: type[BaseModel]) -> str | None:
    field = model.model_fields.get("kind")
    choices = get_args(field.annotation) if field is not None else ()
    return str(choices[0]) if choices else None


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models_in(part)]


def _dotted(key: tuple) -> str:
    text = ""
    for part in key:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text
