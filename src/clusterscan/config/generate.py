"""Write config.yaml, its JSON schema and the configuration reference from the typed model.

``python -m clusterscan.config.generate`` writes them, ``--check`` says whether they are current.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, TypeAdapter
from pydantic.fields import FieldInfo

from clusterscan.config.default import default_config
from clusterscan.config.model import Config

_WIDTH = 98
_HEAD = """\
# yaml-language-server: $schema=workflow/schemas/config.schema.json
# The main job: a simulated sky in the infrared and the microwave, searched and measured.
# Generated from src/clusterscan/config/default.py; every setting there is: docs/configuration.md.
# For another sky copy this file, change it, and run `make run CONFIG=my.yaml`.
"""


def config_yaml() -> str:
    """Return the text of config.yaml: what the default sets, each with its meaning."""
    return _HEAD + "\n".join(_lines(default_config(), 0)) + "\n"


def _lines(model: BaseModel, depth: int) -> Iterator[str]:
    fields = type(model).model_fields
    # `kind` says which of several models this is: always written, and first.
    for name in sorted(fields, key=lambda field: field != "kind"):
        if name in model.model_fields_set or name == "kind":
            field = fields[name]
            key = field.alias or name
            yield from _entry(key, getattr(model, name), field.description, depth)


def _entry(key: str, value: Any, comment: str | None, depth: int) -> Iterator[str]:
    pad = "  " * depth
    if isinstance(value, BaseModel):
        yield _with_comment(f"{pad}{key}:", comment)
        yield from _lines(value, depth + 1)
    elif isinstance(value, Mapping) and any(isinstance(v, BaseModel) for v in value.values()):
        yield _with_comment(f"{pad}{key}:", comment)
        for name, item in value.items():
            yield from _entry(str(name), item, None, depth + 1)
    elif isinstance(value, tuple | list) and value and isinstance(value[0], BaseModel):
        yield _with_comment(f"{pad}{key}:", comment)
        for item in value:
            first, *rest = _lines(item, depth + 2)
            yield f"{pad}  - {first.lstrip()}"
            yield from rest
    else:
        yield _with_comment(f"{pad}{key}: {_scalar(value)}", comment)


def _scalar(value: Any) -> str:
    plain = TypeAdapter(Any).dump_python(value, mode="json")
    text = yaml.safe_dump(plain, default_flow_style=True, width=10_000, sort_keys=False)
    return text.removesuffix("\n").removesuffix("\n...")


def _with_comment(line: str, comment: str | None) -> str:
    if not comment:
        return line
    comment = " ".join(comment.split())
    if len(line) + len(comment) + 4 > _WIDTH:
        comment = comment[: max(_WIDTH - len(line) - 8, 0)].rsplit(" ", 1)[0] + " ..."
    return f"{line}  # {comment}" if len(comment) > 4 else line


def schema_json() -> str:
    """Return the JSON schema, for editors and for other programs."""
    schema = Config.model_json_schema(by_alias=True)
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    return json.dumps(schema, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def reference_markdown() -> str:
    """Return docs/configuration.md: every setting with type, default and meaning."""
    parts = [
        "# Configuration reference\n",
        "Generated from the typed model (`src/clusterscan/config`); `config.yaml` shows a full "
        "example. A key that is not listed here is an error, and so is a value of another type, "
        "out of its range, or without its unit in the key's name.\n",
    ]
    for model in _models_below(Config):
        parts.append(f"## {model.__name__}\n")
        parts.append(" ".join((model.__doc__ or "").split()) + "\n")
        parts.append("| setting | type | default | meaning |\n|---|---|---|---|")
        parts.extend(_row(name, field) for name, field in model.model_fields.items())
        parts.append("")
    return "\n".join(parts).rstrip() + "\n"


def _row(name: str, field: FieldInfo) -> str:
    key = field.alias or name
    default = "required" if field.is_required() else f"`{_default_text(field)}`"
    meaning = " ".join((field.description or "").split())
    cells = (f"`{key}`", f"`{_type_text(field.annotation)}`", default, meaning)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _default_text(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True, validated_data={})
    if isinstance(value, BaseModel):
        return type(value).__name__
    return _scalar(value)


def _type_text(annotation: Any) -> str:
    models = _models_in(annotation)
    if models and not str(annotation).startswith("dict"):
        text = " or ".join(model.__name__ for model in models)
        return f"list of {text}" if str(annotation).startswith(("tuple", "list")) else text
    if models:
        return "name -> " + " or ".join(model.__name__ for model in models)
    text = str(annotation).replace("typing.", "").replace("<class '", "").replace("'>", "")
    return re.sub(r", FieldInfo\(.*?\)\]|Annotated\[", "", text)


def _models_below(model: type[BaseModel]) -> list[type[BaseModel]]:
    found = [model]
    for field in model.model_fields.values():
        for inner in _models_in(field.annotation):
            found += [m for m in _models_below(inner) if m not in found]
    return found


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models_in(part)]


def generated_files(root: Path) -> dict[Path, str]:
    """Return each generated file's path and text."""
    return {
        root / "config.yaml": config_yaml(),
        root / "workflow/schemas/config.schema.json": schema_json(),
        root / "docs/configuration.md": reference_markdown(),
    }


def main(argv: list[str] | None = None) -> None:
    """Write or check the generated files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="only say whether they are current")
    check = parser.parse_args(argv).check
    root = Path(__file__).resolve().parents[3]
    files = generated_files(root)
    stale = [p for p, text in files.items() if not p.is_file() or p.read_text() != text]
    if check and stale:
        names = ", ".join(str(p.relative_to(root)) for p in stale)
        sys.exit(f"{names}: not current; run python -m clusterscan.config.generate")
    for path in stale:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(files[path], encoding="utf-8")


if __name__ == "__main__":
    main()
