"""Maps of the pixels that a network's decision rests on, one for each example.

The method is Grad-CAM for convolutional networks, attention rollout for vision transformers, and
integrated gradients for all others.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from clusterscan.core.errors import ModelError
from clusterscan.networks.fusion import FusionNetwork
from clusterscan.networks.network import Network

Method = Literal["grad_cam", "rollout", "integrated_gradients"]
_METHODS: dict[str, Method] = {
    "conv": "grad_cam",
    "vit": "rollout",
    "other": "integrated_gradients",
}
_STEPS = 32


def attribute(
    network: Network,
    view_index: int,
    images: torch.Tensor | Sequence[torch.Tensor],
    target_class: int,
    *,
    present: torch.Tensor | None = None,
    method: Method | None = None,
    batch_size: int = 16,
) -> np.ndarray:
    """Map how much each pixel of one view speaks for a class.

    Parameters
    ----------
    network : Network
        In any mode, on any device; both are left as they are.
    view_index : int
        The view to explain.
    images : float tensor, shape (n, bands, N, N), or a sequence of them
        Normalised crops; for a fusion one tensor per view.
    target_class : int
        Number of a class. Attention rollout is the same for all classes.
    present : bool tensor, shape (n, views), optional
        True for the views that an example has.
    method : str, optional
        Method to use instead of the one for the network's kind.
    batch_size : int
        Number of examples at once.

    Returns
    -------
    float32 ndarray, shape (n, N, N)
        From 0 to 1, the highest value of each image. An image is 0 throughout if no pixel speaks
        for the class or the example lacks the view. Never NaN.

    Raises
    ------
    ModelError
        If there is no such view or class, a view's tensor is missing, or the method does not
        suit the network.

    References
    ----------
    Selvaraju et al. 2017, ICCV, 618 (Grad-CAM); Abnar & Zuidema 2020, ACL, 4190 (rollout);
    Sundararajan et al. 2017, ICML, 3319 (integrated gradients).
    """
    views = [images] if isinstance(images, torch.Tensor) else list(images)
    count, classes = len(network.bands_of_views), max(network.classes, 2)
    if len(views) != count or not 0 <= view_index < count:
        raise ModelError(
            f"the network has {count} view(s), but view {view_index} of {len(views)} was "
            "requested; give one tensor for each of its views"
        )
    if not 0 <= target_class < classes:
        raise ModelError(f"there is no class {target_class}; the network tells {classes} apart")
    branch: Any = network.branches[view_index] if isinstance(network, FusionNetwork) else network
    method = method or _METHODS[branch.kind]
    if method == "grad_cam" and branch.attribution_layer() is None:
        raise ModelError("the network has no feature map for Grad-CAM; use integrated_gradients")
    if method == "rollout" and branch.kind != "vit":
        raise ModelError("the network has no attention to roll out; use grad_cam")
    explain = {
        "grad_cam": _grad_cam,
        "rollout": _rollout,
        "integrated_gradients": _integrated_gradients,
    }[method]
    n, size = len(views[view_index]), views[view_index].shape[-1]
    out = np.zeros((n, size, size), dtype=np.float32)
    # Examples without this view are not explained: their pixels were never read.
    rows = torch.arange(n) if present is None else present[:, view_index].nonzero()[:, 0].cpu()
    with _evaluating(network):
        for chosen in rows.split(batch_size):
            part = [view[chosen.to(view.device)] for view in views]
            has = None if present is None else present[chosen.to(present.device)]
            maps = explain(_Question(network, branch, view_index, part, has, target_class))
            grown = functional.interpolate(
                maps.detach().float().unsqueeze(1), (size, size), mode="bilinear"
            )
            out[chosen.numpy()] = grown.squeeze(1).cpu().numpy()
    return _from_0_to_1(out)


@dataclass(frozen=True)
class _Question:
    """A batch of examples, and the view and class that are to be explained.

    Each method answers with maps (B, h, w) that cover the images of the view.
    """

    network: Network
    branch: Any
    view_index: int
    views: list[torch.Tensor]
    present: torch.Tensor | None
    target_class: int

    def image(self) -> torch.Tensor:
        """Return the view's images, ready for gradients."""
        return self.views[self.view_index].detach().clone().requires_grad_()

    def score(self, x: torch.Tensor) -> torch.Tensor:
        """Return the class's logits for other images in this view; other views are fixed."""
        views = [*self.views[: self.view_index], x, *self.views[self.view_index + 1 :]]
        logits = self.network.of_views(views, self.present)
        # A single logit speaks for class 1; what lowers it speaks for class 0.
        if logits.ndim == 1:
            return logits if self.target_class == 1 else -logits
        return logits[:, self.target_class]


def _grad_cam(question: _Question) -> torch.Tensor:
    from captum.attr import LayerGradCam

    method = LayerGradCam(question.score, question.branch.attribution_layer())
    return method.attribute(question.image(), relu_attributions=True).squeeze(1)


def _integrated_gradients(question: _Question) -> torch.Tensor:
    """Integrate the gradients along the path from the background, 0, to the image."""
    from captum.attr import IntegratedGradients

    images = question.image()
    maps = []
    for i in range(len(images)):
        # One example at a time, repeated as often as captum repeats its input along the path.
        has = question.present
        one = replace(
            question,
            views=[view[i : i + 1].expand(_STEPS, *view.shape[1:]) for view in question.views],
            present=None if has is None else has[i : i + 1].expand(_STEPS, -1),
        )
        image = images[i : i + 1].detach().clone().requires_grad_()
        found = IntegratedGradients(one.score).attribute(image, n_steps=_STEPS)
        maps.append(found[0].sum(dim=0))
    return torch.stack(maps).clamp(min=0)


@torch.no_grad()
def _rollout(question: _Question) -> torch.Tensor:
    """Return the share of each patch in the input of the last layer, through all blocks.

    Each block passes on half of its input unchanged (the residual path) and mixes the other half
    by its attention, averaged over heads; the product over blocks is the share.
    """
    model = question.branch.body.model
    rolled: torch.Tensor | None = None
    with _attention_of(model) as attention:
        question.branch.embed(question.views[question.view_index])
    for weights in attention:  # (B, heads, tokens, tokens)
        mixed = weights.float().mean(dim=1)
        mixed = (mixed + torch.eye(mixed.shape[-1], device=mixed.device)) / 2
        rolled = mixed if rolled is None else mixed @ rolled
    assert rolled is not None
    prefix = model.num_prefix_tokens
    # What the head reads: the class token, or the mean over the patches.
    token = model.global_pool == "token"
    read = rolled[:, 0] if token else rolled[:, prefix:].mean(dim=1)
    height, width = model.patch_embed.grid_size
    return read[:, prefix:].reshape(-1, height, width)


@contextmanager
def _attention_of(model: Any) -> Iterator[list[torch.Tensor]]:
    """Collect the attention weights of a vision transformer's blocks in a forward pass."""
    found: list[torch.Tensor] = []
    layers = [block.attn for block in model.blocks]
    hooks = [
        layer.attn_drop.register_forward_hook(lambda module, inputs, output: found.append(output))
        for layer in layers
    ]
    fused = [layer.fused_attn for layer in layers]
    for layer in layers:  # fused kernels do not keep the weights
        layer.fused_attn = False
    try:
        yield found
    finally:
        for layer, was, hook in zip(layers, fused, hooks, strict=True):
            layer.fused_attn = was
            hook.remove()


@contextmanager
def _evaluating(network: nn.Module) -> Iterator[None]:
    """Put all modules into evaluation mode, and restore their modes afterwards."""
    training = [module for module in network.modules() if module.training]
    network.eval()
    try:
        yield
    finally:
        for module in training:
            # One by one: network.train() would also wake modules that were in evaluation mode
            # before.
            module.training = True


def _from_0_to_1(maps: np.ndarray) -> np.ndarray:
    # Only pixels that speak for the class; each image on its own scale, since gradients have no
    # unit.
    maps = np.maximum(np.nan_to_num(maps, nan=0.0, posinf=0.0, neginf=0.0), 0.0)
    highest = maps.max(axis=(1, 2), keepdims=True, initial=0.0)
    return np.divide(maps, highest, out=np.zeros_like(maps), where=highest > 0)
