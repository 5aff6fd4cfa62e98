"""Drive nemo, the microwave field's own cluster finder, on the raw tile images of a run.

Runs in nemo's environment (requirements.txt), not in clusterscan's:

    python run_nemo.py RESULTS --survey act --work /tmp/nemo --output nemo.json

nemo sees the *raw* maps, before clusterscan's high-pass, one tile at a time as our own filter does:
every tile has noise of its own, so tiles must not be joined. The tiles' pixels are laid side by
side, untouched, along the equator of one plate carree map, where pixels are square, and nemo's
tiling treats each by itself. Its positions go back to the sky through each tile's own WCS; of the
candidates in the overlaps of tiles, those in the tile that owns them stay.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import healpy as hp
import numpy as np
import yaml
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS

GAP_PX = 12  # empty pixels between tiles
#: Mass and redshift of the templates, the reference first: theta500 of 2.5, 1 and 4 arcmin, much
#: as the three scales of clusterscan's own filter.
SCALES = [(2e14, 0.4), (1e14, 1.2), (2e14, 0.2)]


def read_tiles(folder: Path) -> dict[int, tuple[np.ndarray, WCS]]:
    """Return the images (bands, ny, nx) [uK] and frames of all raw tiles below a folder."""
    tiles = {}
    for path in sorted(folder.rglob("Npix*.fits")):
        with fits.open(path) as hdus:
            planes = [hdu for hdu in hdus if hdu.header.get("NAXIS") == 2]
            image = np.stack([np.asarray(h.data, dtype=np.float32) for h in planes])
            tiles[int(hdus[0].header["TILE"])] = image, WCS(planes[0].header)
    if not tiles:
        sys.exit(f"no raw tile images below {folder}; give the folder of a finished run")
    return tiles


def lay_out(tiles: dict[int, tuple[np.ndarray, WCS]]) -> tuple[np.ndarray, np.ndarray, dict]:
    """Return a strip (bands, ny, nx), where it holds sky, and each tile's left border in it."""
    bands = next(iter(tiles.values()))[0].shape[0]
    height = max(image.shape[1] for image, _ in tiles.values()) + 2 * GAP_PX
    width = sum(image.shape[2] + GAP_PX for image, _ in tiles.values()) + GAP_PX
    strip, seen = np.zeros((bands, height, width), np.float32), np.zeros((height, width), bool)
    left, at = GAP_PX, {}
    for tile, (image, _) in tiles.items():
        ny, nx = image.shape[1:]
        strip[:, GAP_PX : GAP_PX + ny, left : left + nx] = image
        seen[GAP_PX : GAP_PX + ny, left : left + nx] = True
        at[tile] = left
        left += nx + GAP_PX
    return strip, seen, at


def strip_wcs(shape: tuple[int, int], scale_deg: float) -> WCS:
    """Return a plate carree frame along the equator, around RA 180 deg."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---CAR", "DEC--CAR"]
    wcs.wcs.cunit = ["deg", "deg"]
    wcs.wcs.crval = [180.0, 0.0]
    wcs.wcs.cdelt = [-scale_deg, scale_deg]
    wcs.wcs.crpix = [(shape[1] + 1) / 2, (shape[0] + 1) / 2]
    return wcs


def write_beam(path: Path, fwhm_arcmin: float) -> None:
    """Write a Gaussian beam as nemo reads it: degrees and response."""
    sigma = np.radians(fwhm_arcmin / 60) / np.sqrt(8 * np.log(2))
    away = np.linspace(0.0, 0.5, 1800)
    response = np.exp(-0.5 * (np.radians(away) / sigma) ** 2)
    header = f"solid angle = {2 * np.pi * sigma**2 * 1e9:.2f} nsr"
    np.savetxt(path, np.stack([away, response], axis=1), fmt="%.6f %.6e", header=header)


def label_of(mass: float, z: float) -> str:
    return f"Arnaud_M{mass / 1e14:.0f}e14_z{z:.1f}".replace(".", "p")


def nemo_settings(args: argparse.Namespace, tiles: dict, at: dict, wcs: WCS) -> dict:
    """Return nemo's configuration: that of its search of ACT DR6, for these maps.

    Point sources are found band by band at 5 sigma and subtracted; then clusters are searched
    twice, the second time with those above 5 sigma of the first out of the noise estimate. The
    search of DR6 also masks sources above 50 sigma in a pass of their own, which fails where
    there is none.
    """
    noise = {"method": "dataMap", "noiseGridArcmin": 40.0}
    sections = []
    for tile, (image, _) in tiles.items():
        ny, nx = image.shape[1:]
        x, y = at[tile] + np.array([0, nx]), GAP_PX + np.array([0, ny])
        ra, dec = wcs.pixel_to_world_values(x, y)
        section = [float(ra[0]), float(ra[1]), float(dec[0]), float(dec[1])]
        sections.append({"tileName": f"T{tile}", "RADecSection": section})
    bands = dict(zip(args.bands, zip(args.ghz, strict=True), strict=True))
    sources = {
        n: {"mapToUse": band, "thresholdSigma": 5.0, "objIdent": "S"}
        for n, band in enumerate(bands, start=1)
    }
    clusters = {"subtractModelFromSets": list(sources)}
    sets = {**sources, 10: {**clusters, "thresholdSigma": 5.0},
            11: {**clusters, "noiseModelCatalogFromSets": [10]}}  # fmt: skip
    templates = [
        {"label": label_of(m, z), "params": {"M500MSun": m, "z": z, "saveFilteredMaps": n == 0}}
        for n, (m, z) in enumerate(SCALES)
    ]
    return {
        "unfilteredMaps": [
            {"mapFileName": str(args.work / f"{band}.fits"), "label": band, "units": "uK",
             "weightsFileName": str(args.work / f"{band}_ivar.fits"), "obsFreqGHz": ghz,
             "beamFileName": str(args.work / f"beam_{band}.txt")}
            for band, (ghz,) in bands.items()
        ],
        "thresholdSigma": args.threshold, "minObjPix": 1, "findCenterOfMass": True,
        "optimalCatalogMethod": "ref-first", "useInterpolator": True, "rejectBorder": 0,
        "objIdent": "N", "longNames": True, "flagRings": True,
        "photFilter": label_of(*SCALES[0]), "fitQ": False, "selFnOptions": {"fixedSNRCut": 5.0},
        "filterSetOptions": sets,
        "allFilters": {
            "class": "ArnaudModelMatchedFilter", "filterSets": [11],
            "params": {"noiseParams": noise, "outputUnits": "yc", "edgeTrimArcmin": 0.0},
        },
        "mapFilters": [
            {"label": "Beam", "class": "BeamMatchedFilter", "filterSets": list(sources),
             "params": {"outputUnits": "uK", "noiseParams": noise}},
            {**templates[0], "filterSets": [10, 11]}, *templates[1:],
        ],
        "useTiling": True, "stitchTiles": True, "tileOverlapDeg": 0.0,
        "tileDefinitions": sections, "outputDir": str(args.work / "out"),
    }  # fmt: skip


def prepare(args: argparse.Namespace) -> tuple[dict, dict, WCS]:
    """Write maps, weights, beams and the configuration; return tiles, borders and the frame."""
    tiles = read_tiles(args.results / "raw" / args.survey)
    if args.tiles:
        tiles = {tile: tiles[tile] for tile in args.tiles}
    strip, seen, at = lay_out(tiles)
    scale_deg = args.pixel_arcmin / 60
    wcs = strip_wcs(seen.shape, scale_deg)
    args.work.mkdir(parents=True, exist_ok=True)
    for plane, band, fwhm, white in zip(
        strip, args.bands, args.beams_arcmin, args.noise_uk_arcmin, strict=True
    ):
        ivar = np.where(seen, (args.pixel_arcmin / white) ** 2, 0).astype(np.float32)
        fits.PrimaryHDU(plane, wcs.to_header()).writeto(args.work / f"{band}.fits", overwrite=True)
        weights = fits.PrimaryHDU(ivar, wcs.to_header())
        weights.writeto(args.work / f"{band}_ivar.fits", overwrite=True)
        write_beam(args.work / f"beam_{band}.txt", fwhm)
    settings = nemo_settings(args, tiles, at, wcs)
    (args.work / "nemo.yml").write_text(yaml.safe_dump(settings))
    return tiles, at, wcs


def on_the_sky(table: Table, tiles: dict, at: dict, wcs: WCS, order: int) -> list[dict]:
    """Return candidates at their true positions, those of the tile that owns them."""
    x, y = wcs.world_to_pixel_values(table["RADeg"], table["decDeg"])
    rows = []
    for tile, (image, frame) in tiles.items():
        ny, nx = image.shape[1:]
        own_x, own_y = x - at[tile], y - GAP_PX
        inside = (own_x > -0.5) & (own_x < nx - 0.5) & (own_y > -0.5) & (own_y < ny - 0.5)
        ra, dec = frame.pixel_to_world_values(own_x[inside], own_y[inside])
        owner = hp.ang2pix(2**order, ra, dec, nest=True, lonlat=True)
        for row, r, d, o in zip(table[inside], ra, dec, owner, strict=True):
            if int(o) == tile:
                rows.append(
                    {
                        "ra_deg": round(float(r), 7),
                        "dec_deg": round(float(d), 7),
                        "tile": tile,
                        "snr": float(row["SNR"]),
                        "fixed_snr": float(row["fixed_SNR"]),
                        "template": str(row["template"]),
                        # Where a point source was subtracted, and rings around bright ones.
                        "flags": int(row["flags"]) + int(row["ringFlag"]),
                    }
                )
    return sorted(rows, key=lambda row: (-row["snr"], row["ra_deg"]))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", type=Path, help="folder of a finished run")
    parser.add_argument("--survey", default="act")
    parser.add_argument(
        "--work", type=Path, required=True, help="folder for maps and nemo's output"
    )
    parser.add_argument("--output", type=Path, required=True, help="candidates and costs, JSON")
    parser.add_argument("--bands", nargs="+", default=["f090", "f150", "f220"])
    parser.add_argument("--ghz", nargs="+", type=float, default=[97.8, 149.6, 216.0])
    parser.add_argument("--beams-arcmin", nargs="+", type=float, default=[2.0, 1.4, 1.0])
    parser.add_argument("--noise-uk-arcmin", nargs="+", type=float, default=[30.0, 28.0, 90.0])
    parser.add_argument("--pixel-arcmin", type=float, default=0.5)
    parser.add_argument("--threshold", type=float, default=3.0, help="lowest S/N that is kept")
    parser.add_argument("--tile-order", type=int, default=5)
    parser.add_argument("--tiles", nargs="+", type=int, help="these tiles only")
    args = parser.parse_args()
    args.results, args.work = args.results.resolve(), args.work.resolve()
    return args


def main() -> None:
    """Make nemo's inputs, run it as a user would, and write its detections and its cost."""
    args = parse()
    tiles, at, wcs = prepare(args)
    command = [str(Path(sys.executable).parent / "nemo"), "nemo.yml"]
    started = time.monotonic()
    with (args.work / "nemo.log").open("w") as log:
        done = subprocess.run(command, cwd=args.work, stdout=log, stderr=subprocess.STDOUT)
    if done.returncode:
        sys.exit(f"nemo failed; see {args.work / 'nemo.log'}")
    wall = time.monotonic() - started
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    table = Table.read(args.work / "out" / "out_optimalCatalog.fits")
    report = {
        "finder": "nemo-sz 0.9.0", "tiles": sorted(tiles), "threshold": args.threshold,
        "scales": [label_of(*scale) for scale in SCALES],
        "wall_s": round(wall, 1), "cpu_s": round(used.ru_utime + used.ru_stime, 1),
        "peak_mib": round(used.ru_maxrss / 1024, 1),
        "candidates": on_the_sky(table, tiles, at, wcs, args.tile_order),
    }  # fmt: skip
    args.output.write_text(json.dumps(report, indent=1))
    print(f"{len(report['candidates'])} candidates on {len(tiles)} tiles, {report['cpu_s']} CPU s")


if __name__ == "__main__":
    main()
