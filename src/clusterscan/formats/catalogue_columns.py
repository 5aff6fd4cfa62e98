"""The column specification of the catalogue, from which every published format is generated."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from clusterscan.formats.mask_planes import MASKABLE, TABLE

Arrays = Mapping[str, np.ndarray]
"""A catalogue in memory: the values of each column by name."""

FILTER = "filter"  # name under which the plain filter runs as a model
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9]")

#: Bits of ``flags``: name -> (value, description).
FLAGS = MappingProxyType(
    {
        "edge": (1, "a map pixel without a value lies within the search radius of the peak"),
        "blended": (2, "another peak lies within twice the search radius"),
        "centroid": (4, "the position is a centroid, as no paraboloid fits the peak"),
        "saturated": (8, "a network's probability is 0 or 1 to the last digit kept"),
        "star": (16, "a bright star or saturated pixels in an image within the search radius"),
        "incomplete": (32, "an image lacks pixels within the search radius, or a survey the tile"),
        "dust": (64, "in the MOC of Galactic dust that publish.flag_mocs names, if any"),
        "galaxy": (128, "in the MOC of large galaxies that publish.flag_mocs names, if any"),
        "artefact": (256, "in the MOC of known artefacts that publish.flag_mocs names, if any"),
    }
    | {p.name: (p.flag, f"{p.masks} that flags lies over the peak") for p in MASKABLE}
)

#: Flags of pixels near an object -> the planes of a tile image's mask that set them.
MASK_PLANES = MappingProxyType(
    {
        flag: int(np.bitwise_or.reduce([p.bit for p in TABLE if p.nearby == flag]))
        for flag in dict.fromkeys(p.nearby for p in TABLE if p.nearby)
    }
)

#: Bits of ``known_conflicts``, as in `clusterscan.known.unite.Conflict`.
CONFLICTS = MappingProxyType(
    {
        "redshift": (1, "redshifts of two catalogues differ by more than 0.05 (1 + z)"),
        "mass": (2, "masses of two catalogues differ by more than a factor of 3"),
        "ambiguous": (4, "an entry of another known cluster might be this cluster's too"),
        "duplicate": (8, "a catalogue lists the cluster more than once"),
        "projected": (16, "a known cluster at another redshift lies within the limit"),
    }
)

#: Value of a null integer cell, declared in TNULL (FITS) and VALUES (VOTable).
NULL_INTEGER = -1


@dataclass(frozen=True)
class Column:
    """One column of the catalogue.

    ``dtype`` is 'str' or a numpy type name. ``null`` is the representation of an unknown value:
    '' (never null), 'NaN', 'empty' (text) or the integer as text.
    """

    name: str
    dtype: str
    unit: str
    ucd: str
    description: str
    null: str = ""

    @property
    def null_integer(self) -> int | None:
        """Return the integer that represents an unknown value, or None."""
        return int(self.null) if self.null and self.dtype.startswith("int") else None

    def unknown(self, values: np.ndarray) -> np.ndarray:
        """Return True for each unknown value, bool, shape (n,)."""
        if not self.null:
            return np.zeros(values.size, dtype=bool)
        if self.dtype == "str":
            return np.asarray(values == "", dtype=bool)
        return np.isnan(values) if self.null == "NaN" else values == self.null_integer


POSITION = (
    Column("name", "str", "", "meta.id;meta.main", "IAU name, truncated from the position"),
    Column("ra_deg", "float64", "deg", "pos.eq.ra;meta.main", "Right ascension (ICRS)"),
    Column("dec_deg", "float64", "deg", "pos.eq.dec;meta.main", "Declination (ICRS)"),
    Column("RADeg", "float64", "deg", "pos.eq.ra", "Same as ra_deg, as SZ tools name it"),
    Column("decDeg", "float64", "deg", "pos.eq.dec", "Same as dec_deg, as SZ tools name it"),
    Column(
        "pos_err_arcsec", "float32", "arcsec", "stat.error;pos.eq",
        "Standard error of the position, each axis", "NaN",
    ),
    Column("glon_deg", "float64", "deg", "pos.galactic.lon", "Galactic longitude"),
    Column("glat_deg", "float64", "deg", "pos.galactic.lat", "Galactic latitude"),
    Column(
        "healpix29", "int64", "", "pos.healpix", "HEALPix cell of order 29, NESTED, ICRS"
    ),
    Column(
        "tile", "int64", "", "pos.healpix",
        "HEALPix tile that owns the object, NESTED, ICRS; its order is in the header (TILEORD)",
    ),
)  # fmt: skip

SCORES = (
    Column(
        "prob", "float64", "", "stat.probability",
        "Calibrated probability of being real by the reference catalogue, all networks combined",
    ),
    Column(
        "prob_err", "float32", "", "stat.error;stat.probability",
        "Standard error of prob: how well the validation sky fixes it", "NaN",
    ),
    Column(
        "prob_raw", "float32", "", "stat.probability",
        "Combined probability before calibration", "NaN",
    ),
    Column(
        "prob_listed", "float32", "", "stat.probability",
        "Calibrated probability of being in one of the known catalogues", "NaN",
    ),
    Column(
        "purity", "float32", "", "stat.fit.goodness",
        "Expected purity of the sample of all objects at least as probable: their mean prob", "NaN",
    ),
    Column(
        "purity_sample", "float32", "", "meta.code",
        "Purest of the sub-samples of fixed expected purity that holds the object", "NaN",
    ),
    Column("n_models", "int32", "", "meta.number", "Networks that detected the object"),
    Column("n_surveys", "int32", "", "meta.number", "Surveys in which it was detected"),
    Column(
        "prob_scatter", "float32", "", "stat.stdev;stat.probability",
        "Standard deviation of the networks' probabilities", "NaN",
    ),
)  # fmt: skip

SHAPE = (
    Column(
        "snr_peak", "float32", "", "stat.snr",
        "Largest signal-to-noise ratio of the object in any map", "NaN",
    ),
    Column(
        "area_pix", "int32", "pix", "phys.angArea",
        "Area above the detection threshold in the map of the most certain network, "
        "in map pixels",
        str(NULL_INTEGER),
    ),
)  # fmt: skip

IDENTITY = (
    Column("flags", "int32", "", "meta.code", "Quality flags, a bit mask (see the table of flags)"),
    Column(
        "masked_fraction", "float32", "", "stat.value",
        "Fraction of image pixels within the search radius that are masked or not covered, in the "
        "survey where it is largest",
        "NaN",
    ),
    Column(
        "split", "str", "", "meta.code",
        "Region of the sky by its use: train, validation or test", "empty",
    ),
    Column(
        "class", "str", "", "meta.code.class",
        "known: matches a catalogued cluster; recovered: matches one in the test region, of which "
        "nothing was learnt; new: matches none",
    ),
    Column("known_name", "str", "", "meta.id", "Nearest matching known cluster", "empty"),
    Column(
        "known_catalogue", "str", "", "meta.ref", "Catalogue that lists known_name", "empty"
    ),
    Column(
        "known_sep_arcsec", "float32", "arcsec", "pos.angDistance",
        "Separation from known_name", "NaN",
    ),
    Column(
        "known_p_chance", "float32", "", "stat.probability",
        "Probability that an unrelated known cluster lies as close as known_name", "NaN",
    ),
    Column(
        "known_p_match", "float32", "", "stat.probability",
        "Probability that known_name is the object's counterpart", "NaN",
    ),
    Column(
        "known_conflicts", "int32", "", "meta.code.error",
        "What the known catalogues contradict each other in, a bit mask (see the table of "
        "conflicts)",
        str(NULL_INTEGER),
    ),
    Column("z", "float32", "", "src.redshift", "Redshift, from z_source", "NaN"),
    Column(
        "z_type", "str", "", "meta.code", "Type of the redshift as z_source says: spec, phot ...",
        "empty",
    ),
    Column("z_source", "str", "", "meta.ref", "Catalogue that gives the redshift", "empty"),
    Column(
        "m500c_msun", "float64", "solMass", "phys.mass",
        "Mass M500c (mean density 500 times the critical density) of the known cluster", "NaN",
    ),
    Column("m500c_source", "str", "", "meta.ref", "Catalogue that gives the mass", "empty"),
    Column(
        "version", "str", "", "meta.version", "Version of clusterscan that found the object",
    ),
)  # fmt: skip

TRUTH = (
    Column(
        "truth_name", "str", "", "meta.id;meta.modelled",
        "SIMULATED TRUTH: name of the simulated halo that the object matches", "empty",
    ),
    Column(
        "truth_sep_arcsec", "float32", "arcsec", "pos.angDistance;meta.modelled",
        "SIMULATED TRUTH: separation from truth_name", "NaN",
    ),
    Column(
        "truth_z", "float32", "", "src.redshift;meta.modelled",
        "SIMULATED TRUTH: redshift of truth_name", "NaN",
    ),
    Column(
        "truth_m500c_msun", "float64", "solMass", "phys.mass;meta.modelled",
        "SIMULATED TRUTH: mass M500c of truth_name", "NaN",
    ),
)  # fmt: skip


def column_part(name: str) -> str:
    """Return a survey's, model's or catalogue's name in the form used in column names."""
    return _NOT_IN_NAMES.sub("_", name).lower()


def model_columns(survey: str, model: str) -> tuple[Column, ...]:
    """Return the columns of one model: its probabilities (networks only) and its S/N."""
    tail = f"{column_part(survey)}_{column_part(model)}"
    if model == FILTER:
        text = f"Signal-to-noise ratio of the plain filter of {survey} at the object; NaN where "
        text += "its map has no value"
        return (Column(f"snr_{tail}", "float32", "", "stat.snr", text, "NaN"),)
    snr = Column(
        f"snr_{tail}", "float32", "", "stat.snr",
        f"Signal-to-noise ratio of its peak in the map of {model} on {survey}, above the "
        "map's own local noise; NaN where that map has no peak",
        "NaN",
    )  # fmt: skip
    prob = Column(
        f"prob_{tail}", "float32", "", "stat.probability",
        f"Probability that the network {model} on {survey} gives at the object; NaN where its map "
        "has no value",
        "NaN",
    )  # fmt: skip
    calibrated = Column(
        f"pcal_{tail}", "float32", "", "stat.probability",
        f"prob_{tail} calibrated alone, as prob is; NaN without enough examples to do so",
        "NaN",
    )  # fmt: skip
    return (prob, calibrated, snr)


def survey_columns(survey: str) -> tuple[Column, ...]:
    """Return the columns of one survey: means over its networks."""
    tail = column_part(survey)
    return (
        Column(
            f"prob_{tail}", "float32", "", "stat.probability",
            f"Mean of the probabilities that the networks on {survey} give (prob_{tail}_*)", "NaN",
        ),
        Column(
            f"pcal_{tail}", "float32", "", "stat.probability",
            f"Mean of these probabilities, each calibrated alone (pcal_{tail}_*)", "NaN",
        ),
    )  # fmt: skip


def known_columns(catalogue: str) -> tuple[Column, ...]:
    """Return the columns of the match with one known catalogue."""
    tail = column_part(catalogue)
    return (
        Column(
            f"{tail}_name", "str", "", "meta.id",
            f"Nearest match in the catalogue {catalogue}", "empty",
        ),
        Column(
            f"{tail}_sep_arcsec", "float32", "arcsec", "pos.angDistance",
            f"Separation of the object from {tail}_name", "NaN",
        ),
        Column(
            f"{tail}_p_chance", "float32", "", "stat.probability",
            f"Probability that an unrelated entry of {catalogue} lies as close", "NaN",
        ),
    )  # fmt: skip


def catalogue_columns(
    models: Iterable[tuple[str, str]] = (),
    known_catalogues: Sequence[str] = (),
    *,
    simulated: bool = False,
) -> tuple[Column, ...]:
    """Return the columns of a run's catalogue.

    Parameters
    ----------
    models : iterable of (survey, model)
        The run's networks and filters, in the order their columns take.
    known_catalogues : sequence of str
        Names of the known catalogues that candidates were matched with.
    simulated : bool
        True if the sky is simulated, so that the truth is known.

    Returns
    -------
    columns : tuple of Column
        Names are unique.

    Raises
    ------
    ValueError
        If two models or catalogues would share a column.
    """
    columns = [*POSITION, *SCORES]
    models = list(models)
    for survey in dict.fromkeys(s for s, model in models if model != FILTER):
        columns.extend(survey_columns(survey))
    for survey, model in models:
        columns.extend(model_columns(survey, model))
    columns.extend(SHAPE)
    columns.extend(IDENTITY)
    for catalogue in known_catalogues:
        columns.extend(known_columns(catalogue))
    if simulated:
        columns.extend(TRUTH)
    seen: set[str] = set()
    for column in columns:
        # Many readers (FITS, TOPCAT, SQL) do not tell upper from lower case.
        key = column.name.lower()
        if key in seen:
            raise ValueError(
                f"two columns of the catalogue would be called {column.name!r}; "
                "rename the survey, model or known catalogue that leads to the second"
            )
        seen.add(key)
    return tuple(columns)


#: Columns of the forced measurements: every known cluster and listed position.
LISTED = (
    Column(
        "list", "str", "", "meta.ref",
        "known: the united known catalogues; else a catalogue of the role 'reference'",
    ),
    Column("listed_name", "str", "", "meta.id", "Name in the list", "empty"),
    Column("ra_deg", "float64", "deg", "pos.eq.ra;meta.main", "Right ascension (ICRS)"),
    Column("dec_deg", "float64", "deg", "pos.eq.dec;meta.main", "Declination (ICRS)"),
    Column("z", "float32", "", "src.redshift", "Redshift that the list gives", "NaN"),
    Column(
        "m500c_msun", "float64", "solMass", "phys.mass",
        "Mass M500c (mean density 500 times the critical density) that the list gives", "NaN",
    ),
    Column("catalogues", "str", "", "meta.ref", "Catalogues that list it, ';' between", "empty"),
    Column(
        "split", "str", "", "meta.code",
        "Region of the sky by its use: train, validation or test", "empty",
    ),
    Column("searched", "int16", "", "meta.code", "1: a network's map has a value there, 0: none"),
    Column(
        "prob", "float64", "", "stat.probability",
        "Calibrated probability of an object with the networks' values there; NaN: not searched",
        "NaN",
    ),
)  # fmt: skip

DETECTED = (
    Column("object_name", "str", "", "meta.id", "The detected object's name in the catalogue",
           "empty"),
    Column("object_prob", "float64", "", "stat.probability", "That object's prob", "NaN"),
    Column(
        "object_sep_arcsec", "float32", "arcsec", "pos.angDistance", "Its separation", "NaN",
    ),
)  # fmt: skip


def forced_columns(models: Iterable[tuple[str, str]]) -> tuple[Column, ...]:
    """Return the columns of the forced measurements, with raw and calibrated network values."""
    networks = [m for m in models if m[1] != FILTER]
    values = [c for m in networks for c in model_columns(*m) if not c.name.startswith("snr_")]
    return (*LISTED, *values, *DETECTED)
