"""Compare ways to scan on a finished run's test region: engines, coarse to fine, map formats.

Reads the tile images and networks of a finished run, scans the cells of the test region in each
way, searches the maps, and matches the candidates with the truth by the run's own settings. Prints
completeness at equal purity with paired bootstrap intervals, one JSON object per line. The windowed
engine takes most of the time: minutes per network on one core. Maps are kept in `--work`, so a
stopped run continues where it was.

    python benchmarks/scan_completeness.py results --config config.yaml --work maps
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import expit

from clusterscan.catalogs.pairs import checked_vectors, one_to_one, pairs_within
from clusterscan.config.load import load_config
from clusterscan.config.model import FILTER, Config
from clusterscan.config.scan import ScanSettings
from clusterscan.core import sky
from clusterscan.detect.peaks import find_peaks, to_score
from clusterscan.formats.tables import read_table
from clusterscan.formats.tile_image import read_tile
from clusterscan.scan.scanners import network_scanner
from clusterscan.validate.recovery import compare, recovery

DENSE, WINDOWED, COARSE = "dense", "windowed", "coarse to fine"
FINER = "dense at step "  # px
LOGIT_SPAN = 14.0  # beyond it detection counts a probability as saturated
LOWER_PURITIES = (0.3, 0.5)  # a single network may not reach a higher one
Maps = dict[int, np.ndarray]


@dataclass(frozen=True)
class Run:
    """A finished run: its configuration, its folder, and the tiles of its test region."""

    config: Config
    folder: Path
    tiles: tuple[int, ...]

    @classmethod
    def of(cls, folder: Path, config_path: Path, count: int | None = None) -> Run:
        """Return the run in a folder, with the first few tiles of its test region or all."""
        config = load_config([config_path])
        regions = config.sky.regions
        if regions.kind != "cells" or regions.order != config.sky.tile_order:
            raise SystemExit("the test region must be whole tiles (regions.kind: cells)")
        return cls(config, folder, tuple(sorted(regions.test))[:count])

    def models(self) -> list[tuple[str, str]]:
        """Return (survey, model) of all networks."""
        return [pair for pair in self.config.scanned() if pair[1] != FILTER]

    def truth(self) -> pd.DataFrame:
        """Return the true clusters."""
        names = self.config.catalogue_names("truth")
        return pd.concat([read_table(self.folder / "catalogs" / f"{n}.parquet") for n in names])

    def settings(self, survey: str, way: str) -> ScanSettings:
        """Return the scan settings of a way for a survey."""
        own = self.config.surveys[survey].scan
        if way == DENSE:
            return own.model_copy(update={"engine": "dense", "coarse_step_px": None})
        if way == WINDOWED:
            return own.model_copy(update={"engine": "windowed", "coarse_step_px": None})
        if way == COARSE:
            return own.model_copy(update={"engine": "dense", "coarse_step_px": 64})  # the stride
        step = int(way.removeprefix(FINER))
        return own.model_copy(update={"engine": "dense", "step_px": step, "coarse_step_px": None})


def scanned(run: Run, survey: str, model: str, way: str, work: Path) -> tuple[Maps, float]:
    """Return the maps of a way and their processor time; maps that were kept are read."""
    card = run.folder / "models" / f"{survey}-{model}" / "model.json"
    scanner = None
    maps, seconds = {}, 0.0
    for tile in run.tiles:
        path = work / f"{survey}-{model}-{way.replace(' ', '-')}-{tile}.npz"
        if not path.exists():
            settings = run.settings(survey, way)
            scanner = scanner or network_scanner(card, settings)
            order = run.config.sky.tile_order
            image = read_tile(run.folder / "tiles" / survey / sky.shard_path(tile, order, ".fits"))
            place = image.to_pixel(*sky.map_pixels(tile, order, run.config.sky.map_order))
            started = time.process_time()
            values, _ = scanner(image, *place)
            np.savez(path, values=values, seconds=time.process_time() - started)
        kept = np.load(path)
        maps[tile] = kept["values"]
        seconds += float(kept["seconds"])
    return maps, seconds


def candidates(run: Run, maps: Maps) -> pd.DataFrame:
    """Return the candidates of the tiles' maps, by the run's own settings."""
    order, map_order = run.config.sky.tile_order, run.config.sky.map_order
    columns = [
        np.concatenate(part)
        for part in zip(
            *(
                (v, *sky.map_pixels(t, order, map_order), sky.descendants(t, order, map_order))
                for t, v in maps.items()
            ),
            strict=True,
        )
    ]
    owner = sky.ancestor(columns[3], map_order, order)
    found = [
        find_peaks(*columns, owner == tile, map_order=map_order, settings=run.config.detect)
        for tile in maps
    ]
    return pd.concat(found, ignore_index=True)


FORMATS: Mapping[str, tuple[int, Callable[[np.ndarray], np.ndarray]]] = {
    "float16": (2, lambda p: p.astype(np.float16).astype(np.float32)),
    "int16 of the probability": (2, lambda p: (np.round(p * 32767) / 32767).astype(np.float32)),
    "int16 of the logit": (2, lambda p: through_logit(p, 32767)),
    "uint8 of the logit": (1, lambda p: through_logit(p, 127)),
}


def through_logit(probability: np.ndarray, most: int) -> np.ndarray:
    """Return probabilities whose logits were rounded to whole numbers up to ``most``."""
    logit = to_score(probability, "probability")
    steps = np.round(np.clip(logit / LOGIT_SPAN, -1, 1) * most)
    return expit(steps / most * LOGIT_SPAN).astype(np.float32)


def compared(run: Run, tables: Mapping[str, pd.DataFrame]) -> list[dict[str, object]]:
    """Return completeness of all ways at the run's purities, each less the dense engine's."""
    how = run.config.validate_
    order, truth = run.config.sky.tile_order, run.truth().reset_index(drop=True)

    def in_region(ra_deg: np.ndarray, dec_deg: np.ndarray) -> np.ndarray:
        return np.isin(sky.owning_cell(ra_deg, dec_deg, order), run.tiles)

    judged = {n: recovery(t, truth, settings=how, in_region=in_region) for n, t in tables.items()}
    pairs = [(DENSE, name) for name in tables if name != DENSE]
    return [
        compare(
            judged,
            pairs,
            purity,
            cell_order=how.bootstrap_order,
            n_bootstrap=how.n_bootstrap,
            confidence=0.95,
            min_objects=how.min_objects,
            rng=np.random.default_rng([run.config.seed, number]),
        )
        for number, purity in enumerate(
            sorted({*LOWER_PURITIES, *how.purities, how.reference_purity})
        )
    ]


def changed(one: pd.DataFrame, other: pd.DataFrame, radius_arcmin: float) -> dict[str, float]:
    """Count the candidates of one list that the other lacks, and measure the shifts of the rest."""
    vectors = [checked_vectors(t["ra_deg"], t["dec_deg"], "candidates") for t in (one, other)]
    i, j, separation = pairs_within(*vectors, radius_arcmin)
    kept = one_to_one(i, j, separation)
    first, second = one.iloc[i[kept]], other.iloc[j[kept]]
    change = np.abs(first["value"].to_numpy() - second["value"].to_numpy())
    return {
        "candidates": len(one),
        "of_other": len(other),
        "lost": len(one) - len(first),
        "other_peak": int((first["ipix"].to_numpy() != second["ipix"].to_numpy()).sum()),
        "most_moved_arcsec": round(60 * float(separation[kept].max(initial=0.0)), 3),
        "most_changed_value": round(float(change.max(initial=0.0)), 6),
    }


def of_formats(run: Run, maps: Maps, table: pd.DataFrame) -> dict[str, object]:
    """Measure the effect of other number formats on disk on the maps and the candidates."""
    report: dict[str, object] = {}
    values = np.concatenate(list(maps.values()))
    for name, (size, form) in FORMATS.items():
        with np.errstate(invalid="ignore"):
            rounded = {tile: form(v) for tile, v in maps.items()}
            error = np.abs(np.concatenate(list(rounded.values())) - values)
            logits = [to_score(v, "probability") for v in (*rounded.values(), *maps.values())]
        of_logit = np.abs(np.concatenate(logits[: len(maps)]) - np.concatenate(logits[len(maps) :]))
        high = values >= run.config.detect.min_probability
        report[name] = {
            "bytes_per_pixel": size + 1,  # with the reason
            "most_wrong": float(np.nanmax(error)),
            "most_wrong_logit_above_threshold": round(float(np.max(of_logit[high])), 4),
            "candidates": changed(table, candidates(run, rounded), run.config.detect.radius_arcmin),
        }
    return report


def measure(run: Run, survey: str, model: str, ways: list[str], work: Path) -> None:
    """Print the lines of one network."""
    maps, seconds = {}, {}
    for way in ways:
        maps[way], seconds[way] = scanned(run, survey, model, way, work)
    tables = {way: candidates(run, found) for way, found in maps.items()}
    count = sum(np.isfinite(v).sum() for v in maps[DENSE].values())
    name = f"{survey}/{model}, {len(run.tiles)} test tiles, {count} map pixels"
    times = {way: round(s, 1) for way, s in seconds.items()}
    print(json.dumps({"measure": "scan.completeness", "case": name, "cpu_s": times,
                      "at_purity": compared(run, tables)}))  # fmt: skip
    radius = run.config.detect.radius_arcmin
    for way in ways[1:]:
        both = (np.concatenate(list(maps[w].values())) for w in (DENSE, way))
        logits = np.stack([to_score(v, "probability") for v in both])
        agreement = np.corrcoef(logits[:, np.isfinite(logits).all(axis=0)])[0, 1]
        print(json.dumps({"measure": "scan.candidates_kept", "case": name, "other": way,
                          "correlation_of_logits": round(float(agreement), 5),
                          **changed(tables[DENSE], tables[way], radius)}))  # fmt: skip
    formats = of_formats(run, maps[DENSE], tables[DENSE])
    print(json.dumps({"measure": "scan.formats", "case": name, "formats": formats}), flush=True)


def main() -> None:
    """Measure and print, network after network."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", type=Path, help="a finished run's folder")
    parser.add_argument("--config", type=Path, default=Path("config.yaml"))
    parser.add_argument("--only", nargs="*", help="networks, such as act/baseline")
    parser.add_argument(
        "--ways",
        nargs="*",
        default=[WINDOWED, COARSE],
        help="besides dense: windowed, 'coarse to fine', 'dense at step 2'",
    )
    parser.add_argument("--tiles", type=int, help="only the first few of the test region")
    parser.add_argument("--work", type=Path, help="keep maps here")
    args = parser.parse_args()
    run = Run.of(args.results, args.config, args.tiles)
    with tempfile.TemporaryDirectory() as folder:
        work = args.work or Path(folder)
        work.mkdir(parents=True, exist_ok=True)
        for survey, model in run.models():
            if not args.only or f"{survey}/{model}" in args.only:
                measure(run, survey, model, [DENSE, *args.ways], work)


if __name__ == "__main__":
    main()
