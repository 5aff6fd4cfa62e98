"""Draw docs/figures/simulation_*.png and print the numbers that docs/simulation.md shows.

``python resources/simulation/make_figures.py`` takes about a minute on one core. With
CLUSTERSCAN_DATA set, the ACT DR5 redshifts are drawn beside the simulated ones.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from PIL import Image

from clusterscan.config.simulation import KnownSettings, SimulationSettings
from clusterscan.core import sky
from clusterscan.simulate import galaxies, microwave_sky, stars
from clusterscan.simulate.canvas import Frame
from clusterscan.simulate.galaxies import field_galaxies_of_cell, members_of_cell
from clusterscan.simulate.infrared import pixel_noise, render_infrared
from clusterscan.simulate.microwave import render_microwave
from clusterscan.simulate.microwave_sky import gaussian_sky, sources_of_cell
from clusterscan.simulate.simulated_catalogues import known_richness, known_sz
from clusterscan.simulate.sky_cells import GENERATION_AREA_DEG2, Kind

FIGURES = Path(__file__).resolve().parents[2] / "docs" / "figures"
SEED = 1
SETTINGS = SimulationSettings(known=KnownSettings(sz_snr_min=4.0))
CELLS = range(20000, 20600)
AREA = len(CELLS) * GENERATION_AREA_DEG2
TILE, TILE_ORDER = 5000, 5


def main() -> None:
    """Draw both figures and print the numbers as JSON."""
    numbers = catalogue_numbers()
    numbers |= draw_infrared()
    numbers |= draw_microwave(numbers.pop("sz"))
    print(json.dumps(numbers, indent=1))


def catalogue_numbers() -> dict:
    """Return densities of the simulated catalogues [deg-2]."""
    sz = pd.concat([known_sz(c, SEED, SETTINGS) for c in CELLS], ignore_index=True)
    rich = pd.concat([known_richness(c, SEED, SETTINGS) for c in CELLS], ignore_index=True)
    complete = SETTINGS.known.richness_completeness
    bright = rich["richness"] > 20
    return {
        "sz": sz,
        "area_deg2": AREA,
        "sz_snr_above_4": (sz["snr"] > 4).sum() / AREA,
        "sz_snr_above_4.5": (sz["snr"] > 4.5).sum() / AREA,
        "sz_snr_above_5": (sz["snr"] > 5).sum() / AREA,
        "sz_z_mean": sz["z"].mean(),
        "richness_above_15": len(rich) / AREA,
        "richness_above_20_z0.1_0.33": (bright & rich["z"].between(0.1, 0.33)).sum()
        / AREA
        / complete,
        "richness_above_20_z0.2_0.6": (bright & rich["z"].between(0.2, 0.6)).sum()
        / AREA
        / complete,
    }


def draw_infrared() -> dict:
    """Draw a piece of a tile, the counts and the colours."""
    wcs, shape = sky.tile_frame(TILE, TILE_ORDER, 2.75, 10.0)
    start = time.perf_counter()
    image, mask = render_infrared(
        wcs, shape, seed=SEED, settings=SETTINGS, noise_key=(TILE_ORDER, TILE)
    )
    seconds = time.perf_counter() - start
    figure, axes = plt.subplots(1, 3, figsize=(13, 4.2), dpi=75)
    axes[0].imshow(
        np.arcsinh(image[0, 1000:1400, 400:800] / 10), cmap="gray", vmin=-0.5, vmax=4.5,
        origin="lower", extent=(0, 400 * 2.75 / 60, 0, 400 * 2.75 / 60),
    )  # fmt: skip
    axes[0].set(title="W1, simulated", xlabel="arcmin", ylabel="arcmin")
    total = draw_counts(axes[1])
    z = np.linspace(0.03, 2.2, 200)
    axes[2].plot(z, galaxies.mean_colour(z), label="W1 - W2 of members")
    axes[2].plot(z, (galaxies.characteristic_w1(z) - 15) / 4, label="(m*(W1) - 15) / 4")
    axes[2].plot([0.5], [(16.30 - 15) / 4], "ko", label="anchor (Andreon 2006)")
    axes[2].set(title="member galaxies", xlabel="redshift", ylim=(-0.8, 1.0))
    axes[2].legend(fontsize=8)
    save(figure, "simulation_infrared.png")
    sigma = pixel_noise(SETTINGS, 2.75)
    return {
        "infrared_seconds": seconds,
        "infrared_shape": list(image.shape),
        "infrared_pixel_noise_nanomaggies": sigma,
        "infrared_masked_part": float((mask > 0).mean()),
        "galaxies_below_17.9_per_deg2": total,
    }


def draw_counts(axis) -> float:
    """Draw drawn galaxies and modelled stars against published counts."""
    cells = range(20000, 20006)
    w1 = np.concatenate(
        [field_galaxies_of_cell(c, SEED, SETTINGS)[2] for c in cells]
        + [members_of_cell(c, SEED, SETTINGS.halos).w1_mag for c in cells]
    )
    edges = np.arange(12.0, 19.51, 0.5)
    counts = np.histogram(w1, edges)[0] / 0.5 / GENERATION_AREA_DEG2 / len(cells)
    middle = (edges[1:] + edges[:-1]) / 2
    axis.semilogy(middle, counts, "o", ms=4, label="galaxies drawn")
    axis.semilogy(middle, galaxies.published_counts(middle), "k-", lw=1, label="count curve used")
    for b, style in ((90, "-"), (45, "--"), (20, ":")):
        axis.semilogy(
            middle, stars.star_counts(90.0, b, middle), "C3" + style, label=f"stars, b = {b}"
        )
    axis.set(title="counts", xlabel="W1 (Vega mag)", ylabel="mag$^{-1}$ deg$^{-2}$")
    axis.legend(fontsize=8)
    return float((w1 < 17.9).sum() / GENERATION_AREA_DEG2 / len(cells))


def draw_microwave(sz: pd.DataFrame) -> dict:
    """Draw a tile, the CMB's spectrum and the redshifts of SZ detections."""
    wcs, shape = sky.tile_frame(TILE, TILE_ORDER, 30.0, 20.0)
    start = time.perf_counter()
    image = render_microwave(wcs, shape, seed=SEED, settings=SETTINGS, noise_key=(TILE_ORDER, TILE))
    seconds = time.perf_counter() - start
    figure, axes = plt.subplots(1, 3, figsize=(13, 4.2), dpi=75)
    axes[0].imshow(
        image[0], cmap="RdBu_r", vmin=-300, vmax=300, origin="lower",
        extent=(0, shape[1] / 120, 0, shape[0] / 120),
    )  # fmt: skip
    axes[0].set(title="f090, simulated (uK)", xlabel="deg", ylabel="deg")
    ratio = draw_spectrum(axes[1])
    draw_redshifts(axes[2], sz)
    save(figure, "simulation_microwave.png")
    cells = range(20000, 20100)
    flux = np.concatenate([sources_of_cell(c, SEED, SETTINGS.microwave)[2] for c in cells], axis=1)
    area = len(cells) * GENERATION_AREA_DEG2
    return {
        "microwave_seconds": seconds,
        "microwave_shape": list(image.shape),
        "cmb_power_ratio_l500_3000": ratio,
        "sources_above_6mJy_f150_per_deg2": float((flux[1] > 6e-3).sum() / area),
        "sources_above_20mJy_f220_per_deg2": float((flux[2] > 2e-2).sum() / area),
    }


def draw_spectrum(axis) -> float:
    """Draw the spectrum of six CMB patches against the input; return their mean ratio."""
    edges = np.arange(300, 3801, 100)
    found = []
    for pixel in (600, 9000, 20000, 30000, 41000, 45000):
        ra, dec = sky.cell_centres(np.array(pixel), 6)
        wcs, _ = sky.tile_frame(pixel, 6, 60.0, 150.0)
        wcs.wcs.crval = [float(ra), float(dec)]
        wcs.wcs.crpix = [180.5, 180.5]
        field = gaussian_sky(Frame(wcs, (360, 360), 0).pixel_vectors(), seed=SEED, kind=Kind.CMB)
        ell, cl = flat_spectrum(field)
        found.append(binned(ell, cl, edges))
    middle = (edges[1:] + edges[:-1]) / 2
    expected = binned(ell, microwave_sky.cmb_cl(ell), edges)
    factor = middle * (middle + 1) / (2 * np.pi)
    mean = np.mean(found, axis=0)
    axis.semilogy(middle, expected * factor, "k-", lw=1, label="CAMB, Planck 2018")
    axis.errorbar(
        middle, mean * factor, np.std(found, axis=0) * factor / np.sqrt(len(found)),
        fmt="o", ms=3, label="six patches of 6 deg",
    )  # fmt: skip
    axis.set(title="CMB", xlabel="multipole", ylabel="$D_l$ (uK$^2$)")
    axis.legend(fontsize=8)
    used = (middle > 500) & (middle < 3000)
    return float((mean / expected)[used].mean())


def flat_spectrum(field: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (multipole, C_l) of every mode of a 1 arcmin map behind a Hann window."""
    n = field.shape[0]
    window = np.outer(np.hanning(n), np.hanning(n))
    pixel = np.pi / 180 / 60
    modes = np.fft.fft2((field - field.mean()) * window)
    f = np.fft.fftfreq(n)
    ell = 2 * np.pi * np.hypot(f[:, None], f[None, :]) / pixel
    return ell, np.abs(modes) ** 2 * pixel**2 / (window**2).sum()


def binned(ell: np.ndarray, cl: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Return the l^2-weighted mean of C_l in bins, over l^2."""
    number, _ = np.histogram(ell, edges)
    total, _ = np.histogram(ell, edges, weights=cl * ell**2)
    middle = (edges[1:] + edges[:-1]) / 2
    return total / number / middle**2


def draw_redshifts(axis, sz: pd.DataFrame) -> None:
    """Draw the redshifts of SZ detections, with those of ACT DR5 where the file is there."""
    edges = np.arange(0.0, 1.81, 0.1)
    strong = sz["z"][sz["snr"] > 4]
    axis.hist(strong, edges, weights=np.full(len(strong), 1 / AREA), label="simulated, S/N > 4")
    root = os.environ.get("CLUSTERSCAN_DATA")
    if root:
        act = pd.read_csv(
            Path(root) / "clusters" / "act_dr5_masses.tsv", sep=";", comment="#", header=None
        )
        axis.hist(
            act[4], edges, weights=np.full(len(act), 1 / 13211), histtype="step", color="k",
            label="ACT DR5 (Hilton+2021)",
        )  # fmt: skip
    axis.set(title="SZ detections", xlabel="redshift", ylabel="deg$^{-2}$ per 0.1")
    axis.legend(fontsize=8)


def save(figure, name: str) -> None:
    """Write a figure small enough to ship."""
    FIGURES.mkdir(parents=True, exist_ok=True)
    figure.tight_layout()
    figure.canvas.draw()
    pixels = np.asarray(figure.canvas.buffer_rgba())[..., :3]
    plt.close(figure)
    Image.fromarray(pixels).quantize(48).save(FIGURES / name, optimize=True)


if __name__ == "__main__":
    main()
