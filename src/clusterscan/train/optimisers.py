"""Optimisers, and which of a network's weights a stage of training changes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from clusterscan.core.errors import ConfigError
from clusterscan.networks.network import Network
from clusterscan.train.plan import Stage


def make_optimiser(network: nn.Module, stage: Stage, rate: float) -> torch.optim.Optimizer:
    """Return a fresh optimiser of what learns; biases and norms (1-d weights) do not decay.

    Parameters
    ----------
    network : nn.Module
        Weights that are frozen are left out.
    stage : Stage
        Its optimiser, momentum and weight decay.
    rate : float
        Learning rate.
    """
    learning = [p for p in network.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in learning if p.ndim > 1], "weight_decay": stage.weight_decay},
        {"params": [p for p in learning if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return _MAKERS[stage.optimiser]([g for g in groups if g["params"]], rate, stage)


def _sgd(groups: list[dict[str, Any]], rate: float, stage: Stage) -> torch.optim.Optimizer:
    return torch.optim.SGD(
        groups, rate, momentum=stage.momentum, nesterov=stage.momentum > 0
    )  # Nesterov's without momentum is plain descent


def _simple(kind: type[torch.optim.Optimizer]) -> Callable[..., torch.optim.Optimizer]:
    def make(groups: list[dict[str, Any]], rate: float, stage: Stage) -> torch.optim.Optimizer:
        return kind(groups, lr=rate)  # type: ignore[call-arg]

    return make


_MAKERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "sgd": _sgd,
    "adam": _simple(torch.optim.Adam),
    "adamw": _simple(torch.optim.AdamW),
    "nadam": _simple(torch.optim.NAdam),
    "radam": _simple(torch.optim.RAdam),
    "rmsprop": _simple(torch.optim.RMSprop),
    "adadelta": _simple(torch.optim.Adadelta),
}


def freeze(network: Network, trainable: str | int) -> None:
    """Let only part of a network learn.

    Parameters
    ----------
    network : Network
        Its parameters' requires_grad is set.
    trainable : 'all', 'head' or int
        Everything, the head, or this many of the last groups of layers.

    Raises
    ------
    ConfigError
        If the network has fewer groups.
    """
    groups = network.layer_groups()
    count = {"all": len(groups), "head": 1}.get(str(trainable), trainable)
    if int(count) > len(groups):
        raise ConfigError(
            f"train.transfer.trainable = {trainable}, but the network has {len(groups)} groups "
            "of layers; give fewer, or 'all'"
        )
    network.requires_grad_(trainable == "all")
    for group in groups[len(groups) - int(count) :]:
        for parameter in group:
            parameter.requires_grad_(True)


def still(network: nn.Module) -> list[nn.Module]:
    """Return the batch norms whose weights are frozen.

    Their statistics must not follow the new examples either, as the frozen weights behind them
    expect the old ones.
    """
    return [
        module
        for module in network.modules()
        if isinstance(module, _BatchNorm)
        and (own := list(module.parameters(recurse=False)))
        and not any(p.requires_grad for p in own)
    ]
