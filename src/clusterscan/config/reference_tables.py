"""Settings of reference tables: lists of stars, galaxies, point sources that masks are made from.

A table is a file of any form that `generic` catalogues have, or is fetched once, kept, and pinned
by its version, number of rows and checksum.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from clusterscan.config.base import Settings
from clusterscan.config.catalogs import TableFile

TABLES = "~/.cache/clusterscan/tables"


class _Fetched(TableFile):
    version: str = Field(
        min_length=1,
        description="The release or date of the version that is meant; another text is another "
        "table, and is fetched anew.",
    )
    rows: int | None = Field(
        None, gt=0, description="Rows of that version; another number is refused. null: any."
    )
    sha256: str | None = Field(
        None,
        pattern=r"^[0-9a-f]{64}$",
        description="Checksum of the kept file; other bytes are refused. null: the one that came.",
    )


class FileTable(TableFile):
    """A table on this machine."""

    kind: Literal["file"]
    path: str = Field(min_length=1, description="The file; may begin with ${CLUSTERSCAN_DATA}.")


class UrlTable(_Fetched):
    """A table on a server, downloaded as it is."""

    kind: Literal["url"]
    url: str = Field(pattern=r"^https?://", description="Where it is published.")


class VizierTable(_Fetched):
    """A table of VizieR, or those of its rows that fulfil constraints, by astroquery."""

    kind: Literal["vizier"]
    catalogue: str = Field(min_length=1, description="Its name, such as I/259/tyc2.")
    constraints: dict[str, str] = Field(
        default_factory=dict,
        description="VizieR's constraints on its columns, such as VTmag: '<11'.",
    )
    format: Literal["votable"] = Field("votable", description="How it is kept.")
    server: str = Field("vizier.cds.unistra.fr", description="VizieR or a mirror of it.")


class GaiaTable(Settings):
    """Gaia sources brighter than a magnitude, from a TAP service, around the footprint."""

    kind: Literal["gaia"]
    server: str = Field("https://gea.esac.esa.int/tap-server/tap", description="The TAP service.")
    release: str = Field(
        "gaiadr3", pattern=r"^[a-z0-9_]+$", description="Schema of the release: the version."
    )
    faintest_mag: float = Field(description="Faintest G magnitude that is asked for [Vega].")
    max_rows: int = Field(
        2000,
        ge=10,
        description="Rows of one answer; where the service cuts one off, the sky is asked in "
        "smaller pieces.",
    )
    bad_rows: Literal["error", "drop"] = Field(
        "error", description="Rows without a possible position stop the run, or are dropped."
    )


ReferenceTable = Annotated[
    FileTable | UrlTable | VizierTable | GaiaTable, Field(discriminator="kind")
]


def columns_of(table: Any) -> set[str]:
    """Return our names of the columns that a table will have."""
    if isinstance(table, GaiaTable):
        return {"name", "ra_deg", "dec_deg", "mag"}
    return set(table.columns)
