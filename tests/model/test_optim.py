"""Optimisers: who trains what, and what weight decay alone does to a gain (C02)."""

import math
from typing import Any

import pytest
import torch
from torch import nn

from civilwar.model.decoder import Decoder
from civilwar.model.optim import make_optimizers, parameter_groups
from civilwar.names.variants import VARIANTS
from civilwar.recipe.config import TrainConfig, make_config


def made(variant: str) -> tuple[Decoder, TrainConfig, list[torch.optim.Optimizer]]:
    config = make_config("smoke", variant)
    model = Decoder(config.model)
    return model, config.train, make_optimizers(model, config.train)


def settings_of(model: Decoder, optimizers: list[torch.optim.Optimizer]) -> dict[str, dict[str, Any]]:
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    found: dict[str, dict[str, Any]] = {}
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                name = names[id(parameter)]
                assert name not in found, "in two groups"
                found[name] = {**group, "kind": type(optimizer).__name__}
    return found


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_trained_parameter_is_in_exactly_one_group(variant: str) -> None:
    model, _, optimizers = made(variant)
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert set(settings_of(model, optimizers)) == trained
    grouped = [id(p) for group in parameter_groups(model).values() for p in group]
    assert len(grouped) == len(set(grouped)) == len(trained)


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_parameter_has_the_recipe_s_optimiser(variant: str) -> None:
    model, train, optimizers = made(variant)
    matrices = 0
    for name, found in settings_of(model, optimizers).items():
        if "qkvo" in name or "mlp.up" in name or "mlp.down" in name:
            matrices += 1
            assert found["weight_decay"] == 0
            if variant == "adamw_only":
                assert (found["kind"], found["lr"]) == ("AdamW", 0.001)
            else:
                assert (found["kind"], found["lr"], found["momentum"]) == ("Muon", 0.024, 0.95)
                assert (found["nesterov"], found["adjust_lr_fn"]) == (True, "original")
            continue
        assert (found["kind"], found["lr"], found["betas"]) == ("AdamW", 0.006, train.adamw_betas)
        of_a_head = "q_norm" in name or "k_norm" in name
        assert found["weight_decay"] == (0 if of_a_head and variant == "no_gain_decay" else 0.2), name
    assert matrices == 2 * (6 if variant == "separate_qkvo" else 3)


def decayed_gain(steps: int, dtype: torch.dtype, variant: str = "baseline") -> torch.Tensor:
    config = make_config("smoke", variant)
    model = Decoder(config.model).to(dtype)
    optimizers = make_optimizers(model, config.train)
    for _ in range(steps):
        for parameter in model.parameters():
            parameter.grad = torch.zeros_like(parameter)
        for optimizer in optimizers:
            optimizer.step()
    gain: torch.Tensor = model.blocks[1].attention.k_norm.weight.detach()
    return gain


def test_decay_alone_takes_the_gain_to_the_report_s_7_1_at_step_100() -> None:
    gain = decayed_gain(100, torch.float32)
    torch.testing.assert_close(gain, torch.full_like(gain, (1 - 0.006 * 0.2) ** 100), rtol=1e-5, atol=0)
    assert math.sqrt(64) * gain[0].item() == pytest.approx(7.1, abs=0.01)


def test_without_decay_the_gain_stays() -> None:
    assert (decayed_gain(10, torch.float32, "no_gain_decay") == 1).all()


def test_in_pure_bfloat16_decay_of_a_gain_near_one_is_lost_to_rounding() -> None:
    gain = decayed_gain(100, torch.bfloat16, "pure_bf16")
    assert gain.dtype == torch.bfloat16
    assert (gain == 1).all()
    # half a unit in the last place below 1 is more than the step
    assert torch.finfo(torch.bfloat16).eps / 4 > 0.006 * 0.2
    assert torch.tensor(1 - 0.0012, dtype=torch.bfloat16) == 1


@pytest.mark.parametrize(("rows", "columns"), [(96, 32), (32, 64), (48, 48)])
def test_a_muon_step_is_orthogonal_and_scaled_by_the_matrix_s_shape(rows: int, columns: int) -> None:
    generator = torch.Generator().manual_seed(0)
    block = nn.Module()
    block.weight = nn.Parameter(torch.randn(rows, columns, generator=generator))
    before = block.weight.detach().clone()
    # singular values of the gradient from 0.1 to 10
    u, s, vt = torch.linalg.svd(torch.randn(rows, columns, generator=generator), full_matrices=False)
    s = torch.logspace(1, -1, len(s))
    block.weight.grad = u @ s.diag() @ vt
    from civilwar.model.optim import _matrix_optimizer

    _matrix_optimizer([block.weight], make_config("smoke").train).step()
    step = (before - block.weight.detach()).double() / (0.024 * math.sqrt(max(1, rows / columns)))
    # Newton-Schulz in bfloat16 takes singular values near 1, not to it
    singular = torch.linalg.svdvals(step)
    assert singular.min() > 0.5
    assert singular.max() < 1.4
    in_its_basis = u.double().T @ step @ vt.double().T
    assert in_its_basis.diagonal().min() > 0.5
    assert (in_its_basis - in_its_basis.diagonal().diag()).abs().max() < 0.1


def test_joint_matrices_are_orthogonalised_jointly() -> None:
    moved = {}
    for variant in ("baseline", "separate_qkvo"):
        model, _, optimizers = made(variant)
        attention = model.blocks[0].attention
        before = torch.cat(attention.weights()).detach().clone()
        for parameter in model.parameters():
            parameter.grad = torch.zeros_like(parameter)
        gradient = torch.randn(before.shape, generator=torch.Generator().manual_seed(0))
        # one gradient for both; a large one for q alone drowns k, v and o only where they are one matrix
        gradient[: attention.widths[0]] *= 1000
        parts = gradient.split(attention.widths) if variant == "separate_qkvo" else [gradient]
        for parameter, part in zip(attention.qkvo, parts, strict=True):
            parameter.grad = part.clone()
        for optimizer in optimizers:
            optimizer.step()
        step = torch.cat(attention.weights()).detach() - before
        moved[variant] = [part.norm().item() for part in step.split(attention.widths)]
    q_joint, k_joint, *_ = moved["baseline"]
    q_separate, k_separate, *_ = moved["separate_qkvo"]
    assert k_joint < 0.05 * q_joint
    assert k_separate > 0.3 * q_separate
