"""A copy of a residual network for the scan, with features on a finer grid.

The stride of its last stages is taken out and their convolutions are dilated instead (the "à trous"
algorithm), so one pass gives the features of all shifted passes and shares their early layers.
Pooling a window over the finer grid averages the logits of the shifted windows.
"""

from __future__ import annotations

from clusterscan.config.networks import RESNETS, resnet_strides
from clusterscan.networks.network import Network, ScanNetwork
from clusterscan.networks.registry import build


def finer(network: Network, step_px: int | None) -> Network:
    """Return the network with its weights at output stride ``step_px``, where it can have it.

    Parameters
    ----------
    network : Network
        In evaluation mode; it is not changed.
    step_px : int or None
        The scan's grid step; None or a coarser one than the network's stride changes nothing.

    References
    ----------
    Chen et al. 2018, IEEE TPAMI 40, 834 (dilated convolutions for dense features).
    """
    if not isinstance(network, ScanNetwork):
        return network
    settings = network.settings
    if settings.name not in RESNETS or step_px not in resnet_strides(
        settings.stem_stride, settings.stages
    ):
        return network
    if step_px >= network.stride:
        return network
    dilated = settings.model_copy(update={"output_stride": step_px, "pretrained": False})
    fine = build(dilated, network.bands, seed=0)
    fine.load_state_dict(network.state_dict())
    return fine.eval()
