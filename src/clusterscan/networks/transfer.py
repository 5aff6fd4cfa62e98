"""Transfer learning: a new head on a trained body, or the weights of another network."""

from __future__ import annotations

import torch

from clusterscan.core.errors import ModelError
from clusterscan.networks.network import Network, ScanNetwork
from clusterscan.networks.pretrained import Copied, copy_weights
from clusterscan.networks.whole import WholeNetwork


def exchange_head(network: Network, classes: int, seed: int) -> Network:
    """Give a network a new head, in place; return it.

    Parameters
    ----------
    network : Network
        Keeps its body.
    classes : int
        Outputs of the new head.
    seed : int
        Seed of its weights; the caller's random state is left as it was.

    Raises
    ------
    ModelError
        If a dense network is to have more than one output.
    """
    if isinstance(network, ScanNetwork) and classes != 1:
        raise ModelError(
            f"a dense network has one logit, so its head cannot tell {classes} classes apart; "
            "build it with form: whole"
        )
    change: dict[str, object] = {"classes": classes}
    if isinstance(network, WholeNetwork):
        change |= {"form": "whole"}  # some names are dense where they have one class
    device = next(network.parameters()).device
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        head = network.make_head(network.width, classes)
    network.head = head.to(device).train(network.training)
    network.settings = network.settings.model_copy(update=change)
    return network


def start_from(network: Network, other: Network) -> Copied:
    """Copy another network's weights, all that fit but the head's.

    Weights are matched by name. The first convolution is adapted to other bands, a vision
    transformer's position embeddings to another image size.

    Parameters
    ----------
    network : Network
        Changed in place.
    other : Network
        Trained on another task, survey or number of classes.

    Returns
    -------
    Copied
        What was taken over and what was not.

    Raises
    ------
    ModelError
        If nothing fits.
    """
    return copy_weights(network, other.state_dict())
