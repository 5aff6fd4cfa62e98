"""Which network a name means: settings, a number of bands and a seed to a network."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from clusterscan.config.networks import OWN_BODIES, FusionSettings, NetworkSettings
from clusterscan.core.errors import ModelError
from clusterscan.networks.dense import dense_network
from clusterscan.networks.fusion import FusionNetwork
from clusterscan.networks.network import Network
from clusterscan.networks.pretrained import copy_weights, is_own, read_weights
from clusterscan.networks.published import whole_network


def build(
    settings: NetworkSettings | FusionSettings, bands: int | Sequence[int], seed: int
) -> Network:
    """Return a network with weights that depend on the settings and the seed alone.

    Parameters
    ----------
    settings : NetworkSettings or FusionSettings
        Architecture, strides and sizes.
    bands : int or sequence of int
        Image bands, of a fusion those of each branch.
    seed : int
        Seed of the first weights; the caller's random state is left as it was.

    Returns
    -------
    Network
        In training mode, on the CPU: a ScanNetwork for dense settings, a WholeNetwork for whole
        ones, a FusionNetwork for a fusion.

    Raises
    ------
    ModelError
        If the name is unknown to timm, its pretrained weights cannot be had, its feature map has
        another stride than the settings say, or the bands are not those of the settings' views.
    """
    per_view = (bands,) if isinstance(bands, int) else tuple(bands)
    if any(count < 1 for count in per_view):
        raise ModelError(f"a network needs at least one band, not {min(per_view)}")
    views = len(settings.branches) if isinstance(settings, FusionSettings) else 1
    if len(per_view) != views:
        raise ModelError(
            f"the settings describe {views} view(s), but bands are given for {len(per_view)}; "
            "give the number of bands of each survey, in the settings' order"
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if isinstance(settings, NetworkSettings):
            return _single(settings, per_view[0]).train()
        branches = {
            survey: _single(branch, count)
            for (survey, branch), count in zip(settings.branches.items(), per_view, strict=True)
        }
        return FusionNetwork(branches, settings).train()


def _single(settings: NetworkSettings, bands: int) -> Network:
    network: Network
    if settings.is_dense:
        network = dense_network(settings, bands)
    else:
        network = whole_network(settings, bands)
    if isinstance(settings.pretrained, str):
        state = read_weights(settings.pretrained)
        if is_own(state):
            copy_weights(network, state)
        elif settings.name in OWN_BODIES:
            raise ModelError(
                f"pretrained weights {settings.pretrained} are none of {settings.name}'s; give "
                "the weights.safetensors of a model trained here"
            )
    return network
