"""Declarations of tables with positions: format, columns, units and pitfalls of a catalogue.

The declarations themselves are in `clusterscan.catalogs.published`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from clusterscan.config.catalogs import FileFormat, Frame, GenericCatalogue, PositionUnit, TableFile

Column = str | int | tuple[str, ...]


@dataclass(frozen=True)
class Remote:
    """The place where a catalogue is published.

    Attributes
    ----------
    table : str
        VizieR table, "" where it is a file.
    url : str
        The file, of a pinned version.
    rows : int, optional
        Number of rows of the version that the layout was written for.
    sha256 : str
        Checksum of the file, if known.
    """

    table: str = ""
    url: str = ""
    rows: int | None = None
    sha256: str = ""


@dataclass(frozen=True)
class Layout:
    """Declaration of one kind of table for the reader.

    Attributes
    ----------
    format : str
        The file's format; csv and white-space tables may be gzipped.
    columns : mapping
        Our column -> the file's column: its name, its number from 0 if the file has no header, or
        several names of which the first that the file has is read.
    reference : str
        The paper to cite.
    delimiter : str
        Delimiter of a csv; a blank means any white space.
    comment : str, optional
        Lines of a csv that begin with it are skipped.
    header : bool
        True if the first line of a csv names the columns.
    position_unit : {"deg", "rad", "hourangle", "sexagesimal"}
        Unit of the positions; hourangle: RA in hours, Dec in degrees; sexagesimal: text, RA in
        hours.
    z_unknown : tuple of float
        Values of z that mean unknown.
    scale : mapping
        Factors on our columns.
    name_prefix : str
        Put before every name.
    second_prefix : str
        Put before a name that occurs a second time, instead of ``name_prefix``: catalogues with a
        supplement number it from 1 again.
    repair_names : tuple of (pattern, replacement)
        Regular expression that repairs names.
    frame : {"icrs", "fk5", "fk4", "galactic"}
        Of the positions.
    equinox : str
        Of fk5 and fk4 positions; fk5 at J2000 is taken for ICRS, which it is to 0.1 arcsec.
    acronym : str
        The beginning of its names.
    holds : {"clusters", "candidates", "sources", "galaxies"}
        The kind of its rows. Sources cannot be a run's known clusters.
    unknown : mapping
        Our column -> values that mean unknown (z has ``z_unknown``).
    z_type : str
        "spec" or "phot" if all redshifts are of one type; else map a column ``z_type``, or both
        ``z_spec`` and ``z_phot``.
    z_types : mapping
        Values of the file's column -> "spec" or "phot", for values that do not begin with these.
    remote : Remote, optional
        Where it is published.
    checked : {"file", "columns", "declared"}
        "file": tested on the published file; "columns": place and columns were seen in public
        code or documentation; "declared": neither.
    traps : str
        Pitfalls, for the documentation.
    """

    format: FileFormat
    columns: Mapping[str, Column]
    reference: str = ""
    delimiter: str = ","
    comment: str | None = None
    header: bool = True
    position_unit: PositionUnit = "deg"
    z_unknown: tuple[float, ...] = ()
    scale: Mapping[str, float] = field(default_factory=dict)
    name_prefix: str = ""
    repair_names: tuple[str, str] | None = None
    frame: Frame = "icrs"
    equinox: str = "J2000"
    acronym: str = ""
    holds: Literal["clusters", "candidates", "sources", "galaxies"] = "clusters"
    unknown: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    z_type: str = ""
    z_types: Mapping[str, str] = field(default_factory=dict)
    remote: Remote | None = None
    checked: Literal["file", "columns", "declared"] = "file"
    second_prefix: str = ""
    traps: str = ""


def layout_of(settings: GenericCatalogue | TableFile) -> Layout:
    """Build the layout that the settings of a generic catalogue or table describe."""
    columns: Mapping[str, Column] = {
        ours: theirs if settings.header else int(theirs)
        for ours, theirs in settings.columns.items()
    }
    return Layout(
        format=settings.format,
        columns=columns,
        header=settings.header,
        delimiter=settings.delimiter,
        comment=settings.comment,
        position_unit=settings.position_unit,
        z_unknown=tuple(settings.z_unknown),
        scale=settings.scale,
        frame=settings.frame,
        equinox=settings.equinox,
        unknown={column: tuple(values) for column, values in settings.unknown.items()},
        z_type=settings.z_type,
    )
