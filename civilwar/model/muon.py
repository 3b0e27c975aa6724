"""Muon, many matrices at once: `torch.optim.Muon`'s step with fewer and larger products.

Newton-Schulz takes a gradient's singular values near 1 by five steps X <- (a + b XX^T + c (XX^T)^2) X. All of it happens in the
Gram matrix XX^T, which is smaller than X: the steps are made there and multiplied into X at the end. In bfloat16 rounding
errors of the Gram matrix would grow until the steps explode, so after some of them X is made and its Gram matrix anew.
"""

import math
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

#: Newton-Schulz steps made on one Gram matrix; those of Muon's five that are left are made on a new one.
STEPS_ON_A_GRAM_MATRIX = 3


def orthogonalised(
    matrices: Float[Tensor, "matrix rows columns"], coefficients: tuple[float, float, float], steps: int, eps: float
) -> Float[Tensor, "matrix rows columns"]:
    """Each matrix with its singular values taken near 1, in bfloat16 (Jordan et al. 2024, "Muon").

    The steps of `torch.optim.Muon` on matrices of one shape, on the side of their Gram matrix that is smaller.
    """
    a, b, c = coefficients
    x = matrices.bfloat16()
    tall = x.shape[1] > x.shape[2]
    if tall:
        x = x.mT
    x = x / torch.linalg.matrix_norm(x, keepdim=True).clamp_min(eps)
    for first in range(0, steps, STEPS_ON_A_GRAM_MATRIX):
        gram, product = x @ x.mT, None
        last = min(first + STEPS_ON_A_GRAM_MATRIX, steps) - 1
        for step in range(first, last + 1):
            # a + b G + c G^2: X is multiplied with it from the left, and so is G, from both sides
            factor = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
            factor.diagonal(dim1=1, dim2=2).add_(a)
            product = factor if product is None else factor @ product
            if step < last:
                gram = factor @ gram @ factor
        x = product @ x
    return x.mT if tall else x


class Muon(torch.optim.Muon):
    """`torch.optim.Muon` with the matrices of each shape orthogonalised together; its state is the same."""

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step on the gradients that are there."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            parameters: list[Tensor] = []
            gradients: list[Tensor] = []
            momenta: list[Tensor] = []
            self._init_group(group, parameters, gradients, momenta)
            if not parameters:
                continue
            torch._foreach_lerp_(momenta, gradients, 1 - group["momentum"])
            updates = torch._foreach_lerp(gradients, momenta, group["momentum"]) if group["nesterov"] else momenta
            by_shape: dict[torch.Size, list[int]] = defaultdict(list)
            for at, parameter in enumerate(parameters):
                by_shape[parameter.shape].append(at)
            for shape, places in by_shape.items():
                together = torch.stack([updates[at].bfloat16() for at in places])
                made = orthogonalised(together, group["ns_coefficients"], group["ns_steps"], group["eps"])
                lr = group["lr"] * math.sqrt(max(1, shape[0] / shape[1]))
                for at, update in zip(places, made, strict=True):
                    parameters[at].mul_(1 - group["lr"] * group["weight_decay"])
                    parameters[at].add_(update, alpha=-lr)
        return loss
