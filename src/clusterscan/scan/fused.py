"""A copy of a network for the scan, with each batch norm merged into its convolution."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from clusterscan.networks.device import channels_last
from clusterscan.networks.local_pooling import LocalSqueezeExcite
from clusterscan.networks.network import Network, ScanNetwork


def fused(network: Network) -> Network:
    """Return a network with the same outputs, to rounding, that scans faster.

    A whole network, or one whose body cannot be traced, is returned as it is.

    Parameters
    ----------
    network : Network
        In evaluation mode; it is not changed.
    """
    if not isinstance(network, ScanNetwork):
        return network
    try:
        traced = _traced(copy.deepcopy(network.body).eval())
    except (fx.proxy.TraceError, LookupError, TypeError, RuntimeError):
        return network  # its path depends on its input, or on hooks that a trace leaves out
    quick = copy.copy(network)
    quick._modules = {**network._modules, "body": _without_batch_norms(traced)}
    return channels_last(quick).eval()


class Pointwise(nn.Module):
    """A 1 x 1 convolution as the matrix product that it is.

    With the channels innermost no number moves; torch's convolution on one CPU thread is slower.
    """

    def __init__(self, conv: nn.Conv2d):
        super().__init__()
        self.weight = nn.Parameter(conv.weight.detach()[:, :, 0, 0].contiguous())
        self.bias = None if conv.bias is None else nn.Parameter(conv.bias.detach().clone())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return maps (B, C', H, W) for maps (B, C, H, W)."""
        return functional.linear(x.permute(0, 2, 3, 1), self.weight, self.bias).permute(0, 3, 1, 2)


class _Tracer(fx.Tracer):
    """Leaves alone batch norms, timm's too, and layers whose path depends on the map's size."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, LocalSqueezeExcite | nn.BatchNorm2d) or super().is_leaf_module(
            m, module_qualified_name
        )


def _traced(body: nn.Module) -> fx.GraphModule:
    return fx.GraphModule(body, _Tracer().trace(body))


def _without_batch_norms(traced: fx.GraphModule) -> fx.GraphModule:
    modules = dict(traced.named_modules())
    for node in list(traced.graph.nodes):
        norm = modules.get(node.target) if node.op == "call_module" else None
        if not isinstance(norm, nn.BatchNorm2d):
            continue
        before = node.args[0]
        conv = modules.get(before.target) if before.op == "call_module" else None
        if not isinstance(conv, nn.Conv2d) or len(before.users) > 1:
            continue
        modules[before.target] = fuse_conv_bn_eval(conv, norm)
        traced.set_submodule(before.target, modules[before.target])
        if (activation := _activation(norm)) is not None:
            modules[node.target] = activation
            traced.set_submodule(node.target, activation)
        else:
            node.replace_all_uses_with(before)
            traced.graph.erase_node(node)
    _scale_in_place(traced)
    _pad_apart(traced)
    _use_matrix_products(traced)
    traced.delete_all_unused_submodules()
    traced.recompile()
    return traced


def _activation(norm: Any) -> nn.Module | None:
    """Return what timm's batch norms do after the norm itself, None for nothing."""
    activation = getattr(norm, "act", None)
    return None if isinstance(activation, nn.Identity) else activation


class ScaleInPlace(nn.Module):
    """A batch norm and its activation on a map that nothing else reads, without another map."""

    def __init__(self, norm: Any):
        super().__init__()
        scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
        shift = norm.bias - norm.running_mean * scale
        self.scale = nn.Parameter(scale.detach()[:, None, None])
        self.shift = nn.Parameter(shift.detach()[:, None, None])
        self.rectify = isinstance(_activation(norm), nn.ReLU)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return maps (B, C, H, W), in the memory of those that came."""
        torch.addcmul(self.shift, x, self.scale, out=x)
        return x.relu_() if self.rectify else x


def _scale_in_place(traced: fx.GraphModule) -> None:
    """Let norms that no convolution precedes, as in dense blocks, work in their input's memory."""
    modules: dict[str, Any] = dict(traced.named_modules())
    for node in traced.graph.nodes:
        norm = modules.get(str(node.target)) if node.op == "call_module" else None
        if not isinstance(norm, nn.BatchNorm2d):
            continue
        joined = node.args[0].target is torch.cat and len(node.args[0].users) == 1
        if joined and isinstance(_activation(norm), nn.ReLU | None):
            traced.set_submodule(node.target, ScaleInPlace(norm))


def _pad_apart(traced: fx.GraphModule) -> None:
    """Let a step of its own continue a map beyond its border: the map is freed before it is read.

    Within a convolution the map, its continued copy and what comes out are in memory together.
    """
    modules: dict[str, Any] = dict(traced.named_modules())
    calls = [str(node.target) for node in traced.graph.nodes if node.op == "call_module"]
    for node in list(traced.graph.nodes):
        conv: Any = modules.get(str(node.target)) if node.op == "call_module" else None
        if type(conv) is not nn.Conv2d or conv.padding_mode not in _BORDERS:
            continue
        if calls.count(node.target) > 1:
            continue
        name = f"{node.target}_border".replace(".", "_")
        border = _BORDERS[conv.padding_mode](tuple(conv._reversed_padding_repeated_twice))
        traced.add_submodule(name, border)
        with traced.graph.inserting_before(node):
            node.replace_input_with(node.args[0], traced.graph.call_module(name, node.args))
        conv.padding_mode, conv.padding = "zeros", (0, 0)


_BORDERS: dict[str, Any] = {"reflect": nn.ReflectionPad2d, "replicate": nn.ReplicationPad2d}


def _use_matrix_products(traced: fx.GraphModule) -> None:
    for name, module in list(traced.named_modules()):
        # Those below a leaf of the graph are read by name there.
        if isinstance(module, nn.Conv2d) and _is_pointwise(module) and _is_called(traced, name):
            traced.set_submodule(name, Pointwise(module))


def _is_called(traced: fx.GraphModule, name: str) -> bool:
    return any(n.op == "call_module" and n.target == name for n in traced.graph.nodes)


def _is_pointwise(conv: nn.Conv2d) -> bool:
    return (
        conv.kernel_size == (1, 1)
        and conv.stride == (1, 1)
        and conv.groups == 1
        and conv.padding == (0, 0)
    )
