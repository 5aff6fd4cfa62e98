"""One network for several surveys, each at its own pixel scale; some surveys may be missing.

Each survey has a body of its own. Where an example lacks a survey, learnt numbers stand in for the
output of its body.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from clusterscan.config.networks import FusionSettings
from clusterscan.core.errors import ModelError
from clusterscan.networks.heads import linear_head
from clusterscan.networks.layer_groups import Groups
from clusterscan.networks.network import Network


class FusionNetwork(Network):
    """Branches, one per survey, whose features are joined by common layers.

    Parameters
    ----------
    branches : mapping of str to Network
        By survey, in the order of the views; their heads are dropped.
    settings : FusionSettings
        Width and dropout of the common layers, and the number of classes.

    References
    ----------
    Neverova et al. 2016, IEEE TPAMI 38, 1692 (dropping whole surveys in training).
    """

    settings: FusionSettings

    def __init__(self, branches: Mapping[str, Network], settings: FusionSettings):
        hidden = settings.hidden
        super().__init__(hidden)
        self.settings = settings
        self.surveys = tuple(branches)
        self.bands_of_views = tuple(b for n in branches.values() for b in n.bands_of_views)
        self.sizes_px = tuple(size for n in branches.values() for size in n.sizes_px)
        self.branches = nn.ModuleList(branches.values())
        self.project = nn.ModuleList()
        for branch in branches.values():
            # The common layers read features, not the decisions of single surveys.
            branch.head = nn.Identity()
            self.project.append(
                nn.Sequential(nn.Linear(branch.width, hidden), nn.LayerNorm(hidden), nn.ReLU())
            )
        self.stand_in = nn.ParameterList(
            nn.Parameter(0.1 * torch.randn(hidden)) for _ in self.surveys
        )
        self.join = nn.Sequential(nn.Linear(len(self.surveys) * hidden, hidden), nn.ReLU())
        self.head = linear_head(hidden, settings.classes, dropout=settings.dropout)
        self.body_groups = self._grouped(branches.values())

    def forward(  # type: ignore[override]
        self, views: Sequence[torch.Tensor], present: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return the logits of examples, as `of_views` does."""
        return self.of_views(views, present)

    def of_views(
        self, views: Sequence[torch.Tensor], present: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return the logits of examples, (B,) for one class, else (B, classes).

        Parameters
        ----------
        views : sequence of tensors
            One (B, bands, N, N) per survey, each with its own bands and size.
        present : bool tensor, shape (B, surveys), optional
            True for the surveys that an example has; default: all. Pixels of a missing survey are
            not read and may be NaN.
        """
        if len(views) != len(self.surveys):
            raise ModelError(
                f"this network joins {', '.join(self.surveys)}, but got {len(views)} view(s); "
                "give one for each survey, with present = False where there is none"
            )
        described = [
            self._describe(i, x, None if present is None else present[:, i])
            for i, x in enumerate(views)
        ]
        return self.logits(self.join(torch.cat(described, dim=1)))

    def _describe(self, i: int, x: torch.Tensor, has: torch.Tensor | None) -> torch.Tensor:
        """Return the features of a survey that the common layers read, (B, hidden)."""
        if has is None or bool(has.all()):
            return self.project[i](_embed(self.branches[i], x))
        standing_in = self.stand_in[i].expand(len(x), -1)
        rows = has.nonzero()[:, 0]
        if not len(rows):
            return standing_in
        # Only existing images go through the branch: others would enter its batch statistics, and
        # so change the logits of the other examples.
        seen = self.project[i](_embed(self.branches[i], x[rows]))
        return standing_in.index_copy(0, rows, seen.to(standing_in.dtype))

    def _grouped(self, branches: Iterable[Network]) -> Groups:
        """Group the names of all parameters but the head's; branches end at the same group."""
        named = [
            [[f"branches.{i}.{name}" for name in group] for group in branch.body_groups]
            for i, branch in enumerate(branches)
        ]
        depth = max(len(groups) for groups in named)
        levels: Groups = [[] for _ in range(depth)]
        for groups in named:
            # Branches of different depth are aligned at their ends, so that unfreezing the last
            # groups trains the last layers of every branch.
            for level, group in zip(levels[depth - len(groups) :], groups, strict=True):
                level += group
        common = [n for n, _ in self.named_parameters() if n.startswith(("project.", "stand_in."))]
        return [*levels, common, [n for n, _ in self.named_parameters() if n.startswith("join.")]]


def hide_surveys(present: np.ndarray, probability: float, rng: np.random.Generator) -> np.ndarray:
    """Hide surveys of examples at random, but never all of an example.

    Parameters
    ----------
    present : bool ndarray, shape (n, surveys)
        True for the surveys that each example has.
    probability : float
        Chance of each survey to be hidden, unless it is the last one left.
    rng : numpy Generator
        The step's random numbers.
    """
    kept = present & (rng.random(present.shape) >= probability)
    # Where all were hidden, one is shown again: the present one with the highest random number.
    lots = np.where(present, rng.random(present.shape), -1.0)
    rescued = np.zeros_like(present)
    np.put_along_axis(rescued, lots.argmax(axis=1)[:, None], True, axis=1)
    return np.where(kept.any(axis=1, keepdims=True), kept, rescued & present)


def _embed(branch: Any, x: torch.Tensor) -> torch.Tensor:
    if len(x) > 1:
        return branch.embed(x)
    # A single example has no batch statistics, so it gets the running ones.
    norms = [m for m in branch.modules() if isinstance(m, _BatchNorm) and m.training]
    for norm in norms:
        norm.training = False
    try:
        return branch.embed(x)
    finally:
        for norm in norms:
            norm.training = True
