"""The base of every settings model, and the fields that several sections share.

Every model is frozen and strict: an unknown key is an error. A key carries its unit in its name.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Settings(BaseModel):
    """Settings of one section: frozen, with no unknown keys and no infinite or NaN values."""

    # A frozen model can be shared by jobs and hashed into fingerprints. Unknown keys are errors
    # because a misspelt key would otherwise run with the default, unnoticed.
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _switches_are_no_numbers(cls, values: Any) -> Any:
        # Python treats true as 1, so `seed: true` would run with a seed that nobody chose.
        for name, value in values.items() if isinstance(values, dict) else ():
            if name in cls.model_fields and _holds_a_switch(value):
                types = _types_in(cls.model_fields[name].annotation)
                if types & {int, float} and bool not in types:
                    raise ValueError(f"{name}: true and false are not numbers; give a number")
        return values


def _types_in(annotation: Any) -> set[Any]:
    """Return the plain types that an annotation allows, including those of literal values."""
    if not get_args(annotation):
        return {annotation if isinstance(annotation, type) else type(annotation)}
    return set().union(*(_types_in(part) for part in get_args(annotation)))


def _holds_a_switch(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return any(_holds_a_switch(v) for v in value)
    return isinstance(value, bool)


# Where a map stands in a FITS file, and how the pixels of a HEALPix map are numbered. Footprints,
# masks and archives share these fields; null means that the file's own header decides.
Extension = Annotated[
    str | int | None,
    Field(description="Name or number of the FITS extension; null: the first image or table."),
]
HealpixColumn = Annotated[
    str | None, Field(description="Column of a HEALPix map; null: the first.")
]
HealpixFrame = Annotated[
    Literal["icrs", "galactic"] | None,
    Field(description="Frame of a HEALPix map; null: the one in its header."),
]
HealpixOrdering = Annotated[
    Literal["nested", "ring"] | None,
    Field(description="Pixel ordering of a HEALPix map; null: the one in its header."),
]
