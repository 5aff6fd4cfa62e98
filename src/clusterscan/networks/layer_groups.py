"""A network's parameters in groups, from its first layers to its last, for training in stages.

Transfer learning trains the last groups alone. The groups follow the architecture where it says
how (timm's group matchers), and the pooling of plain chains and the module tree elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

from clusterscan.networks.torchvision_repair import import_timm

Groups = list[list[str]]
Piece = tuple[list[str], bool]
"""Parameter names, and whether they open a new group."""

# A child that holds this share of all weights is the network itself in a wrapper, so its own
# children are the groups; a smaller child (a residual stage, say) is a group as it stands.
_NEARLY_ALL = 0.95


def grouped_names(body: nn.Module, prefix: str = "") -> Groups:
    """Return the names of a body's parameters, in groups from first to last.

    A plain chain is cut where it pools, so VGG's groups are its blocks. A timm model is cut by its
    own group matcher, into the stages of a residual network or the blocks of a transformer. Any
    other module is cut at its children. Layers without a kernel, such as batch norms, join the
    group before them.

    Parameters
    ----------
    body : nn.Module
        All of the network but its head.
    prefix : str
        Put before each name.
    """
    groups = _timm_groups(body) or _joined(_pieces(body))
    # A weight in no group would never learn, and one in two groups would be unfrozen too early.
    names = sorted(name for group in groups for name in group)
    assert names == sorted(name for name, _ in body.named_parameters())
    return [[prefix + name for name in group] for group in groups]


def _timm_groups(body: nn.Module) -> Groups:
    """Return timm's groups of a module that holds a timm model as ``model``, else an empty list."""
    model = getattr(body, "model", None)
    matcher = getattr(model, "group_matcher", None)
    # Chains such as VGG are cut at their poolings instead, which timm's matcher does not do.
    if model is None or matcher is None or any(_is_chain(child) for child in model.children()):
        return []
    groups = import_timm().models.group_parameters(model, matcher(coarse=True))
    return [[f"model.{name}" for name in groups[key]] for key in sorted(groups) if groups[key]]


def _is_chain(module: nn.Module) -> bool:
    """Return True if a module is a flat sequence of layers with pooling between them."""
    return (
        isinstance(module, nn.Sequential)
        and any(isinstance(child, nn.MaxPool2d) for child in module)
        and not any(list(child.children()) for child in module)
    )


def _pieces(module: nn.Module, prefix: str = "") -> Iterator[Piece]:
    if own := [prefix + name for name, _ in module.named_parameters(recurse=False)]:
        yield own, True
    if _is_chain(module):
        yield from _blocks(module, prefix)
        return
    weights = _count(module)
    for name, child in module.named_children():
        path = f"{prefix}{name}."
        if list(child.children()) and (_is_chain(child) or _count(child) > _NEARLY_ALL * weights):
            yield from _pieces(child, path)
        else:
            yield [path + n for n, _ in child.named_parameters()], _has_kernel(child)


def _blocks(chain: nn.Module, prefix: str) -> Iterator[Piece]:
    opens = True
    for name, child in chain.named_children():
        # A pooling has no weights; it makes the next layer that has some open a group.
        opens |= isinstance(child, nn.MaxPool2d)
        if names := [f"{prefix}{name}.{n}" for n, _ in child.named_parameters()]:
            yield names, opens
            opens = False


def _count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def _has_kernel(module: nn.Module) -> bool:
    return any(p.ndim > 1 for p in module.parameters())


def _joined(pieces: Iterator[Piece]) -> Groups:
    groups: Groups = []
    for names, opens in pieces:
        if opens or not groups:
            groups.append([])
        groups[-1] += names
    return [group for group in groups if group]
