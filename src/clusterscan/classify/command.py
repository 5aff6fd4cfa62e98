"""The command ``clusterscan classify``: stamps or positions in, a table of probabilities out.

Every command of clusterscan loads the options below, so torch and pandas are imported only when
this one runs.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from clusterscan.core.display import bar, clock
from clusterscan.core.errors import ConfigError

if TYPE_CHECKING:
    import pandas as pd

    from clusterscan.classify.classifier import Classifier, Output, Row

_ONLY_STAMPS = ("pixel_scale", "bands", "extensions", "resample")
_ONLY_POSITIONS = ("columns", "surveys")


# --- options ----------------------------------------------------------------------------------


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options to a parser."""
    parser.add_argument("--model", type=Path, required=True, help="a trained model's folder")
    objects = parser.add_mutually_exclusive_group(required=True)
    objects.add_argument("--stamps", type=Path, help="folder or zip file of PNG, JPEG, FITS stamps")
    objects.add_argument(
        "--positions", type=Path, help="catalogue (csv, FITS, Parquet, VOTable) with ra and dec"
    )
    parser.add_argument("--output", type=Path, required=True, help="a .parquet or .csv file")
    stamps = parser.add_argument_group("stamps")
    stamps.add_argument("--pixel-scale", type=_positive, help="of stamps without a WCS [arcsec]")
    stamps.add_argument("--bands", help="names of their channels, as i,r,g (default: the model's)")
    stamps.add_argument("--extensions", help="FITS extensions, one a band, as SCI_I,SCI_R,SCI_G")
    stamps.add_argument(
        "--row-0", choices=("north", "south"), default="north", help="first row of a picture"
    )
    stamps.add_argument(
        "--resample", action="store_true", help="allow pixel sizes that do not divide the model's"
    )
    positions = parser.add_argument_group("positions")
    positions.add_argument(
        "--tiles", type=Path, default=Path("results"), help="a run's output folder (results)"
    )
    positions.add_argument(
        "--columns", help="the catalogue's columns, as ra_deg=RA,dec_deg=DE,id=N"
    )
    positions.add_argument("--surveys", help="surveys whose tiles are read (default: the model's)")
    positions.add_argument(
        "--min-valid-fraction", type=_fraction, default=0.7, help="of good pixels in a crop (0.7)"
    )
    how = parser.add_argument_group("how it runs")
    how.add_argument("--batch-size", type=_whole, default=64, help="images at a time (64)")
    how.add_argument("--device", default="auto", help="auto, cpu or cuda[:n]")
    how.add_argument("--threads", type=_whole, default=4, help="CPU threads of the network (4)")


def _positive(text: str) -> float:
    value = _number(text)
    if not (math.isfinite(value) and value > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return value


def _fraction(text: str) -> float:
    value = _number(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 1")
    return value


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")


def _whole(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


# --- the command -------------------------------------------------------------------------------


def run(args: argparse.Namespace) -> None:
    """Classify; end with exit code 1 and the reasons if nothing could be classified.

    Raises
    ------
    ClusterscanError
        If options, model, stamps, catalogue or tiles do not fit together.
    """
    from clusterscan.classify.classifier import OK, Classifier, check_output

    check_output(args.output)  # before any work is done
    useless = _ONLY_POSITIONS if args.stamps else _ONLY_STAMPS
    given = [f"--{name.replace('_', '-')}" for name in useless if getattr(args, name)]
    if given:
        kind = "--stamps" if args.stamps else "--positions"
        raise ConfigError(f"{', '.join(given)} means nothing with {kind}; leave it out")
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
    from clusterscan.classify.classifier import output
    from clusterscan.classify.stamps import StampReading, StampRows

    reading = StampReading(
        args.pixel_scale, _names(args.bands), _names(args.extensions), args.row_0, args.resample
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
    import pandas as pd

    from clusterscan.classify.classifier import output
    from clusterscan.classify.positions import PositionRows, ViewTiles, read_positions

    surveys = _names(args.surveys) or classifier.surveys
    if len(surveys) != len(classifier.views):
        raise ConfigError(
            f"--surveys names {len(surveys)}, but the model in {args.model} reads "
            f"{len(classifier.views)} ({', '.join(classifier.surveys)}); name one for each"
        )
    pairs = [part.partition("=") for part in _names(args.columns) or ()]
    if not all(ours and equals and theirs for ours, equals, theirs in pairs):
        raise ConfigError(f"--columns {args.columns!r}: write it as ra_deg=RA,dec_deg=DE")
    columns = {ours.strip(): theirs.strip() for ours, _, theirs in pairs}
    places = read_positions(args.positions, columns)
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
        # Positions are read tile by tile, and written in the order of the catalogue.
        table.add(pd.concat(done).sort_index())
    progress.close()
    return table


def _classified(rows: list[Row], classifier: Classifier) -> pd.DataFrame:
    from clusterscan.classify.classifier import OK, as_table

    probability = classifier.probabilities([row.images for row in rows if row.status == OK])
    return as_table(rows, probability, classifier.classes, classifier.surveys)


def _names(text: str | None) -> tuple[str, ...] | None:
    """Return the names in a comma-separated option."""
    if text is None:
        return None
    found = [part.strip() for part in text.split(",")]
    if not all(found) or len(set(found)) < len(found):
        raise ConfigError(f"{text!r} is not a list of different names; write them as i,r,g")
    return tuple(found)


def closing_text(path: Path, table: Output, seconds: float) -> str:
    """Return the command's closing message: counts, and an example of each fault."""
    from clusterscan.classify.classifier import OK, STATUSES

    total = sum(table.statuses.values())
    lines = [f"{path}: {table.statuses[OK]} of {total} classified in {clock(seconds)}"]
    for status, count in sorted(table.statuses.items()):
        if status != OK:
            lines.append(
                f"  {count} {status} ({STATUSES[status]}), the first: {table.reasons[status]}"
            )
    return "\n".join(lines)


class CountBar:
    """A progress bar on a terminal; silent in a log."""

    def __init__(self, total: int, stream: TextIO):
        self._total, self._stream, self._done = total, stream, 0
        self._started = self._last = time.monotonic()

    def add(self, count: int) -> None:
        """Report that ``count`` more are done."""
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
