"""Unite all real known catalogues, and match ten million candidates with a million clusters.

Prints one JSON object per line. Needs no arguments and about five minutes on two cores; `--quick`
makes the matching a hundred times smaller. `unite_real` needs the reference data. LSDB is measured
too if it is installed, or if LSDB_PYTHON names an interpreter that has it.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from importlib.util import find_spec

import numpy as np
import pandas as pd

REAL = {
    "aactpol.csv.gz": "act_dr5",
    "act_dr5_masses.tsv": "act_dr5_masses",
    "psz2.csv.gz": "psz2_short",
    "HFI_PCCS_SZ-union_R2.08.fits": "psz2",
    "sdss_redmapper.csv.gz": "redmapper_sdss",
    "desY1a1.csv.gz": "redmapper_des_y1",
    "DESy3_redmapper.csv.gz": "redmapper_des",
    "sptsz.csv.gz": "spt_short",
    "sptecs.csv.gz": "spt_short",
    "sptpol100d.csv.gz": "spt_short",
    "spt3Gdeep.csv.gz": "spt_short",
    "SPT-SZ.fits": "spt",
    "SPT-ECS.fits": "spt",
    "mcxc.csv.gz": "mcxc_short",
    "mcxc.fits": "mcxc",
    "reflex.csv.gz": "reflex",
    "bcs.csv.gz": "bcs",
    "ebcs.csv.gz": "ebcs",
    "ciza.csv.gz": "ciza",
    "ciza2.csv.gz": "ciza",
    "camira_sdssdr8_v2_all.dat.gz": "camira_sdss",
    "camira_s23b_wide.tbl": "camira_hsc",
    "abell-all.fits": "abell",
    "ComPACT.csv": "compact",
    "ComPACT_v1.0.csv": "compact",
    "SZcatgen.csv.gz": "szcat",
}
RADIUS_ARCMIN = 1.0
MEMORY_GIB = 8.0


def conditions(**more: object) -> dict[str, object]:
    """Return the conditions of the measurement."""
    return {"cores": len(os.sched_getaffinity(0)), **more}


def peak_gib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2


def cpu_s() -> float:
    """Return CPU seconds of this process and its children: other work does not disturb them."""
    used = [resource.getrusage(w) for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def unite_real() -> None:
    """Read and unite every real cluster catalogue of the reference data."""
    from pydantic import TypeAdapter

    from clusterscan.catalogs.reading import read_catalogue
    from clusterscan.config.catalogs import CatalogueSettings
    from clusterscan.core.data_paths import data_root
    from clusterscan.known.unite import MatchRule, unite_known

    folder = data_root() / "clusters"
    if not folder.is_dir():
        print(f"catalogue.unite_real: not run, no {folder}", file=sys.stderr)
        return
    started = time.monotonic()
    tables = {}
    for number, (file, kind) in enumerate(REAL.items()):
        values = {"name": f"c{number}", "kind": kind, "path": str(folder / file)}
        settings = TypeAdapter(CatalogueSettings).validate_python(values)
        tables[f"c{number}"] = read_catalogue(settings).table
    read = time.monotonic() - started
    united = unite_known(tables, MatchRule(2.5, n_sigma=2.0))
    seconds = time.monotonic() - started
    rows = sum(map(len, tables.values()))
    report(
        "catalogue.unite_real",
        f"{len(tables)} catalogues, {rows} rows into {len(united)} clusters",
        {"value": round(seconds, 1), "limit": 60.0, "unit": "s"},
        reading_s=round(read, 1),
        peak_gib=round(peak_gib(), 2),
    )


def report(measure: str, case: str, figures: dict[str, object], **more: object) -> None:
    line = {"measure": measure, "case": case, **figures, "conditions": conditions(**more)}
    print(json.dumps(line), flush=True)


def skies(candidates: int, known: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return candidates and known clusters of a whole sky; two thirds of the known are found."""
    rng = np.random.default_rng(1)
    known_table = uniform(rng, known)
    found = rng.permutation(known)[: 2 * known // 3]
    others = uniform(rng, candidates - found.size)
    sigma = 0.25 / 60
    dec = np.clip(known_table["dec_deg"].to_numpy()[found], -89.9, 89.9)
    ra = known_table["ra_deg"].to_numpy()[found]
    ra = ra + rng.normal(0, sigma, found.size) / np.cos(np.radians(dec))
    near = pd.DataFrame({"ra_deg": ra % 360, "dec_deg": dec + rng.normal(0, sigma, found.size)})
    both = pd.concat([near, others], ignore_index=True)
    known_table["name"] = [f"K{n}" for n in range(known)]
    return both.iloc[rng.permutation(candidates)].reset_index(drop=True), known_table


def uniform(rng: np.random.Generator, count: int) -> pd.DataFrame:
    dec = np.degrees(np.arcsin(rng.uniform(-1, 1, count)))
    return pd.DataFrame({"ra_deg": rng.uniform(0, 360, count), "dec_deg": dec})


def ours(candidates: pd.DataFrame, known: pd.DataFrame) -> int:
    """Match one to one with chance probabilities; return how many nearest lie within."""
    from clusterscan.catalogs.matching import match_known

    return int((match_known(candidates, known, RADIUS_ARCMIN)["n_known"] > 0).sum())


def astropy(candidates: pd.DataFrame, known: pd.DataFrame) -> int:
    """Find the nearest known cluster of each candidate; return how many lie within."""
    from astropy.coordinates import SkyCoord

    first, second = (
        SkyCoord(t["ra_deg"].to_numpy(), t["dec_deg"].to_numpy(), unit="deg")
        for t in (candidates, known)
    )
    _, separation, _ = first.match_to_catalog_sky(second)
    return int((separation.arcmin <= RADIUS_ARCMIN).sum())


def lsdb(candidates: pd.DataFrame, known: pd.DataFrame) -> int:
    """Cross-match with LSDB from memory, with its margin; return the number of matches."""
    import lsdb as library

    catalogues = [
        library.from_dataframe(
            table, ra_column="ra_deg", dec_column="dec_deg", margin_threshold=2 * 60 * RADIUS_ARCMIN
        )
        for table in (candidates, known)
    ]
    found = catalogues[0].crossmatch(
        catalogues[1], radius_arcsec=60 * RADIUS_ARCMIN, n_neighbors=1, suffixes=("_a", "_b")
    )
    return len(found.compute())


MATCHERS = {"ours": ours, "astropy": astropy, "lsdb": lsdb}


def one(name: str, candidates: int, known: int) -> None:
    """Measure one matcher in this process: memory is its own, not another's."""
    tables = skies(candidates, known)
    MATCHERS[name](*skies(1000, 100))  # imports and compiles what it needs
    started, cpu = time.monotonic(), cpu_s()
    matched = MATCHERS[name](*tables)
    seconds, cpu = time.monotonic() - started, cpu_s() - cpu
    figures = {"matched": matched, "seconds": seconds, "cpu_s": cpu, "peak_gib": peak_gib()}
    print(json.dumps(figures))


def match(candidates: int, known: int) -> None:
    """Match side by side: each matcher in a process of its own, one after another."""
    found = {}
    for name in MATCHERS:
        python = os.environ.get("LSDB_PYTHON") if name == "lsdb" else None
        if python is None and name != "ours" and find_spec(name) is None:
            print(f"catalogue.match_1e7_1e6: {name} is not installed, not run", file=sys.stderr)
            continue
        command = [python or sys.executable, __file__, "--one", name, str(candidates), str(known)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            print(f"catalogue.match_1e7_1e6: {name} failed: {done.stderr[-500:]}", file=sys.stderr)
            continue
        found[name] = json.loads(done.stdout.splitlines()[-1])
    others = {name: value["seconds"] for name, value in found.items() if name != "ours"}
    fastest = min(others, key=lambda name: others[name])
    mine = found["ours"]
    case = f"{candidates:.0e} candidates, {known:.0e} known, {RADIUS_ARCMIN:g} arcmin"
    counts = {name: value["matched"] for name, value in found.items()}
    report(
        "catalogue.match_1e7_1e6",
        case,
        {
            "ours": round(mine["seconds"], 1),
            "other": round(others[fastest], 1),
            "unit": "s",
            "ratio": round(others[fastest] / mine["seconds"], 2),
            "goal": 1.0,
            "limit": 180.0,
        },
        other=fastest,
        all_seconds={name: round(value["seconds"], 1) for name, value in found.items()},
        all_cpu_s={name: round(value["cpu_s"], 1) for name, value in found.items()},
        load=round(os.getloadavg()[0], 1),
        matched=counts,
        not_run=[name for name in MATCHERS if name not in found],
    )
    report(
        "catalogue.match_1e7_1e6_memory",
        case,
        {"value": round(mine["peak_gib"], 2), "limit": MEMORY_GIB, "unit": "GiB"},
        all_gib={name: round(value["peak_gib"], 2) for name, value in found.items()},
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="match a hundred times fewer")
    parser.add_argument("--full", action="store_true", help="nothing more here")
    parser.add_argument("--one", nargs=3, metavar=("MATCHER", "CANDIDATES", "KNOWN"))
    chosen = parser.parse_args()
    if chosen.one:
        name, candidates, known = chosen.one
        one(name, int(candidates), int(known))
        return
    scale = 100 if chosen.quick else 1
    match(10_000_000 // scale, 1_000_000 // scale)
    unite_real()


if __name__ == "__main__":
    main()
