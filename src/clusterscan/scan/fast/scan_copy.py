"""The copy of a network that scans: the same weights, arranged for tiles rather than for training.

Three steps, each of which leaves a network as it is where it does not apply:

- `finer` takes the strides out of the last stages and dilates what follows (the "a trous"
  algorithm), so one pass gives the features of all shifted passes and shares their early layers.
  Pooling a window over the finer grid averages the logits of the shifted windows.
- `fused` traces the body and merges each batch norm into the convolution before it: same outputs
  to rounding, one pass over each map less.
- `clusterscan.scan.fast.strips.in_strips` computes the first layers in strips of rows.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from clusterscan.config.networks import RESNETS, resnet_strides
from clusterscan.networks.device import channels_last, compiled
from clusterscan.networks.network import Network, ScanNetwork
from clusterscan.networks.receptive_field import LocalSqueezeExcite, watch
from clusterscan.scan.fast.memory import give_back_above
from clusterscan.scan.fast.strips import in_strips


def scan_copy(network: Network, step_px: int | None = None, *, compile_it: bool = False) -> Network:
    """Return the copy of a network that scans with a grid step.

    Parameters
    ----------
    network : Network
        In evaluation mode; it is not changed.
    step_px : int, optional
        The scan's grid step, as for `finer`.
    compile_it : bool
        Build the body with torch.compile, which makes one piece of it instead of strips.
    """
    quick = fused(finer(network, step_px))
    if compile_it:
        return compiled(quick)
    quick = in_strips(quick)
    if isinstance(quick, ScanNetwork) and quick is not network:
        give_back_above(quick.body)
    return quick


# --- a finer grid -----------------------------------------------------------------------------


_POOLS = (nn.MaxPool2d, nn.AvgPool2d)


def finer(network: Network, step_px: int | None) -> Network:
    """Return the network with its weights at output stride ``step_px``, if it allows that stride.

    Parameters
    ----------
    network : Network
        In evaluation mode; it is not changed.
    step_px : int or None
        The scan's grid step; None, or one coarser than the network's stride, changes nothing.

    References
    ----------
    Chen et al. 2018, IEEE TPAMI 40, 834 (dilated convolutions for dense features).
    """
    if not isinstance(network, ScanNetwork) or not _allows(network, step_px):
        return network
    assert step_px is not None
    fine = copy.deepcopy(network)
    dilate(fine.body, network.bands, network.size_px, step_px)
    fine.settings = network.settings.model_copy(update={"output_stride": step_px})
    fine.set_stride(step_px)
    return fine.eval()


def _allows(network: ScanNetwork, step_px: int | None) -> bool:
    """Return True if a network can be dilated to an output stride."""
    settings = network.settings
    if step_px is None or step_px >= network.stride or network.stride % step_px:
        return False
    # The baseline's layers are cheap: shifted passes cost little more and give each window its own
    # logit. Heads of several layers are not linear, so windows must not be averaged before them.
    if settings.name == "baseline" or network.head_cells > 1:
        return False
    if settings.name in RESNETS:
        return step_px in resnet_strides(settings.stem_stride, settings.stages)
    # A padding given as a word ("same") cannot be dilated by a number.
    convolutions = (m for m in network.body.modules() if isinstance(m, nn.Conv2d))
    return not any(isinstance(conv.padding, str) for conv in convolutions)


def dilate(body: nn.Module, bands: int, probe_px: int, stride: int) -> None:
    """Give a body a finer output stride, in place, so that its old cells are among the new ones.

    Parameters
    ----------
    body : nn.Module
        (B, bands, H, W) to a map.
    bands, probe_px : int
        Of an image to send through; its size is a multiple of the body's stride.
    stride : int
        The wanted output stride.
    """
    jumps: dict[nn.Module, float] = {}
    layers = [m for m in body.modules() if isinstance(m, (nn.Conv2d, *_POOLS, LocalSqueezeExcite))]

    def note(layer: Any, inputs: Any, output: Any) -> None:
        jumps[layer] = probe_px / inputs[0].shape[-1]

    # A layer's jump is the distance between the cells it reads, in pixels of the image. Once the
    # strides before it are gone its cells lie closer by ``factor``, so its kernel spreads by that
    # factor and reads the same cells as before.
    watch(body, layers, note, bands, probe_px)
    for layer, jump in jumps.items():
        factor = max(round(jump / stride), 1)
        _spread(body, layer, factor, keeps_stride=2 * jump <= stride)


def _spread(body: nn.Module, layer: Any, factor: int, *, keeps_stride: bool) -> None:
    """Dilate one layer, and take out its stride if its output would be too coarse."""
    if isinstance(layer, LocalSqueezeExcite):
        layer.kernel_size *= factor
        return
    strided = _pair(layer.stride)[0] > 1 and not keeps_stride
    if isinstance(layer, nn.Conv2d):
        layer.dilation = tuple(factor * d for d in layer.dilation)
        layer.padding = tuple(factor * p for p in _pair(layer.padding))
        layer._reversed_padding_repeated_twice = [p for p in layer.padding[::-1] for _ in range(2)]
        if strided:
            layer.stride = (1, 1)
    elif factor > 1 or strided:
        name = next(name for name, module in body.named_modules() if module is layer)
        body.set_submodule(name, FinePool(layer, factor))


class FinePool(nn.Module):
    """A pooling layer at every cell: dilated, without its stride, the map's size kept."""

    def __init__(self, pool: Any, factor: int):
        super().__init__()
        self.kernel_size = _pair(pool.kernel_size)[0]
        self.stride = 1
        self.dilation = factor
        self.padding = factor * _pair(pool.padding)[0]
        self.average = isinstance(pool, nn.AvgPool2d)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the pooled map (B, C, H, W) of a map of the same size."""
        k, d = self.kernel_size, self.dilation
        after = (k - 1) * d - self.padding
        x = functional.pad(x, (self.padding, after, self.padding, after), mode="replicate")
        if not self.average:
            return functional.max_pool2d(x, k, stride=1, dilation=d)
        for axis in (2, 3):
            size = x.shape[axis] - (k - 1) * d
            x = torch.stack([x.narrow(axis, d * i, size) for i in range(k)]).mean(dim=0)
        return x


def _pair(value: Any) -> tuple[int, int]:
    return value if isinstance(value, tuple) else (value, value)


# --- batch norms merged into convolutions -----------------------------------------------------


def fused(network: Network) -> Network:
    """Return a network with the same outputs, to rounding, and its batch norms merged.

    A whole network, or one whose body cannot be traced, is returned as it is.

    Parameters
    ----------
    network : Network
        In evaluation mode; it is not changed.
    """
    if not isinstance(network, ScanNetwork):
        return network
    try:
        body = copy.deepcopy(network.body).eval()
        traced = fx.GraphModule(body, _Tracer().trace(body))
    except (fx.proxy.TraceError, LookupError, TypeError, RuntimeError):
        # Its path through the layers depends on its input, or on hooks that a trace leaves out.
        return network
    quick = copy.copy(network)
    quick._modules = {**network._modules, "body": _without_batch_norms(traced)}
    return channels_last(quick).eval()


class Pointwise(nn.Module):
    """A 1 x 1 convolution as a matrix product.

    With the channels innermost no number has to move in memory, and the product is faster than
    torch's convolution on one CPU thread.
    """

    def __init__(self, conv: nn.Conv2d):
        super().__init__()
        self.weight = nn.Parameter(conv.weight.detach()[:, :, 0, 0].contiguous())
        self.bias = None if conv.bias is None else nn.Parameter(conv.bias.detach().clone())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return maps (B, C', H, W) for maps (B, C, H, W)."""
        return functional.linear(x.permute(0, 2, 3, 1), self.weight, self.bias).permute(0, 3, 1, 2)


class _Tracer(fx.Tracer):
    """Keeps whole: batch norms, timm's too, and layers whose path depends on the map's size."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, LocalSqueezeExcite | nn.BatchNorm2d) or super().is_leaf_module(
            m, module_qualified_name
        )


def _without_batch_norms(traced: fx.GraphModule) -> fx.GraphModule:
    modules = dict(traced.named_modules())
    for node in list(traced.graph.nodes):
        norm = modules.get(node.target) if node.op == "call_module" else None
        if not isinstance(norm, nn.BatchNorm2d):
            continue
        before = node.args[0]
        conv = modules.get(before.target) if before.op == "call_module" else None
        # A convolution whose map something else reads as well must keep its own outputs.
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
    """Return the activation inside one of timm's batch norms, None if it has none."""
    activation = getattr(norm, "act", None)
    return None if isinstance(activation, nn.Identity) else activation


class ScaleInPlace(nn.Module):
    """A batch norm and its activation, computed in the memory of a map that nothing else reads."""

    def __init__(self, norm: Any):
        super().__init__()
        scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
        shift = norm.bias - norm.running_mean * scale
        self.scale = nn.Parameter(scale.detach()[:, None, None])
        self.shift = nn.Parameter(shift.detach()[:, None, None])
        self.rectify = isinstance(_activation(norm), nn.ReLU)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return maps (B, C, H, W), in the memory of the input."""
        torch.addcmul(self.shift, x, self.scale, out=x)
        return x.relu_() if self.rectify else x


def _scale_in_place(traced: fx.GraphModule) -> None:
    """Let norms that follow no convolution, as in dense blocks, work in their input's memory."""
    modules: dict[str, Any] = dict(traced.named_modules())
    for node in traced.graph.nodes:
        norm = modules.get(str(node.target)) if node.op == "call_module" else None
        if not isinstance(norm, nn.BatchNorm2d):
            continue
        joined = node.args[0].target is torch.cat and len(node.args[0].users) == 1
        if joined and isinstance(_activation(norm), nn.ReLU | None):
            traced.set_submodule(node.target, ScaleInPlace(norm))


def _pad_apart(traced: fx.GraphModule) -> None:
    """Continue maps beyond their border in a step of its own, before the convolution.

    Within one convolution the map, its continued copy and the output are in memory together; in two
    steps the map is freed before the output is made.
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
    # Convolutions below a leaf of the graph are not called by it; the leaf reads them by name.
    called = {str(node.target) for node in traced.graph.nodes if node.op == "call_module"}
    for name, module in list(traced.named_modules()):
        if isinstance(module, nn.Conv2d) and _is_pointwise(module) and name in called:
            traced.set_submodule(name, Pointwise(module))


def _is_pointwise(conv: nn.Conv2d) -> bool:
    return (
        conv.kernel_size == (1, 1)
        and conv.stride == (1, 1)
        and conv.groups == 1
        and conv.padding == (0, 0)
    )
