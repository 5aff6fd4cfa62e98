"""The copy of a network that scans: the same logits, made for tiles rather than for training."""

from __future__ import annotations

from clusterscan.networks.device import compiled
from clusterscan.networks.network import Network, ScanNetwork
from clusterscan.scan.finer import finer
from clusterscan.scan.fused import fused
from clusterscan.scan.memory import give_back_above
from clusterscan.scan.strips import in_strips


def scan_copy(network: Network, step_px: int | None = None, *, compile_it: bool = False) -> Network:
    """Return a network at a scan's grid step, its batch norms merged, compiled or in strips.

    Parameters
    ----------
    network : Network
        In evaluation mode; it is not changed.
    step_px : int, optional
        As `clusterscan.scan.finer.finer` takes it.
    compile_it : bool
        Build the body by torch.compile, which makes one piece of it instead of strips.
    """
    quick = fused(finer(network, step_px))
    if compile_it:
        return compiled(quick)
    quick = in_strips(quick)
    if isinstance(quick, ScanNetwork) and quick is not network:
        give_back_above(quick.body)
    return quick
