"""What the trained network says of the examples that it has not learnt from."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch

from clusterscan.measure.calibration import fit_temperature
from clusterscan.networks.network import Network
from clusterscan.networks.turns import turned_logits
from clusterscan.train.batches import Crops, PlainBatches
from clusterscan.train.examples import Examples
from clusterscan.train.losses import class_probabilities

SPLITS = ("validation", "test")


@torch.inference_mode()
def logits_of(network: Network, crops: Crops, rows: np.ndarray) -> np.ndarray:
    """Return logits, float32 (n,) or (n, K), of examples in full precision.

    Images are taken as they are, or turned too where the settings say so. The network is left in
    evaluation mode, on the crops' device.
    """
    network.to(crops.device).eval()
    answer = partial(turned_logits, network) if crops.settings.average_turns else network.of_views
    parts = [answer(b.views, b.present).cpu().numpy() for b in PlainBatches(crops, rows)]
    shape = (0,) if network.classes == 1 else (0, network.classes)
    return np.concatenate([np.empty(shape, np.float32), *parts])


def predict(network: Network, crops: Crops) -> tuple[pd.DataFrame, dict[str, Any] | None]:
    """Return the predictions of the validation and test examples, and a calibration.

    Parameters
    ----------
    network : Network
        Trained.
    crops : Crops
        The examples.

    Returns
    -------
    predictions : DataFrame
        See `table`; probabilities are not calibrated.
    calibration : dict or None
        The temperature that fits the validation examples.
    """
    examples = crops.examples
    rows = np.concatenate([examples.rows(split) for split in SPLITS])
    logits = logits_of(network, crops, rows)
    known = examples.split[rows] == "validation"
    calibration = fit_temperature(logits[known], examples.label[rows][known])
    return table(examples, rows, logits), calibration


def table(examples: Examples, rows: np.ndarray, logits: np.ndarray) -> pd.DataFrame:
    """Return predictions: what is known of each example, and its softmax probabilities.

    Parameters
    ----------
    examples : Examples
        All.
    rows : int ndarray, shape (m,)
        Which of them.
    logits : float ndarray, shape (m,) or (m, K)
        Of these.

    Returns
    -------
    DataFrame
        example_id, object_id, ra_deg, dec_deg, redshift, split, kind, label, weight,
        probability_<class> for each class, then the examples' other columns.
    """
    names = ("example_id", "object_id", "ra_deg", "dec_deg", "redshift", "split", "kind",
             "label", "weight")  # fmt: skip
    columns = {name: getattr(examples, name)[rows] for name in names}
    probability = class_probabilities(logits)
    columns |= {f"probability_{n}": probability[:, k] for k, n in enumerate(examples.classes)}
    extras = {n: v[rows] for n, v in examples.columns.items() if n not in columns}
    return pd.DataFrame(columns | extras)
