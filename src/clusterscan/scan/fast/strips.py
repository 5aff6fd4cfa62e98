"""A copy of a network for the scan whose first layers are computed in strips of rows.

The first layers have the largest maps and see the least. Computed for a whole chunk at once, their
maps decide how small the chunk must be, and small chunks consist mostly of the context that the
last layers need. Strip by strip these maps are never in memory together, so one chunk can hold a
tile. Each strip is computed with as many extra rows as its layers see (a few), which are thrown
away: inner rows are then the same numbers as without strips, to rounding.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import fx, nn
from torch.fx.passes.shape_prop import ShapeProp

from clusterscan.networks.network import Network, ScanNetwork
from clusterscan.networks.receptive_field import (
    LocalSqueezeExcite,
    bytes_per_px,
    half_kernel,
    reach_px,
)

# Layers that see farther than this are not computed in strips [px]: the rows that strips share
# would cost more than the larger chunk saves.
MOST_REACH_PX = 16

# Memory that the first layers may take for a strip [bytes].
CPU_STRIP_BYTES = 2e8
GPU_STRIP_BYTES = 2e9


def in_strips(network: Network) -> Network:
    """Return a network with the same outputs, to rounding, that fits larger chunks into memory.

    A network is returned as it is if its first layers are not its largest, are not a plain chain,
    or are all of its layers.

    Parameters
    ----------
    network : Network
        As `clusterscan.scan.fast.scan_copy.fused` returns it; it is not changed.
    """
    body = getattr(network, "body", None)
    if not isinstance(network, ScanNetwork) or not isinstance(body, fx.GraphModule):
        return network
    chain = _chain(body)
    last = _narrowest(body, chain, network.bands, network.size_px)
    if last is None:
        return network
    first, rest = _split(body, chain[: chain.index(last) + 1])
    if not list(rest.parameters()):  # the strips would be all of it
        return network
    stripped = Stripped(first, rest, network.bands, network.size_px)
    if stripped.bytes_per_px > network.bytes_per_px / 2:
        return network
    quick = copy.copy(network)
    quick._modules = {**network._modules, "body": stripped}
    quick.__dict__["bytes_per_px"] = stripped.bytes_per_px
    return quick.eval()


class Stripped(nn.Module):
    """Layers that are computed strip by strip, and those that follow.

    Parameters
    ----------
    first, rest : nn.Module
        (B, bands, H, W) to (B, C, H / s, W / s), and that to the body's maps.
    bands, probe_px : int
        Of an image to send through; its size is a multiple of the body's stride.

    Attributes
    ----------
    bytes_per_px : float
        Rough memory of a scan for each pixel of the image, without that of a strip.
    """

    def __init__(self, first: nn.Module, rest: nn.Module, bands: int, probe_px: int):
        super().__init__()
        self.first, self.rest = first, rest
        with torch.no_grad():
            channels, side = first(torch.zeros(1, bands, probe_px, probe_px)).shape[1:3]
        self.stride: int = probe_px // side
        self.around = -(-reach_px(first, bands, probe_px) // self.stride)
        self.strip_bytes_per_px = bytes_per_px(first, bands, probe_px)
        # The image is in memory twice: as it was cut, and as networks read it.
        self.bytes_per_px = bytes_per_px(rest, channels, side) / self.stride**2 + 2 * 4 * bands

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the body's maps of images (B, bands, H, W)."""
        return self.rest(self._first_maps(x))

    def _first_maps(self, x: torch.Tensor) -> torch.Tensor:
        rows = x.shape[2] // self.stride
        most = GPU_STRIP_BYTES if x.is_cuda else CPU_STRIP_BYTES
        row_bytes = self.strip_bytes_per_px * x.shape[0] * x.shape[3] * self.stride
        count = max(int(most / row_bytes) - 2 * self.around, 2 * self.around, 1)
        if count >= rows:
            return self.first(x)
        strip = self._strip(x, 0, count)
        maps = strip.new_empty((*strip.shape[:2], rows, strip.shape[3]))
        maps = maps.contiguous(memory_format=torch.channels_last)
        maps[:, :, :count] = strip
        for start in range(count, rows, count):
            maps[:, :, start : start + count] = self._strip(x, start, min(start + count, rows))
        return maps

    def _strip(self, x: torch.Tensor, start: int, stop: int) -> torch.Tensor:
        """Return rows [start, stop) of the first layers' maps."""
        low = max(start - self.around, 0)
        high = min(stop + self.around, x.shape[2] // self.stride)
        maps = self.first(x[:, :, low * self.stride : high * self.stride])
        return maps[:, :, start - low : stop - low]


def _chain(body: fx.GraphModule) -> list[fx.Node]:
    """Return the layers that form a plain chain from the image on: one map in, one map out."""
    modules = dict(body.named_modules())
    chain = [next(node for node in body.graph.nodes if node.op == "placeholder")]
    while len(chain[-1].users) == 1:
        (node,) = chain[-1].users
        if node.op != "call_module" or node.args != (chain[-1],):
            break
        if isinstance(modules[str(node.target)], LocalSqueezeExcite):
            break
        chain.append(node)
    return chain[1:]


def _split(body: fx.GraphModule, chain: list[fx.Node]) -> tuple[fx.GraphModule, fx.GraphModule]:
    """Return the layers of a chain, and all layers after it, as two graphs that share the weights.

    Weights that the graph reads by name belong to the second one, wherever they are read.
    """
    first, rest = fx.Graph(), fx.Graph()
    made: dict[fx.Node, fx.Node] = {}
    for node in body.graph.nodes:
        in_chain = node.op == "placeholder" or node in chain
        made[node] = (first if in_chain else rest).node_copy(node, made.__getitem__)
        if node is chain[-1]:
            first.output(made[node])
            made[node] = rest.placeholder("maps")
    return fx.GraphModule(body, first), fx.GraphModule(body, rest)


def _narrowest(
    body: fx.GraphModule, chain: list[fx.Node], bands: int, probe_px: int
) -> fx.Node | None:
    """Return the layer after which the chain is cut, None if there is none.

    It has the smallest maps among the layers that see little (the last of equals), and its maps are
    coarser than the image.
    """
    modules = dict(body.named_modules())
    with torch.no_grad():
        ShapeProp(body).propagate(torch.zeros(1, bands, probe_px, probe_px))
    reach, least = 0.0, float("inf")
    narrowest = None
    for node in chain:
        jump = probe_px / _shape(node.args[0])[-1]
        reach += half_kernel(modules[str(node.target)]) * jump
        if reach > MOST_REACH_PX:
            break
        shape = _shape(node)
        if shape[-1] < probe_px and shape.numel() <= least:
            least, narrowest = shape.numel(), node
    return narrowest


def _shape(node: Any) -> torch.Size:
    return node.meta["tensor_meta"].shape
