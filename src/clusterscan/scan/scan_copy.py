"""The copy of a network that scans: the same logits, made for tiles rather than for training."""

from __future__ import annotations

from clusterscan.networks.device import compiled
from clusterscan.networks.network import Network
from clusterscan.scan.finer import finer
from clusterscan.scan.fused import fused
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
    return compiled(quick) if compile_it else in_strips(quick)
