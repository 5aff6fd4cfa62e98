"""The text of docs/catalogue.md, from the column specification.

`clusterscan.commands.generate` writes it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

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

One row per object, including those below the threshold. `clusters.fits`, `clusters.vot`,
`clusters.parquet` and `clusters.csv` hold the same rows and columns, sorted by descending `prob`,
then `name`; equal runs give equal bytes. Positions are ICRS, HEALPix cells NESTED.
This page is generated from the column specification in `clusterscan.formats.catalogue_columns`.

`clusters.reg` has a circle for each object, for DS9: coloured by `class`, dashed below the
threshold. `hats/` is the same table as a HATS collection with a margin cache, for LSDB:
`lsdb.open_catalog("results/catalogue/hats")`; `publish.hats_partition_rows` and
`publish.hats_margin_arcsec` set the sizes of its partitions and margin. `searched_moc.fits` is the
MOC of the searched sky: the map pixels in which at least one network's map has a value.

Headers (FITS cards, VOTable PARAMs, Parquet and HATS metadata, comments of the regions) carry the
version (`CSVERS`), the configuration's name (`CSCONFIG`), the seed (`CSSEED`), the searched area
without masks (`AREADEG2`), the orders of tiles and map pixels (`TILEORD`, `MAPORD`), and whether
the sky is simulated (`SIMULATD`).

Names follow the IAU's rules: coordinates are truncated, not rounded, to the digits shown. Objects
that would share a name get a letter (a, b, ...).

The column *null* says how an unknown value is written (as a Parquet null in `clusters.parquet`);
columns without it always have a value. Text is printable ASCII.
"""

PROBABILITY = """\
`prob` is fitted on the validation region. The combination of the networks and the calibration are
both chosen there by leaving out cells of sky, so `prob` has the base rate of candidates on the sky,
whatever the balance of the training examples. An object is *real* if it matches a row of the
reference catalogues (those with the role `truth`, otherwise the known ones; setting
`merge.calibration.reference`) that passes `validate.purity_cut`, within `validate.radius_arcmin`;
chance matches count. On a simulated sky with `reference: truth` these labels are the simulated
truth of the validation region. The report tests `prob` on the test region, on which nothing was
fitted."""

FORCED = """
## Forced measurements: `forced.fits`, `forced.parquet`

One row for every known cluster (the union of all catalogues with the role `known`) and for every
row of the catalogues with the role `reference`, detected or not. It holds the value of every
network's map there and the matching object of the catalogue, if any. To measure a list of your own,
add it as a catalogue with the role `reference`. Map values are the largest within
`merge.forced_radius_arcmin`; `prob` is calibrated for peaks: elsewhere it is the value for a peak
of that height.

"""

EXAMPLES = """
The completeness against all known clusters is one query:

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
The bits of `flags`; 0 means no known problem. The search radius is `detect.radius_arcmin`. Star and
incomplete come from the masks of the surveys' tile images; dust, galaxy and artefact (and further
stars) from the MOCs in `publish.flag_mocs`. clusterscan includes no MOC, and without one its bit is
never set."""

PUBLISHED = """
## The folder to share: `published/`

`results/published/` is complete and ready to upload: the catalogue in all formats, the HiPS maps,
the trained networks, validation and selection function, the report and the configuration. Its
products are hard links to those of the run, so it takes no extra room; it has no symbolic links.
Each publication rewrites the folder, so keep your own files elsewhere. Besides the products it has

- `README.md`: content, area, all columns, how to cite it, and what is simulated;
- `SHA256SUMS`: `sha256sum -c SHA256SUMS` checks every file;
- `ro-crate-metadata.json`: provenance as an RO-Crate: each product with its sha256, the software
  with its versions, the configuration, and the state of each survey and catalogue used;
- `CITATION.cff` and `datacite.json`, from `publish.creators`, `publish.license` and `publish.doi`.

Equal runs give equal bytes: all dates are `publish.release_date`, and report and summary leave out
the jobs' times and memory. Maps larger than `publish.maps_max_gib` together are left out, which the
README then states. `clusterscan verify` checks the folder. (`results/releases/` and
`clusterscan unpin` are something else: the pinned training sets.)
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
        "On a simulated sky the truth is known. **These columns are not measurements**: they hold "
        "the clusters that were put into the images, for validation. No other column uses them, "
        "except that `prob` is calibrated with the truth of the validation region (see "
        "Probability).",
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


def _rows(columns: Iterable[Column]) -> Iterable[str]:
    yield "| column | type | unit | UCD | null | meaning |\n|---|---|---|---|---|---|\n"
    for c in columns:
        meaning = _placeholder(c.description).replace("<", "&lt;").replace(">", "&gt;")
        yield (
            f"| `{_placeholder(c.name)}` | {c.dtype} | {c.unit or '–'} | `{c.ucd}` "
            f"| {c.null or '–'} | {meaning} |\n"
        )


def _placeholder(name: str) -> str:
    # Column names cannot contain < and >, so the placeholders are restored here.
    name = name.replace("_survey___model_", "<survey>_<model>").replace("__survey_", "_<survey>")
    for word in ("survey", "model", "catalogue"):
        name = name.replace(f"_{word}_", f"<{word}>")
    return name
