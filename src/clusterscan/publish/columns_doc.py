"""docs/catalogue.md, generated from the column specification."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from clusterscan.formats.catalogue_columns import (
    CONFLICTS,
    FILTER,
    FLAGS,
    IDENTITY,
    POSITION,
    SCORES,
    SHAPE,
    TRUTH,
    Column,
    forced_columns,
    known_columns,
    model_columns,
    survey_columns,
)

INTRODUCTION = """\
# The catalogue

One row per object, also of those below the threshold. `clusters.fits`, `clusters.vot`,
`clusters.parquet` and `clusters.csv` hold the same rows and columns, sorted by descending `prob`,
then `name`; the same run always gives the same bytes. Positions are ICRS, HEALPix cells NESTED.
This page is generated from the column specification in `clusterscan.formats.catalogue_columns`.

`clusters.reg` has a circle for each object, for DS9: coloured by `class`, dashed below the
threshold. `hats/` is the same table as a HATS collection with a margin cache, for LSDB:
`lsdb.open_catalog("results/catalogue/hats")`; `publish.hats_partition_rows` and
`publish.hats_margin_arcsec` cut it. `searched_moc.fits` is the MOC of the searched sky: the map
pixels in which at least one network's map has a value.

Headers (FITS cards, VOTable PARAMs, Parquet and HATS metadata, comments of the regions) carry the
version (`CSVERS`), the configuration's name (`CSCONFIG`), the seed (`CSSEED`), the searched area
without masks (`AREADEG2`), the orders of tiles and map pixels (`TILEORD`, `MAPORD`), and whether
the sky is simulated (`SIMULATD`).

Names follow the IAU's rules: coordinates are truncated, never rounded, to the digits shown, and
objects that would share a name get a letter (a, b, ...).

Null: how an unknown value is written (a Parquet null in `clusters.parquet`); columns without
one always have a value. Text is printable ASCII.
"""

PROBABILITY = """\
`prob` is fitted on the validation region: how the networks combine and how the result is
calibrated are both chosen there by leaving out cells of sky, so it has the base rate of the sky's
candidates, whatever balance of examples the training had. *Real* means: matches a row of the
reference catalogues (those with the role `truth`, else the known ones; setting
`merge.calibration.reference`) that passes `validate.purity_cut`, within `validate.radius_arcmin`;
chance matches count. On a simulated sky with `reference: truth` these labels are simulated truth of
the validation region. The report says how well `prob` holds on the test region, of which nothing
was fitted."""

FORCED = """
## Forced measurements: `forced.fits`, `forced.parquet`

One row for every known cluster (the union of all catalogues with the role `known`) and for every
row of the catalogues with the role `reference`, detected or not: what every network's map says
there, and which object of the catalogue it is, if any. A list of your own is a catalogue of the
role `reference`. Map values are the largest within `merge.forced_radius_arcmin`; `prob` is
calibrated for peaks: between peaks it is what a peak of that height would be given.

"""

EXAMPLES = """
Completeness against all literature is one query:

```python
from astropy.table import Table

listed = Table.read("results/catalogue/forced.fits")
fair = listed[(listed["searched"] == 1) & (listed["split"] == "test")]
found = fair["object_prob"] >= 0.5  # NaN (no detection) is not found
print(f"{found.sum()} of {len(fair)} known clusters of the test region: {found.mean():.0%}")

massive = fair["m500c_msun"] > 3e14
print(f"above 3e14 solar masses: {found[massive].sum()} of {massive.sum()}")
missed = fair[massive & ~found]["listed_name", "catalogues", "z", "prob"]
```
"""

FLAGS_NOTE = """\
The bits of `flags`; 0 means that nothing is known against it. The search radius is
`detect.radius_arcmin`. Star and incomplete come from the masks of the surveys' tile images; dust,
galaxy and artefact (and further stars) from MOCs that `publish.flag_mocs` names: clusterscan ships
none, and without one its bit is never set."""

PUBLISHED = """
## The folder to hand on: `published/`

`results/published/` is all that one uploads or gives away, complete in itself: the catalogue in all
forms, the HiPS maps, the trained networks, validation and selection function, the report and the
configuration. Products lie in it under their own paths, as second names of the same files (hard
links), so that it takes no room; nothing in it is a symbolic link. Each publication writes the
folder anew: keep files of your own elsewhere. Besides the products it has

- `README.md`: what it is, the area, all columns, how to cite it, and what is simulated;
- `SHA256SUMS`: `sha256sum -c SHA256SUMS` checks every file;
- `ro-crate-metadata.json`: provenance as an RO-Crate: each product with its sha256, the software
  with its versions, the configuration, and the state of each survey and catalogue that went in;
- `CITATION.cff` and `datacite.json`, from `publish.creators`, `publish.license` and `publish.doi`.

The same run gives the same bytes: dates are `publish.release_date`, and the report and summary in
it lack the jobs' times and memory. Maps that take more than `publish.maps_max_gib` are left out,
which the README then says. `clusterscan verify` checks the folder. (`results/releases/` and
`clusterscan release` are something else: the pinned training sets.)
"""

SECTIONS: tuple[tuple[str, str, tuple[Column, ...]], ...] = (
    ("Position", "", POSITION),
    ("Probability", PROBABILITY, SCORES),
    ("One set per survey", "", survey_columns("<survey>")),
    (
        "One set per model",
        "`<survey>` and `<model>` as in the configuration, in lower case; other characters than "
        "letters and digits become `_`. The plain filter has a signal-to-noise ratio alone.",
        (*model_columns("<survey>", "<model>"), *model_columns("<survey>", FILTER)),
    ),
    ("Detection", "", SHAPE),
    ("Quality, identification, redshift and mass", "", IDENTITY),
    ("One set per known catalogue", "", known_columns("<catalogue>")),
    (
        "Simulated runs only",
        "On a simulated sky the truth is known. **These columns are no measurement**: they say "
        "what was put into the images, for validation. No other column uses them; but the truth of "
        "the validation region is what `prob` is calibrated with (see Probability).",
        TRUTH,
    ),
)


def catalogue_markdown() -> str:
    """Return the text of docs/catalogue.md."""
    parts = [INTRODUCTION]
    for title, note, columns in SECTIONS:
        parts.append(f"\n## {title}\n\n")
        if note:
            parts.append(note + "\n\n")
        parts.extend(_rows(columns))
    parts.append("\n## Conflicts of known catalogues\n\nThe bits of `known_conflicts`.\n\n")
    parts.extend(_bits(CONFLICTS))
    parts.append(f"\n## Flags\n\n{FLAGS_NOTE}\n\n")
    parts.extend(_bits(FLAGS))
    parts.append(FORCED)
    parts.extend(_rows(forced_columns([("<survey>", "<model>")])))
    return "".join([*parts, EXAMPLES, PUBLISHED])


def _bits(bits: Mapping[str, tuple[int, str]]) -> Iterable[str]:
    yield "| bit | name | meaning |\n|---|---|---|\n"
    for name, (value, meaning) in bits.items():
        yield f"| {value} | {name} | {meaning} |\n"


def write_catalogue_markdown(path: Path) -> None:
    """Write docs/catalogue.md."""
    Path(path).write_text(catalogue_markdown(), encoding="utf-8")


def _rows(columns: Iterable[Column]) -> Iterable[str]:
    yield "| column | type | unit | UCD | null | meaning |\n|---|---|---|---|---|---|\n"
    for c in columns:
        meaning = _placeholder(c.description).replace("<", "&lt;").replace(">", "&gt;")
        yield (
            f"| `{_placeholder(c.name)}` | {c.dtype} | {c.unit or '–'} | `{c.ucd}` "
            f"| {c.null or '–'} | {meaning} |\n"
        )


def _placeholder(name: str) -> str:
    # Column names are cleaned of < and >: show again which parts stand for a name of the run.
    name = name.replace("_survey___model_", "<survey>_<model>").replace("__survey_", "_<survey>")
    for word in ("survey", "model", "catalogue"):
        name = name.replace(f"_{word}_", f"<{word}>")
    return name
