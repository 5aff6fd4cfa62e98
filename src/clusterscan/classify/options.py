"""The options of ``clusterscan classify``; light, as every command loads them."""

from __future__ import annotations

import argparse
import math
from pathlib import Path


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
    stamps.add_argument(
        "--pixel-scale", type=_positive, help="of stamps that do not say it [arcsec]"
    )
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
        raise argparse.ArgumentTypeError(f"{text!r} is no number above 0")
    return value


def _fraction(text: str) -> float:
    value = _number(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 0 to 1")
    return value


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")


def _whole(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number above 0")
    return int(text)
