"""Read a configuration strictly; an error message names the line, the fault and the remedy."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from clusterscan.config.model import Config
from clusterscan.core.errors import ConfigError

Model = TypeVar("Model", bound=BaseModel)
Root = type[BaseModel]
Places = dict[tuple, str]
"""The place of each key in its file: ``(section, key) -> "file:line"``."""


def load_config(files: Iterable[str | Path], overrides: Mapping[str, Any] | None = None) -> Config:
    """Read the configuration from one or several files; later files override earlier ones.

    Parameters
    ----------
    files : iterable of path
        YAML files; mappings are merged key by key.
    overrides : mapping, optional
        Settings from the command line, merged last.

    Raises
    ------
    ConfigError
        With one line for each fault: ``file:line: key: what is wrong; how to fix it``.
    """
    # Files are merged before validation, so one file alone need not be complete.
    merged: dict[str, Any] = {}
    places: Places = {}
    for file in files:
        values, where = read_yaml(Path(file), "the shipped config.yaml")
        merge(merged, values)
        places.update(where)
    if overrides:
        merge(merged, dict(overrides))
    return validated(Config, merged, places)


def validated(model: type[Model], values: Mapping[str, Any], places: Places) -> Model:
    """Return the settings as a validated model.

    Raises
    ------
    ConfigError
        With one line for each fault: ``file:line: key: what is wrong; how to fix it``.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise ConfigError(_explain(error, model, places)) from error


def read_yaml(file: Path, example: str) -> tuple[dict[str, Any], Places]:
    """Read the settings in a YAML file, and the place of each key.

    Parameters
    ----------
    file : Path
        The file.
    example : str
        A file to start from, which the message names if this one has no settings.

    Raises
    ------
    ConfigError
        If the file is missing, is not a YAML mapping, or sets a key twice.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(
            f"{file}: cannot be read as text ({reason}); name a YAML file such as config.yaml"
        ) from error
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or error
        raise ConfigError(f"{file}{line}: not valid YAML: {problem}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{file}:1: holds no settings; start from {example}")
    # The values carry no line numbers, so the node tree is walked for the place of each key.
    lines: dict[tuple, int] = {}
    assert node is not None  # a mapping was read from it
    _note_lines(node, (), lines, file)
    return values, {key: f"{file}:{line}" for key, line in lines.items()}


def _note_lines(node: yaml.Node, key: tuple, lines: dict[tuple, int], file: Path) -> None:
    lines.setdefault(key, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        for name, value in node.value:
            here = (*key, name.value)
            line = name.start_mark.line + 1
            if here in lines:
                raise ConfigError(
                    f"{file}:{line}: {_dotted(here)} is set twice (first in line {lines[here]}); "
                    "YAML would silently keep the last one, so remove one"
                )
            lines[here] = line
            _note_lines(value, here, lines, file)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            _note_lines(value, (*key, index), lines, file)


def merge(base: dict[str, Any], extra: Mapping[str, Any]) -> None:
    """Override settings in place: mappings are merged key by key, all else is replaced.

    A mapping with another ``kind`` replaces the whole mapping, because the keys of one kind mean
    nothing to another.
    """
    for key, value in extra.items():
        below = base.get(key)
        if isinstance(value, Mapping) and isinstance(below, dict) and not _other_kind(value, below):
            merge(below, value)
        else:
            base[key] = value


def _other_kind(value: Mapping[str, Any], below: Mapping[str, Any]) -> bool:
    return "kind" in value and "kind" in below and value["kind"] != below["kind"]


# The rest of this file turns pydantic's errors into the words of the file: which key, in which
# line, what is wrong, and which key or kind was probably meant.
def _explain(error: ValidationError, root: Root, places: Places) -> str:
    """Return one line per fault.

    pydantic reports a misspelt key twice, as an unknown key and as a missing one, and a value that
    fits no member of a union once for each member. Each of these is one fault to the user.
    """
    lines: dict[tuple, list[str]] = {}
    meant = {
        (*key[:-1], near)
        for key in _unknown_keys(error)
        if (near := _near(key, _keys_beside(root, key)))
    }
    for fault in error.errors():
        key = tuple(fault["loc"])
        if fault["type"] == "missing" and key in meant:
            continue  # the line about the misspelt key covers it
        name, told = _name(fault, key, places), _fault_text(fault, root, key)
        if fault["type"] == "value_error":
            name, told = _named_in(told, name, places)
        where = places.get(_written_part(name, places), "configuration")
        text = f"{where}: {_dotted(name) or 'configuration'}"
        lines.setdefault((text, _got(fault)), []).append(told)
    return "\n".join(
        f"{text}: {' or '.join(dict.fromkeys(faults))}{got}"
        for (text, got), faults in lines.items()
    )


def _named_in(message: str, name: tuple, places: Places) -> tuple[tuple, str]:
    """Split a message such as ``act.bands: ...`` into the key that it names and the rest.

    pydantic attributes a check of several settings to their whole section. The line of the setting
    that the message names helps the user more.
    """
    start = re.match(r"\w+(?:\.\w+|\[\d+\])*(?=: )", message)
    parts = re.findall(r"\w+", start[0]) if start else []
    key = (*name, *(int(part) if part.isdigit() else part for part in parts))
    if start is None or len(_written_part(key, places)) <= len(name):
        return name, message
    return key, message[start.end() + 2 :]


def _unknown_keys(error: ValidationError) -> list[tuple]:
    return [tuple(f["loc"]) for f in error.errors() if f["type"] == "extra_forbidden"]


def _name(fault: Any, key: tuple, places: Places) -> tuple:
    """Return the key as it is written in the file."""
    if key and key[-1] == "[key]":  # pydantic's word for a mapping's own key
        key = key[:-1]
    name = _without_tags(key, places)
    if fault["type"].startswith("union_tag"):
        return (*name, "kind")
    # Members of a plain union, such as `float`, end a location too.
    is_tag = name not in places and fault["type"] not in ("missing", "extra_forbidden")
    too_short = fault["type"] == "missing" and isinstance(key[-1], int)
    return name[:-1] if (is_tag and name[:-1] in places) or too_short else name


def _got(fault: Any) -> str:
    value = fault.get("input")
    silent = fault["type"] in ("missing", "extra_forbidden", "union_tag_invalid")
    if silent or value is None or isinstance(value, dict | list | tuple | BaseModel):
        return ""
    return f" (got {value!r})" if isinstance(value, str | int | float) else f" (got {value})"


def _fault_text(fault: Any, root: Root, key: tuple) -> str:
    kind = fault["type"]
    if kind == "extra_forbidden":
        return f"no such setting{_suggestion(root, key)}"
    if kind == "missing" and isinstance(key[-1], int):
        return f"too few values; give at least {key[-1] + 1}"
    if kind == "missing":
        meaning = _meaning(root, key)
        return f"this setting is missing; add it{f' ({meaning})' if meaning else ''}"
    if kind == "union_tag_invalid":
        given = str(fault["ctx"]["tag"])
        kinds = _kinds_at(root, key)
        near = difflib.get_close_matches(given, kinds, n=1, cutoff=0.6)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        return f"{given!r} is not one of {', '.join(kinds)}{hint}"
    if kind == "union_tag_not_found":
        return f"this setting is missing; give one of {', '.join(_kinds_at(root, key))}"
    if key[-1:] == ("[key]",):
        return f"{key[-2]!r} is not a valid name; use only letters, digits and _"
    if fault.get("input", "") is None:
        return "has no value; give one, or remove the line"
    return _plain(kind, fault["msg"])


def _plain(kind: str, message: str) -> str:
    if kind in ("model_type", "dict_type", "model_attributes_type"):
        return "should be a section of indented lines `key: value`"
    if kind in ("tuple_type", "list_type"):
        return "should be a list, such as [a, b]"
    if kind == "string_type":
        return "should be text; put it in quotes"
    message = message.removeprefix("Value error, ").removeprefix("String ")
    message = message.replace("Tuple should", "should").replace("List should", "should")
    return message.removeprefix("Input ")


def _written_part(key: tuple, places: Places) -> tuple:
    """Return the longest part of a key that a file sets; defaults have no place in a file."""
    while key and key not in places:
        key = key[:-1]
    return key


def _without_tags(key: tuple, places: Places) -> tuple:
    """Drop the parts that pydantic adds to a location: the chosen members of tagged unions."""
    kept: tuple = ()
    for index, part in enumerate(key):
        is_last = index == len(key) - 1
        if (*kept, part) in places or is_last or isinstance(part, int):
            kept = (*kept, part)
    return kept


def _suggestion(root: Root, key: tuple) -> str:
    names = _keys_beside(root, key)
    near = _near(key, names)
    if near:
        unit = near.rpartition("_")[2]
        other_unit = _stem(near) == _stem(str(key[-1])) and unit in _UNITS
        return f"; did you mean {near!r}?" + (f" (the unit is {unit})" if other_unit else "")
    return f"; the settings here are {', '.join(names)}" if names else ""


# A wrong unit in a key's name is the most common slip, so it is told apart from other misspellings.
_UNITS = ("arcmin", "arcsec", "deg", "deg2", "px", "mag", "ghz", "msun", "s", "ell", "uk2")


def _stem(name: str) -> str:
    """Return a key without its unit."""
    return name.rpartition("_")[0] if name.rpartition("_")[2] in _UNITS else name


def _near(key: tuple, names: list[str]) -> str:
    """Return the allowed key that is most similar to a wrong one, or an empty text."""
    written = str(key[-1])
    same_but_for_the_unit = [name for name in names if _stem(name) == _stem(written)]
    near = difflib.get_close_matches(written, names, n=1, cutoff=0.6)
    return (same_but_for_the_unit + near + [""])[0]


def _keys_beside(root: Root, key: tuple) -> list[str]:
    """Return the settings that are allowed next to a key."""
    return sorted({name for model in _models_at(root, key[:-1]) for name in fields_by_key(model)})


def _kinds_at(root: Root, key: tuple) -> list[str]:
    """Return the kinds that the tagged union at a key allows."""
    kinds = [tag for model in _models_at(root, key) for tag in _tags(model)]
    return list(dict.fromkeys(kinds))


def _meaning(root: Root, key: tuple) -> str:
    """Return a setting's description."""
    fields = [fields_by_key(model).get(str(key[-1])) for model in _models_at(root, key[:-1])]
    text = next((f.description.rstrip(".") for f in fields if f and f.description), "")
    return text[:1].lower() + text[1:] if text[1:2].islower() else text


def _models_at(root: Root, key: tuple) -> list[type[BaseModel]]:
    """Return the models that are possible at a location, by walking down from the root."""
    models: list[type[BaseModel]] = [root]
    for part in key:
        fields = [fields_by_key(model)[part] for model in models if part in fields_by_key(model)]
        found = [inner for field in fields for inner in models_in(field.annotation)]
        # A part that is not a field is a user's own name or the tag of a union: keep the models.
        models = found or [m for m in models if not _tags(m) or part in _tags(m)] or models
    return models


def fields_by_key(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """Return the fields of a model under their names in the file."""
    return {field.alias or name: field for name, field in model.model_fields.items()}


def _tags(model: type[BaseModel]) -> tuple[str, ...]:
    field = model.model_fields.get("kind")
    return tuple(map(str, get_args(field.annotation))) if field is not None else ()


def models_in(annotation: Any) -> list[type[BaseModel]]:
    """Return the settings models that an annotation mentions."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in models_in(part)]


def _dotted(key: tuple) -> str:
    text = ""
    for part in key:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text
