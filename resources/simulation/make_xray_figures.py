"""Draw docs/figures/simulation_xray.png and print the numbers that docs/simulation.md shows.

``python resources/simulation/make_xray_figures.py`` takes about two minutes on one core.
"""

from __future__ import annotations

import json
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from astropy.wcs import WCS
from PIL import Image

from clusterscan.config.simulation import SimulationSettings
from clusterscan.core import sky
from clusterscan_studies.simulate import xray_sources
from clusterscan_studies.simulate.candidates import judged_candidates
from clusterscan_studies.simulate.optical import render_optical
from clusterscan_studies.simulate.optical_sources import (
    OpticalGalaxies,
    field_of_cell,
    members_seen_of_cell,
    stars_of_cell,
)
from clusterscan_studies.simulate.xray import render_xray
from clusterscan_studies.simulate.xray_sources import (
    AGN,
    CLUSTER,
    GALAXY,
    XraySources,
    sources_of_cell,
)

FIGURE = Path(__file__).resolve().parents[2] / "docs" / "figures" / "simulation_xray.png"
SEED = 1
SETTINGS = SimulationSettings()
TILES = [int(t) for c in (1105, 1107) for t in sky.descendants(c, 4, 6)]
CELLS = range(17680, 17720)
AREA = len(CELLS) * sky.cell_area_deg2(6)
SIDE_PX, SCALE_ARCSEC = 178, 2.4
COLUMNS = ("cluster", "cluster, z > 0.4", "nearby_galaxy", "blend", "artefact", "fluctuation")


def main() -> None:
    """Draw the figure and print the numbers as JSON."""
    candidates = judged_candidates(TILES, 6, seed=SEED, settings=SETTINGS)
    sources = XraySources.concatenate([sources_of_cell(c, SEED, SETTINGS) for c in CELLS])
    figure = plt.figure(figsize=(13, 8.0), dpi=75, layout="constrained")
    above, below = figure.subfigures(2, 1, height_ratios=(4.6, 3.4))
    axes = above.subplots(2, 6)
    for column, title in enumerate(COLUMNS):
        draw_candidate(axes[:, column], title, candidates)
    left, right = below.subplots(1, 2)
    draw_counts(left, sources)
    draw_optical_counts(right)
    figure.canvas.draw()
    pixels = np.asarray(figure.canvas.buffer_rgba())[..., :3]
    Image.fromarray(pixels).quantize(96).save(FIGURE, optimize=True)
    print(json.dumps(numbers(candidates, sources), indent=1))


def draw_candidate(axes, title: str, candidates: pd.DataFrame) -> None:
    """Draw one candidate of a class: photons above, g and r below."""
    rows = candidates[candidates["class"] == title.partition(",")[0]]
    if title == "cluster":
        rows = rows[rows["z"].between(0.1, 0.3)]
    elif "," in title:
        rows = rows[rows["z"] > 0.4]
    rows = rows.sort_values("counts", ascending=False)
    row = rows.iloc[len(rows) // 4]
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [row["ra_deg"], row["dec_deg"]]
    wcs.wcs.crpix = [(SIDE_PX + 1) / 2] * 2
    wcs.wcs.cdelt = [-SCALE_ARCSEC / 3600, SCALE_ARCSEC / 3600]
    shape = (SIDE_PX, SIDE_PX)
    photons, _ = render_xray(wcs, shape, seed=SEED, settings=SETTINGS)
    light, _ = render_optical(
        wcs, shape, bands=("g", "r", "i"), seed=SEED, settings=SETTINGS, noise_key=(0,)
    )
    axes[0].imshow(np.sqrt(photons[0]), cmap="inferno", origin="lower")
    stretch = [np.arcsinh(light[b] / s) / 4 for b, s in ((2, 1.5), (1, 1.0), (0, 0.5))]
    axes[1].imshow(np.clip(np.stack(stretch, -1), 0, 1), origin="lower")
    z = f", z = {row['z']:.2f}" if np.isfinite(row["z"]) else ""
    axes[0].set_title(f"{row['class']}{z}", fontsize=10)
    for axis in axes:
        axis.set(xticks=[], yticks=[])


def draw_counts(axis, sources: XraySources) -> None:
    """Draw sources above a flux."""
    flux = np.geomspace(1e-15, 1e-12, 60)
    for kind, label in ((AGN, "active galaxies"), (CLUSTER, "clusters"), (GALAXY, "galaxies")):
        above = [(sources.flux[sources.kind == kind] > f).sum() / AREA for f in flux]
        axis.loglog(flux, above, label=label)
    axis.loglog(flux, xray_sources.source_counts(flux), "k--", lw=1, label="Moretti et al. 2003")
    axis.plot([1.4e-13], [0.61], "ko", label="400 deg2 survey, clusters")
    axis.set(xlabel="flux, 0.5-2 keV [erg/s/cm2]", ylabel="sources above it [deg-2]")
    axis.legend(fontsize=8)


def draw_optical_counts(axis) -> None:
    """Draw galaxies and stars by r magnitude."""
    galaxies = OpticalGalaxies.concatenate(
        [f(c, SEED, SETTINGS) for c in CELLS[:12] for f in (field_of_cell, members_seen_of_cell)]
    )
    stars = np.concatenate([stars_of_cell(c, SEED, SETTINGS)[2][1] for c in CELLS[:12]])
    edges, area = np.arange(13.0, 22.1, 0.5), 12 * sky.cell_area_deg2(6)
    for r, label in ((galaxies.mag[1], "galaxies drawn"), (stars, "stars drawn")):
        axis.semilogy(edges[:-1] + 0.25, np.histogram(r, edges)[0] / 0.5 / area, label=label)
    axis.semilogy([16, 18, 20], [12, 120, 1100], "ko", label="SDSS galaxies (Yasuda et al. 2001)")
    axis.set(xlabel="r [AB mag]", ylabel="mag-1 deg-2")
    axis.legend(fontsize=8)


def numbers(candidates: pd.DataFrame, sources: XraySources) -> dict:
    """Return the rows of the page's table."""
    area = len(TILES) * sky.cell_area_deg2(6)
    expert = candidates["expert"] == 1
    pure = candidates["extent_likelihood"] > 33
    found = {
        f"sources_above_{flux:g}": {
            name: float((sources.flux[sources.kind == kind] > flux).sum() / AREA)
            for kind, name in ((AGN, "agn"), (CLUSTER, "clusters"), (GALAXY, "galaxies"))
        }
        for flux in (1e-14, 1e-13, 1.4e-13)
    }
    for label in ("volunteers_unweighted", "volunteers"):
        said = candidates[label] == 1
        found[label] = {
            "accuracy": float((said == expert).mean()),
            "precision": float((said & expert).sum() / said.sum()),
            "recall": float((said & expert).sum() / expert.sum()),
        }
    return {
        **found,
        "candidates_per_deg2": len(candidates) / area,
        "of_class_1_per_deg2": float(pure.sum() / area),
        "clusters_among_class_1": float(expert[pure].mean()),
        "clusters_among_class_2": float(expert[~pure].mean()),
        "classes": candidates["class"].value_counts().to_dict(),
        "median_redshift": float(candidates["z"].median()),
    }


if __name__ == "__main__":
    main()
