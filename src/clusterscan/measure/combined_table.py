"""The combined table: experiments x surveys x seeds, mean and scatter, beside published values.

A run is one trained network, measured on one survey with one seed. Runs of the same experiment,
survey and network form one row: the mean over seeds, their sample standard deviation (what
another training would change), and the interval from the bootstrap (what other test objects
would change).

As text (Markdown, HTML) a measure is written as mean ± standard deviation over seeds, with the
68 % bootstrap interval in brackets; beside it the published value and the difference.
"""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from clusterscan.core.atomic import atomic_path
from clusterscan.core.errors import ProductError
from clusterscan.formats.tables import write_table

#: Heading of each measure's columns.
TITLES = {
    "accuracy": "Accuracy",
    "balanced_accuracy": "Balanced accuracy",
    "precision": "Precision",
    "recall": "Recall",
    "f1": "F1",
    "f_beta": "F-beta",
    "fall_out": "Fall-out",
    "macro_precision": "Precision, macro",
    "macro_recall": "Recall, macro",
    "macro_f1": "F1, macro",
    "macro_f_beta": "F-beta, macro",
    "macro_fall_out": "Fall-out, macro",
    "roc_auc": "ROC area",
    "average_precision": "Average precision",
    "macro_roc_auc": "ROC area, macro",
    "macro_average_precision": "Average precision, macro",
    "brier": "Brier score",
    "ece": "Calibration error",
}
DEFAULT_MEASURES = ("accuracy", "precision", "recall", "f1", "roc_auc", "average_precision")
KEYS = ("experiment", "survey", "network")

Figure = float | Sequence[float]


@dataclass(frozen=True)
class Run:
    """One trained network and its measures.

    Attributes
    ----------
    experiment : str
        Key of the experiment.
    metrics : mapping
        From `clusterscan.measure.scores.classification_metrics`.
    seed : int
    survey, network : str
        Given if the experiment covers several.
    title : str
        Title of the experiment for display; the key if empty.
    published : mapping of str to float or (float, float)
        Published value, or value and standard deviation, by measure. Equal for all seeds.
    facts : mapping
        Further columns, such as parameters or seconds; those of the first run are shown.
    """

    experiment: str
    metrics: Mapping[str, Any]
    seed: int = 0
    survey: str = ""
    network: str = ""
    title: str = ""
    published: Mapping[str, Figure] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)


def runs_table(runs: Sequence[Run], measures: Sequence[str] = tuple(TITLES)) -> pd.DataFrame:
    """Return a table with one row per run.

    Parameters
    ----------
    runs : sequence of Run
    measures : sequence of str
        Columns to include; those that no run has are left out.

    Returns
    -------
    DataFrame
        experiment, title, survey, network, seed, examples, objects, then for each measure its
        value, <measure>_low and <measure>_high (68 %), NaN if undefined, and the facts.

    Raises
    ------
    ProductError
        If two runs have the same experiment, survey, network and seed.
    """
    rows = []
    for run in runs:
        row: dict[str, Any] = {
            "experiment": run.experiment,
            "title": run.title or run.experiment,
            "survey": run.survey,
            "network": run.network,
            "seed": run.seed,
            "examples": int(run.metrics.get("examples", 0)),
            "objects": int(run.metrics.get("objects", run.metrics.get("examples", 0))),
        }
        for name in measures:
            value, low, high = value_and_interval(run.metrics, name)
            row |= {name: value, f"{name}_low": low, f"{name}_high": high}
        rows.append(row | dict(run.facts))
    table = pd.DataFrame(rows, columns=None if rows else [*KEYS, "title", "seed"])
    twice = table.duplicated([*KEYS, "seed"])
    if twice.any():
        raise ProductError(
            f"combined table: {table[twice].iloc[0][[*KEYS, 'seed']].to_dict()} occurs "
            "twice; give each training its own seed"
        )
    empty = [m for m in measures if m in table and table[m].isna().all()]
    return table.drop(columns=[c for m in empty for c in (m, f"{m}_low", f"{m}_high")])


def combined_table(runs: Sequence[Run], measures: Sequence[str] = DEFAULT_MEASURES) -> pd.DataFrame:
    """Return a table with one row per experiment, survey and network, in the order of the runs.

    Parameters
    ----------
    runs : sequence of Run
    measures : sequence of str
        Columns to include.

    Returns
    -------
    DataFrame
        experiment, title, survey, network, seeds (their number), examples and objects (of one
        seed), then for each measure: <measure> (mean over seeds), _std (sample standard
        deviation, NaN for one seed), _low and _high (68 % interval of the mean from the
        bootstrap), and if anything was published _published, _published_std and _difference
        (ours - published); the facts of the first run.

    Notes
    -----
    All seeds are tested on the same objects, so their sampling errors are the same and do not
    shrink with the number of seeds: distances of the interval's ends from the value are
    averaged in quadrature over seeds.
    """
    every = runs_table(runs, measures)
    published = {(r.experiment, r.survey, r.network): r.published for r in reversed(list(runs))}
    shown = [m for m in measures if any(m in p for p in published.values())]
    rows = []
    for key, group in every.groupby(list(KEYS), sort=False) if len(every) else ():
        first = group.iloc[0]
        row: dict[str, Any] = {
            **{name: first[name] for name in ("experiment", "title", "survey", "network")},
            "seeds": len(group),
            "examples": first["examples"],
            "objects": first["objects"],
        }
        for name in measures:
            row |= _over_seeds(name, group)
            if name in shown:
                row |= _beside(name, row[name], published[key].get(name))  # type: ignore[index]
        names = [str(c) for c in group.columns]
        facts = [c for c in names if c not in row and not _is_measure(c, measures) and c != "seed"]
        rows.append(row | {c: first[c] for c in facts})
    return pd.DataFrame(rows, columns=None if rows else [*KEYS, "title", "seeds"])


def write_combined_table(
    folder: Path,
    runs: Sequence[Run],
    measures: Sequence[str] = DEFAULT_MEASURES,
    *,
    name: str = "table",
    caption: str = "",
) -> pd.DataFrame:
    """Write the combined table as Parquet, CSV, Markdown and HTML, and every run beside it.

    Parameters
    ----------
    folder : Path
        Gets <name>.parquet, .csv, .md, .html and <name>_runs.parquet, .csv; each atomically.
    runs, measures
        As for `combined_table`; the table of runs has all measures.
    name : str
        Stem of the file names.
    caption : str
        Caption in Markdown and HTML, e.g. that the sky is simulated.

    Returns
    -------
    DataFrame
        The combined table.
    """
    table = combined_table(runs, measures)
    for stem, frame in ((name, table), (f"{name}_runs", runs_table(runs))):
        write_table(folder / f"{stem}.parquet", frame)
        _write(folder / f"{stem}.csv", frame.to_csv(index=False, float_format="%.6g"))
    _write(folder / f"{name}.md", to_markdown(table, measures, caption=caption))
    _write(folder / f"{name}.html", to_html(table, measures, caption=caption))
    return table


def value_and_interval(metrics: Mapping[str, Any], name: str) -> tuple[float, float, float]:
    """Return a measure with its interval, NaN if there is none.

    Parameters
    ----------
    metrics : mapping
        Plain numbers with ``intervals`` (a metrics.json), or {value, low, high} by name.
    name : str
        The measure.
    """
    entry = metrics.get(name)
    if isinstance(entry, Mapping):
        return _number(entry.get("value")), _number(entry.get("low")), _number(entry.get("high"))
    low, high = (metrics.get("intervals") or {}).get(name, (None, None))
    return _number(entry), _number(low), _number(high)


def _over_seeds(name: str, group: pd.DataFrame) -> dict[str, float]:
    """Return the mean, the scatter and the interval of a measure over seeds."""
    if name not in group:
        return {name: np.nan, f"{name}_std": np.nan, f"{name}_low": np.nan, f"{name}_high": np.nan}
    value = group[name].to_numpy(dtype=float)
    known = np.isfinite(value)
    mean = float(value[known].mean()) if known.any() else np.nan
    ends = {}
    for end, sign in (("low", -1), ("high", 1)):
        distance = group[f"{name}_{end}"].to_numpy(dtype=float) - value
        distance = distance[np.isfinite(distance)]
        rms = np.sqrt(np.mean(np.maximum(sign * distance, 0) ** 2)) if distance.size else np.nan
        ends[f"{name}_{end}"] = float(mean + sign * rms)
    std = float(value[known].std(ddof=1)) if known.sum() > 1 else np.nan
    return {name: mean, f"{name}_std": std, **ends}


def _beside(name: str, ours: float, published: Figure | None) -> dict[str, float]:
    values = [np.nan] if published is None else np.atleast_1d(np.asarray(published, dtype=float))
    return {
        f"{name}_published": float(values[0]),
        f"{name}_published_std": float(values[1]) if len(values) > 1 else np.nan,
        f"{name}_difference": float(ours - values[0]),
    }


def _is_measure(column: str, measures: Sequence[str]) -> bool:
    return any(column in (m, f"{m}_low", f"{m}_high") for m in measures)


def _number(value: Any) -> float:
    return np.nan if value is None else float(value)


def _write(path: Path, text: str) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


DASH = "–"
LEGEND = (
    "Mean ± standard deviation over seeds; in brackets the 68 % interval from a bootstrap over "
    "test objects. Δ: ours − published."
)


def cells(
    table: pd.DataFrame, measures: Sequence[str], *, digits: int = 3
) -> tuple[list[str], list[list[str]]]:
    """Return the table's header and rows as text.

    Parameters
    ----------
    table : DataFrame
        From `combined_table`.
    measures : sequence of str
        Measures to show, in this order.
    digits : int
        Digits after the decimal point.

    Returns
    -------
    header : list of str
    rows : list of list of str
        Survey and network only if any row has one; published columns only for measures of
        which something was published.
    """
    named = [("title", "Experiment"), ("survey", "Survey"), ("network", "Network")]
    named = [(c, t) for c, t in named if c in table and (table[c].astype(str) != "").any()]
    header = [t for _, t in named] + ["Seeds", "Objects"]
    for m in measures:
        header.append(TITLES.get(m, m))
        if f"{m}_published" in table:
            header += ["published", "Δ"]
    rows = []
    for row in table.to_dict("records"):
        line = [str(row[c]) for c, _ in named] + [str(row["seeds"]), f"{row['objects']:,}"]
        for m in measures:
            ends = (row.get(f"{m}_low"), row.get(f"{m}_high"))
            line.append(figure(row.get(m), row.get(f"{m}_std"), ends, digits=digits))
            if f"{m}_published" in row:
                line.append(figure(row[f"{m}_published"], row[f"{m}_published_std"], digits=digits))
                line.append(difference(row[f"{m}_difference"], digits=digits))
        rows.append(line)
    return header, rows


def figure(
    value: float | None,
    std: float | None = None,
    ends: tuple[float | None, float | None] = (None, None),
    *,
    digits: int = 3,
) -> str:
    """Format "0.912 ± 0.011 [0.901, 0.923]" without unknown parts, or a dash if all are unknown."""
    if not _known(value):
        return DASH
    text = f"{value:.{digits}f}"
    if _known(std):
        text += f" ± {std:.{digits}f}"
    if _known(ends[0]) and _known(ends[1]):
        text += f" [{ends[0]:.{digits}f}, {ends[1]:.{digits}f}]"
    return text


def difference(value: float | None, *, digits: int = 3) -> str:
    """Format "+0.012", "−0.003", or a dash."""
    if not _known(value):
        return DASH
    return f"{value:+.{digits}f}".replace("-", "−")


def to_markdown(table: pd.DataFrame, measures: Sequence[str], *, caption: str = "") -> str:
    """Return the table in Markdown (pipe table) with its legend."""
    header, rows = cells(table, measures)
    left = _text_columns(header)
    lines = [
        _pipes(header),
        _pipes(["---" if k < left else "---:" for k in range(len(header))]),
        *(_pipes(row) for row in rows),
    ]
    above = f"{caption}\n\n" if caption else ""
    return above + "\n".join(lines) + f"\n\n{LEGEND}\n"


def to_html(table: pd.DataFrame, measures: Sequence[str], *, caption: str = "") -> str:
    """Return the table as an HTML fragment for the style sheet of a report."""
    header, rows = cells(table, measures)
    left = _text_columns(header)

    def line(tag: str, values: Sequence[str]) -> str:
        marks = [' class="text"' if k < left else "" for k in range(len(values))]
        scope = ' scope="col"' if tag == "th" else ""
        return "".join(
            f"<{tag}{scope}{mark}>{html.escape(value)}</{tag}>"
            for mark, value in zip(marks, values, strict=True)
        )

    body = "\n".join(f"<tr>{line('td', row)}</tr>" for row in rows)
    text = " ".join(part for part in (caption, LEGEND) if part)
    return (
        '<table class="numeric combined">\n'
        f"<caption>{html.escape(text)}</caption>\n"
        f"<thead><tr>{line('th', header)}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>\n"
    )


def _text_columns(header: Sequence[str]) -> int:
    return header.index("Seeds")


def _pipes(values: Sequence[str]) -> str:
    escaped = (v.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ") for v in values)
    return f"| {' | '.join(escaped)} |"


def _known(value: float | None) -> bool:
    return value is not None and math.isfinite(value)
