"""The command ``clusterscan classify``: stamps or positions in, a table of probabilities out."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import TextIO

import pandas as pd

from clusterscan.classify.classifier import Classifier
from clusterscan.classify.positions import PositionRows, read_positions
from clusterscan.classify.rows import OK, STATUSES, Output, Row, as_table, check_output, output
from clusterscan.classify.stamps import StampReading, StampRows, names
from clusterscan.classify.tiles import ViewTiles
from clusterscan.core.display import bar, clock
from clusterscan.core.errors import ConfigError

_ONLY_STAMPS = ("pixel_scale", "bands", "extensions", "resample")
_ONLY_POSITIONS = ("columns", "surveys")


def run(args: argparse.Namespace) -> None:
    """Classify; end with exit code 1 and the reasons where nothing could be classified.

    Raises
    ------
    ClusterscanError
        If options, model, stamps, catalogue or tiles do not fit together.
    """
    check_output(args.output)
    _refuse_idle_options(args)
    classifier = Classifier(args.model, args.device, args.threads)
    started = time.monotonic()
    work = _classify_stamps if args.stamps else _classify_positions
    table = work(args, classifier)
    print(closing_text(args.output, table, time.monotonic() - started))
    if not table.statuses[OK]:
        sys.exit(
            f"clusterscan classify: none of {sum(table.statuses.values())} could be classified"
        )


def _classify_stamps(args: argparse.Namespace, classifier: Classifier) -> Output:
    reading = StampReading(
        args.pixel_scale, names(args.bands), names(args.extensions), args.row_0, args.resample
    )
    rows = StampRows(args.stamps, classifier.card, classifier.sizes_px[0], reading)
    progress = CountBar(len(rows), sys.stderr)
    with output(args.output, classifier.about() | {"stamps": str(args.stamps)}) as table:
        for chunk in rows.chunks(args.batch_size, args.threads):
            table.add(_classified(chunk, classifier))
            progress.add(len(chunk))
    progress.close()
    return table


def _classify_positions(args: argparse.Namespace, classifier: Classifier) -> Output:
    surveys = names(args.surveys) or classifier.surveys
    if len(surveys) != len(classifier.views):
        raise ConfigError(
            f"--surveys names {len(surveys)}, but the model in {args.model} reads "
            f"{len(classifier.views)} ({', '.join(classifier.surveys)}); name one for each"
        )
    places = read_positions(args.positions, _pairs(args.columns))
    views = [
        ViewTiles(args.tiles, classifier.card, index, size, args.min_valid_fraction, survey)
        for index, (size, survey) in enumerate(zip(classifier.sizes_px, surveys, strict=True))
    ]
    rows = PositionRows(places, views)
    progress = CountBar(len(rows), sys.stderr)
    about = classifier.about() | {"positions": str(args.positions), "tiles": str(args.tiles)}
    with output(args.output, about) as table:
        done = []
        for numbers, chunk in rows.chunks(args.batch_size):
            done.append(_classified(chunk, classifier).set_index(numbers))
            progress.add(len(chunk))
        table.add(pd.concat(done).sort_index())  # as in the catalogue
    progress.close()
    return table


def _classified(rows: list[Row], classifier: Classifier) -> pd.DataFrame:
    probability = classifier.probabilities([row.images for row in rows if row.status == OK])
    return as_table(rows, probability, classifier.classes, classifier.surveys)


def closing_text(path: Path, table: Output, seconds: float) -> str:
    """Return what the command says at its end: counts, and an example of each fault."""
    total = sum(table.statuses.values())
    lines = [f"{path}: {table.statuses[OK]} of {total} classified in {clock(seconds)}"]
    for status, count in sorted(table.statuses.items()):
        if status != OK:
            lines.append(
                f"  {count} {status} ({STATUSES[status]}), the first: {table.reasons[status]}"
            )
    return "\n".join(lines)


class CountBar:
    """A bar on a terminal; silent in a log."""

    def __init__(self, total: int, stream: TextIO):
        self._total, self._stream, self._done = total, stream, 0
        self._started = self._last = time.monotonic()

    def add(self, count: int) -> None:
        """Say that so many more are done."""
        self._done += count
        now = time.monotonic()
        if self._stream.isatty() and (now - self._last > 0.2 or self._done == self._total):
            self._last = now
            rate = self._done / max(now - self._started, 1e-9)
            left = clock((self._total - self._done) / rate) if rate else "?"
            text = (
                f"{bar(self._done, self._total)} {self._done}/{self._total}, {rate:.0f}/s, {left}"
            )
            self._stream.write(f"\r\033[K{text} left")
            self._stream.flush()

    def close(self) -> None:
        """Remove the bar."""
        if self._stream.isatty():
            self._stream.write("\r\033[K")
            self._stream.flush()


def _refuse_idle_options(args: argparse.Namespace) -> None:
    idle = _ONLY_POSITIONS if args.stamps else _ONLY_STAMPS
    given = [f"--{name.replace('_', '-')}" for name in idle if getattr(args, name)]
    if given:
        kind = "--stamps" if args.stamps else "--positions"
        raise ConfigError(f"{', '.join(given)} means nothing with {kind}; leave it out")


def _pairs(text: str | None) -> dict[str, str]:
    pairs = [part.partition("=") for part in names(text) or ()]
    if not all(ours and equals and theirs for ours, equals, theirs in pairs):
        raise ConfigError(f"--columns {text!r}: write it as ra_deg=RA,dec_deg=DE")
    return {ours.strip(): theirs.strip() for ours, _, theirs in pairs}
