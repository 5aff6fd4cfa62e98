"""Write the files that follow from the code: schema and page of the settings, page of the columns.

``python -m clusterscan.commands.generate`` writes all files. With ``--check`` it writes nothing and
fails if a file is out of date.
"""

from __future__ import annotations

import argparse
import json
import sys
import types
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

import yaml
from annotated_types import Ge, Gt, Le, Lt, MinLen
from pydantic import BaseModel, TypeAdapter
from pydantic.fields import FieldInfo

from clusterscan.config.load import fields_by_key, models_in
from clusterscan.config.model import Config
from clusterscan.publish.columns_doc import catalogue_markdown

_HEAD = """\
# Configuration reference

This page is generated from the typed model in `src/clusterscan/config`. `config.yaml` is a complete
example with comments. A key that this page does not list is an error, and so is a value of another
type or outside its range. The unit of a setting is part of its name. Paths that do not begin with
`/`, `~` or `${CLUSTERSCAN_DATA}` start at the project's folder.
"""


def schema_json() -> str:
    """Return the JSON schema of a configuration file, which editors use for completion."""
    schema = Config.model_json_schema(by_alias=True)
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    return json.dumps(schema, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def reference_markdown() -> str:
    """Return docs/configuration.md: the type, default and meaning of every setting."""
    parts = [_HEAD]
    for model, places in _sections(Config).items():
        parts.append(f"## {model.__name__}\n")
        parts.append(" ".join((model.__doc__ or "").split()) + "\n")
        if places:
            parts.append(f"In the file: {', '.join(f'`{p}`' for p in places)}\n")
        parts.append("| setting | type | default | meaning |\n|---|---|---|---|")
        parts.extend(_row(key, field) for key, field in fields_by_key(model).items())
        parts.append("")
    return "\n".join(parts).rstrip() + "\n"


def _sections(root: type[BaseModel]) -> dict[type[BaseModel], list[str]]:
    """Return each model below the root, depth first, with its places in the file."""
    found: dict[type[BaseModel], list[str]] = {root: []}

    def walk(model: type[BaseModel], place: str) -> None:
        for key, field in fields_by_key(model).items():
            # A section such as `surveys` holds entries under names of the user's choice, shown as
            # NAME.
            named = get_origin(field.annotation) is dict
            here = ".".join(part for part in (place, key, "NAME" if named else "") if part)
            for inner in models_in(field.annotation):
                # A model may occur at several places; its table is written once, with all of them.
                is_new = inner not in found
                found.setdefault(inner, []).append(here)
                if is_new:
                    walk(inner, here)

    walk(root, "")
    return found


def _row(key: str, field: FieldInfo) -> str:
    default = "required" if field.is_required() else _default_text(field)
    kind = _type_text(field.annotation) + _range_text(field.metadata)
    meaning = "Selects the settings of this table." if key == "kind" else field.description or ""
    cells = (f"`{key}`", kind, default, " ".join(meaning.split()))
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _default_text(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True, validated_data={})
    if isinstance(value, BaseModel):
        return "its defaults"
    plain = TypeAdapter(Any).dump_python(value, mode="json")
    text = yaml.safe_dump(plain, default_flow_style=True, width=10_000, sort_keys=False)
    return f"`{text.removesuffix(chr(10)).removesuffix(chr(10) + '...')}`"


def _type_text(annotation: Any) -> str:
    """Return a type in words, such as `list of number`."""
    origin, args = get_origin(annotation), get_args(annotation)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return f"[{annotation.__name__}](#{annotation.__name__.lower()})"
    if hasattr(annotation, "__metadata__"):  # Annotated[type, ...]
        return _type_text(args[0]) + _range_text(annotation.__metadata__)
    if origin is Literal:
        return ", ".join(f"`{_yaml_word(value)}`" for value in args)
    if origin in (Union, types.UnionType):
        return " or ".join(_type_text(part) for part in args)
    if origin is dict:
        return f"name: {_type_text(args[1])}"
    if origin in (tuple, list):
        if origin is list or args[-1] is Ellipsis:
            return f"list of {_type_text(args[0])}"
        return f"[{', '.join(_type_text(part) for part in args)}]"
    words = {float: "number", int: "integer", str: "text", bool: "true or false"}
    return words.get(annotation, "null")


def _yaml_word(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _range_text(metadata: Any) -> str:
    signs = {Ge: ("≥", "ge"), Gt: (">", "gt"), Le: ("≤", "le"), Lt: ("<", "lt")}
    limits = []
    for part in metadata:
        if type(part) in signs:
            sign, name = signs[type(part)]
            limits.append(f"{sign} {_plain_number(getattr(part, name))}")
        elif isinstance(part, MinLen) and part.min_length > 1:
            limits.append(f"at least {part.min_length}")
    return f", {' and '.join(limits)}" if limits else ""


def _plain_number(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:g}"


def generated_files(root: Path) -> dict[Path, str]:
    """Return the path and the text of each generated file."""
    return {
        root / "workflow/schemas/config.schema.json": schema_json(),
        root / "docs/configuration.md": reference_markdown(),
        root / "docs/catalogue.md": catalogue_markdown(),
    }


def main(argv: list[str] | None = None) -> None:
    """Write or check the generated files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="fail if a file is out of date")
    check = parser.parse_args(argv).check
    root = Path(__file__).resolve().parents[3]
    files = generated_files(root)
    stale = [p for p, text in files.items() if not p.is_file() or p.read_text() != text]
    if check and stale:
        names = ", ".join(str(p.relative_to(root)) for p in stale)
        sys.exit(f"{names}: out of date; run python -m clusterscan.commands.generate")
    for path in stale:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(files[path], encoding="utf-8")


if __name__ == "__main__":
    main()
