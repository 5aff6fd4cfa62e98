"""A made-up run for the publication tests: maps, images, models, validation."""

import json

import numpy as np
import pandas as pd
import pytest

from clusterscan.core import sky
from clusterscan.formats.catalogue_columns import catalogue_columns
from clusterscan.formats.map_tile import tile_path, write_map_tile
from clusterscan.formats.tile_image import TileImage, write_tile
from clusterscan.publish.catalogue import build_catalogue
from clusterscan.publish.release import Release
from clusterscan.publish.report_inputs import ReportInputs

MODELS = [("unwise", "resnet18"), ("act", "resnet18"), ("act", "filter")]
NASTY = ['<script>alert("x")</script>', "'; DROP TABLE--", "a & b", "Abell 1656 ☃é", "two\nlines"]


def made_up_objects(n=40, seed=1):
    """Return merged objects with names that try to break out of every format."""
    rng = np.random.default_rng(seed)
    known = np.arange(n) % 3 == 0
    prob = rng.uniform(0.1, 1, n).round(1)  # rounded: ties are sorted by name
    table = pd.DataFrame(
        {
            "ra_deg": rng.uniform(0, 360, n),
            "dec_deg": rng.uniform(-60, 60, n),
            "pos_err_arcsec": rng.uniform(5, 30, n),
            "prob": prob,
            "n_models": rng.integers(1, 4, n),
            "n_surveys": rng.integers(1, 3, n),
            "prob_scatter": rng.uniform(0, 0.2, n),
            "prob_unwise_resnet18": np.where(rng.random(n) < 0.2, np.nan, prob),
            "snr_act_filter": rng.uniform(3, 12, n),
            "snr_peak": rng.uniform(3, 12, n),
            "area_pix": np.where(rng.random(n) < 0.1, np.nan, rng.integers(1, 90, n)),
            "flags": rng.integers(0, 16, n),
            "split": rng.choice(["train", "validation", "test"], n),
            "class": np.where(known, "known", "new"),
            "known_name": np.where(known, [NASTY[i % len(NASTY)] for i in range(n)], None),
            "known_catalogue": np.where(known, "SZ", ""),
            "known_sep_arcsec": np.where(known, rng.uniform(0, 90, n), np.nan),
            "z": np.where(known, rng.uniform(0.1, 1, n), np.nan),
            "m500c_msun": np.where(known, rng.uniform(1e14, 1e15, n), np.nan),
            "sz_name": np.where(known, "SZ 1", ""),
            "unlisted": 1,
        }
    )
    return table


@pytest.fixture
def objects():
    return made_up_objects()


@pytest.fixture
def columns():
    return catalogue_columns(MODELS, ["SZ"], simulated=True)


@pytest.fixture
def release():
    return Release("0.1.0", "default", 7, 33.57, True)


@pytest.fixture
def catalogue(objects, columns):
    return build_catalogue(objects, columns, tile_order=5)


@pytest.fixture(scope="module")
def objects_module():
    return made_up_objects()


@pytest.fixture(scope="module")
def columns_module():
    return catalogue_columns(MODELS, ["SZ"], simulated=True)


@pytest.fixture(scope="module")
def release_module():
    return Release("0.1.0", "default", 7, 33.57, True)


# --- a whole run ---------------------------------------------------------------------------------

SURVEYS = {
    "unwise": {"bands": ("W1", "W2"), "unit": "nanomaggy (Vega)", "scale": 16.5},
    "act": {"bands": ("f090", "f150", "f220"), "unit": "uK_CMB", "scale": 60.0},
}
RUN_MODELS = [
    ("unwise", "resnet18"), ("unwise", "filter"), ("act", "resnet18"), ("act", "filter"),
]  # fmt: skip


def made_up_clusters(tiles, n, rng):
    """Return clusters with positions inside the tiles, redshifts and masses."""
    cell = rng.choice(tiles, n) * 4**7 + rng.integers(0, 4**7, n)
    ra, dec = sky.cell_centres(cell, 12)
    names = np.array([f"SIM {k} <b>&" for k in range(n)], dtype=object)
    z, mass = rng.uniform(0.1, 1.2, n), 1e14 * (1 + rng.exponential(1.0, n))
    return pd.DataFrame({"name": names, "ra_deg": ra, "dec_deg": dec, "z": z, "m500c_msun": mass})


def bumps(ra, dec, clusters, width_arcmin, height):
    """Return a sum of Gaussian bumps at clusters."""
    total = np.zeros(len(ra))
    for (_, row), h in zip(clusters.iterrows(), height, strict=True):
        near = np.abs(dec - row.dec_deg) * 60 < 5 * width_arcmin
        r = 60 * sky.separation_deg(ra[near], dec[near], row.ra_deg, row.dec_deg)
        total[near] += h * np.exp(-0.5 * (r / width_arcmin) ** 2)
    return total


def write_maps(root, tiles, clusters, strength, rng):
    for survey, model in RUN_MODELS:
        for tile in tiles:
            ra, dec = sky.map_pixels(int(tile), 5, 12)
            noise = rng.normal(0, 1, ra.size)
            signal = bumps(ra, dec, clusters, 1.5, strength)
            if model == "filter":
                values = signal + noise
            else:
                values = 1 / (1 + np.exp(5 - 1.3 * signal - noise))
            reason = np.where(rng.random(ra.size) < 0.002, 2, 0).astype(np.uint8)
            values = np.where(reason == 0, values, np.nan)
            folder = root / "maps" / survey / model
            write_map_tile(tile_path(folder, int(tile), 5), values, reason, {})


def write_images(root, tiles, clusters, strength, rng):
    for survey, spec in SURVEYS.items():
        for tile in tiles:
            wcs, shape = sky.tile_frame(int(tile), 5, spec["scale"], 10.0)
            y, x = np.mgrid[0 : shape[0], 0 : shape[1]]
            ra, dec = wcs.pixel_to_world_values(x.ravel(), y.ravel())
            signal = bumps(ra, dec, clusters, 1.2, strength).reshape(shape)
            sign = {"f090": -1, "f150": -1.3, "f220": 0.1}
            planes = [rng.normal(0, 1, shape) + sign.get(b, 2) * signal for b in spec["bands"]]
            mask = np.zeros(shape, dtype=np.uint8)
            mask[:, :4] = 1
            image = np.array(planes, dtype=np.float32)
            tile_image = TileImage(image, mask, wcs, spec["unit"], spec["bands"])
            place = sky.shard_path(int(tile), 5, ".fits")
            write_tile(root / "tiles" / survey / place, tile_image)


def write_models(root):
    for survey, model in RUN_MODELS:
        if model == "filter":
            continue
        folder = root / "models" / f"{survey}-{model}"
        folder.mkdir(parents=True)
        epochs = [
            {
                "epoch": e, "loss": 0.7 * 0.8**e, "validation_loss": 0.3 + 0.4 * 0.7**e,
                "validation_average_precision": 1 - 0.5 * 0.8**e, "validation_roc_auc": None,
            }
            for e in range(1, 9)
        ]  # fmt: skip
        rates = np.geomspace(1e-5, 1, 50)
        losses = 0.7 - 0.3 * np.exp(-((np.log10(rates) + 2) ** 2)) + 2 * (rates > 0.3)
        curve = {"learning_rate": rates.tolist(), "loss": losses.tolist(), "chosen": 3e-3}
        x = np.linspace(0, 1, 30)
        test = {
            "examples": 400, "positives": 90, "roc_auc": 0.93, "average_precision": 0.85,
            "precision": 0.8, "recall": 0.7, "brier": 0.07,
            "roc": {"false_positive_rate": x.tolist(), "true_positive_rate": (x**0.15).tolist()},
            "precision_recall": {"recall": x.tolist(), "precision": (1 - x**5).tolist()},
            "recall_by_redshift": [
                {"z_low": z, "z_high": z + 0.2, "recall": 1 - z / 2, "positives": 9, "found": 5}
                for z in (0.0, 0.2, 0.4, 0.6)
            ],
        }  # fmt: skip
        card = {
            "weights": {"parameters": 11_234_567},
            "training": {"examples": {"train": 2300}, "best_epoch": 7, "learning_rate": 3e-3},
        }
        history = {"epochs": epochs, "range_test": curve}
        for name, value in (("history", history), ("metrics", {"test": test}), ("model", card)):
            (folder / f"{name}.json").write_text(json.dumps(value))


def made_up_method(quality):
    """Return one method's part of validation.json; larger quality is better."""
    x = np.linspace(0, 0.3 + 0.65 * quality, 60)
    purity = 1 - (x / (0.45 + 0.6 * quality)) ** 4
    at = []
    for p in (0.8, 0.9, 0.95):
        good = np.flatnonzero(purity >= p)
        c = float(x[good[-1]]) if quality > 0.3 else 0.0
        at.append(
            {
                "purity": p, "threshold": 0.6 if quality > 0.3 else None, "n": 60, "n_true": 50,
                "n_found": 40, "n_truth": 80, "completeness": c,
                "completeness_low": max(c - 0.05, 0), "completeness_high": min(c + 0.05, 1),
            }
        )  # fmt: skip

    def binned(column, edges):
        value = np.clip(np.linspace(quality, quality / 2, len(edges) - 1), 0, 1)
        if column != "z":
            value = value[::-1]
        return {
            "column": column, "edges": edges, "n": [20] * len(value), "k": [9] * len(value),
            "value": value.tolist(), "low": (value - 0.08).tolist(),
            "high": np.minimum(value + 0.06, 1).tolist(),
        }  # fmt: skip

    bins = [
        binned("z", [0.05, 0.3, 0.5, 0.7, 1.0, 1.5]),
        binned("m500c_msun", [1e14, 1.5e14, 2e14, 3e14, 5e14, 2e15]),
    ]
    return {
        "at_purity": at,
        "reference": {"threshold": 0.6, "reached": True},
        "curve": {"completeness": x.tolist(), "purity": purity.tolist()},
        "bins": {"completeness": bins, "purity": bins},
        "known": {"sz": {"value": 0.9, "low": 0.8, "high": 0.96, "n": 31, "k": 28}},
    }  # fmt: skip


def made_up_validation():
    quality = {
        "networks": 0.95, "filters": 0.5, "unwise/resnet18": 0.8, "act/resnet18": 0.7,
        "unwise/filter": 0.25, "act/filter": 0.45,
    }  # fmt: skip
    difference = {
        "first": "networks", "second": "filters", "difference": 0.25, "low": 0.2, "high": 0.3,
        "ratio": 1.6, "p_better": 0.998,
    }  # fmt: skip
    return {
        "region": {"n_truth": 900, "n_completeness": 80, "n_purity": 120},
        "methods": {name: made_up_method(q) for name, q in quality.items()},
        "comparisons": [{"purity": 0.8, "differences": [difference]}],
        "reference_purity": 0.8,
        "confidence": 0.6827,
    }


def make_run(root, tiles=(4432, 4433), n=40, seed=4):
    """Write a whole made-up run and return the report's inputs."""
    rng = np.random.default_rng(seed)
    tiles = np.asarray(tiles)
    truth = made_up_clusters(tiles, n, rng)
    strength = truth["m500c_msun"].to_numpy() / 1e14 * 3
    write_maps(root, tiles, truth, strength, rng)
    write_images(root, tiles, truth, strength, rng)
    write_models(root)
    false = made_up_clusters(tiles, n // 2, rng)
    found = pd.concat([truth.iloc[: 3 * n // 4], false], ignore_index=True)
    is_true = np.arange(len(found)) < 3 * n // 4
    known = np.arange(len(found)) % 2 == 0
    known &= is_true
    objects = made_up_objects(len(found))
    objects["ra_deg"], objects["dec_deg"] = found["ra_deg"], found["dec_deg"]
    objects["prob"] = np.where(
        is_true, rng.uniform(0.6, 1, len(found)), rng.uniform(0, 0.8, len(found))
    )
    objects["class"] = np.where(known, "known", "new")
    objects["known_name"] = np.where(known, objects["known_name"].fillna(NASTY[0]), "")
    objects["truth_name"] = np.where(is_true, found["name"], "")
    objects["truth_z"] = np.where(is_true, found["z"], np.nan)
    objects["truth_m500c_msun"] = np.where(is_true, found["m500c_msun"], np.nan)
    objects["split"] = "test"
    columns = catalogue_columns(RUN_MODELS, ["sz"], simulated=True)
    catalogue = build_catalogue(objects, columns, tile_order=5)
    stages = ("fetch", "preprocess", "sample", "train", "scan", "detect", "merge", "validate")
    costs = [
        {
            "stage": s,
            "key": "unwise",
            "block": b,
            "wall_s": 3.5 * (k + 1),
            "cpu_s": 3.1,
            "peak_mib": 700.0,
        }
        for k, s in enumerate(stages)
        for b in (1, 2)
    ]
    last = tiles.max()

    def region_of(ra, dec):
        own = sky.owning_cell(ra, dec, 5)
        return np.where(own == last, "test", np.where(own % 4 == 1, "validation", "train"))

    return ReportInputs(
        root=root,
        release=Release("0.1.0", "default", 7, 3.36 * tiles.size, True),
        title="Simulated sky <script>alert(1)</script>",
        config={"title": "x", "validate": {"completeness_cut": {"m500c_msun": [2e14, None]}}},
        catalogue=catalogue,
        models=RUN_MODELS,
        tiles=[int(t) for t in tiles],
        known=found[known],
        truth=truth,
        validation=made_up_validation(),
        costs=costs,
        problems=[
            {"stage": "fetch", "key": "act", "tile": 4433, "status": "partial", "reason": "<b>cut"}
        ],
        versions={"numpy": "2.0", "torch": "2.4"},
        region_of=region_of,
    )


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    """A whole made-up run on two tiles, written once."""
    return make_run(tmp_path_factory.mktemp("run"))
