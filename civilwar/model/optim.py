"""Which optimiser trains which parameter: Muon for matrices, AdamW for the embedding and every gain."""

import torch
from torch import nn

from civilwar.model.decoder import Decoder
from civilwar.model.muon import Muon
from civilwar.recipe.config import TrainConfig


def parameter_groups(model: Decoder) -> dict[str, list[nn.Parameter]]:
    """Trained parameters by kind.

    ``matrices``; ``gains``, those of q_norm and k_norm; ``others``, the embedding and the other gains.
    """
    groups: dict[str, list[nn.Parameter]] = {"matrices": [], "gains": [], "others": []}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        if name.endswith(("q_norm.weight", "k_norm.weight")):
            groups["gains"].append(parameter)
        elif parameter.ndim == 2 and not name.startswith("embedding"):
            groups["matrices"].append(parameter)
        else:
            groups["others"].append(parameter)
    return groups


def make_optimizers(model: Decoder, train: TrainConfig) -> list[torch.optim.Optimizer]:
    """The run's optimisers; step all of them after each backward pass."""
    groups = parameter_groups(model)
    decayed = [
        {"params": groups["others"], "weight_decay": train.weight_decay},
        {"params": groups["gains"], "weight_decay": train.gain_weight_decay},
    ]
    adamw = torch.optim.AdamW(
        [group for group in decayed if group["params"]], lr=train.adamw_lr, betas=train.adamw_betas, fused=True
    )
    return [adamw, _matrix_optimizer(groups["matrices"], train)]


def _matrix_optimizer(matrices: list[nn.Parameter], train: TrainConfig) -> torch.optim.Optimizer:
    if train.matrix_optimizer == "adamw":
        return torch.optim.AdamW(
            matrices, lr=train.matrix_adamw_lr, betas=train.adamw_betas, weight_decay=0.0, fused=True
        )
    return Muon(
        matrices,
        lr=train.muon_lr,
        momentum=train.muon_momentum,
        nesterov=True,
        weight_decay=0.0,
        # step scaled by max(1, rows / columns)^0.5, Jordan's original; `Muon` knows no other
        adjust_lr_fn="original",
    )
