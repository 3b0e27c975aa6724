"""Cross-entropy of the next token: from logits, to measure; from the last hidden states, to train.

To train, the logits of a long batch would be the largest tensor by far, and their float32 copy twice that. They are made
some positions at a time and turned into their own gradient on the spot.
"""

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from civilwar.model.ways import compiled

#: Logits turned to float32 at once: 16 MB.
CHUNK_ELEMENTS = 2**22
#: Positions whose logits are one matrix product.
POSITIONS_AT_ONCE = 512


def next_token_loss(
    logits: Float[Tensor, "batch pos vocab"], targets: Int[Tensor, "batch pos"]
) -> Float[Tensor, "batch pos"]:
    """Cross-entropy of each position's next token, in nats, computed in float32 whatever the logits' precision."""
    rows = max(1, CHUNK_ELEMENTS // logits.shape[-1])
    chunks = zip(logits.flatten(0, 1).split(rows), targets.flatten().split(rows), strict=True)
    losses = [F.cross_entropy(some.float(), wanted, reduction="none") for some, wanted in chunks]
    return torch.cat(losses).view_as(targets)


def total_next_token_loss(
    hidden: Float[Tensor, "batch pos d_model"],
    unembedding: Float[Tensor, "vocab d_model"],
    targets: Int[Tensor, "batch pos"],
    fast: bool = False,
) -> Float[Tensor, ""]:
    """Sum over all positions of `next_token_loss` of ``hidden @ unembedding.T``, in nats, as float32.

    Under autocast the matrix products are done in autocast's precision. The gradients are made together with the value.
    ``fast``: the softmax is compiled (`civilwar.model.ways`).
    """
    device = hidden.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else hidden.dtype
    total: Tensor = _TotalLoss.apply(hidden.flatten(0, 1).to(dtype), unembedding.to(dtype), targets.flatten(), fast)
    return total


def _loss_and_derivative(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropy of each row, in float32, and its derivative by the logits, in their precision."""
    log_probability = logits.float().log_softmax(-1)
    losses = -log_probability.gather(1, targets[:, None])
    hit = torch.arange(logits.shape[1], device=logits.device) == targets[:, None]
    return losses, (log_probability.exp() - hit.float()).to(logits.dtype)


class _TotalLoss(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, unembedding: Tensor, targets: Tensor, fast: bool) -> Tensor:
        with torch.autocast(hidden.device.type, enabled=False):
            wants_gradient = any(ctx.needs_input_grad)
            fast = fast and wants_gradient
            # compiled, nothing in float32 is as large as the logits
            rows = POSITIONS_AT_ONCE if fast else max(1, CHUNK_ELEMENTS // len(unembedding))
            both = compiled(_loss_and_derivative) if fast else _loss_and_derivative
            losses = []
            # what is a logit first becomes the loss's derivative by it
            logits = hidden.new_empty(len(hidden), len(unembedding))
            for some, states, wanted in zip(
                *(x.split(POSITIONS_AT_ONCE) for x in (logits, hidden, targets)), strict=True
            ):
                torch.mm(states, unembedding.T, out=some)
                for chunk, target in zip(some.split(rows), wanted.split(rows), strict=True):
                    if wants_gradient:
                        loss, derivative = both(chunk, target)
                        chunk.copy_(derivative)
                    else:
                        loss = -chunk.float().log_softmax(-1).gather(1, target[:, None])
                    losses.append(loss)
            if wants_gradient:
                ctx.save_for_backward(logits @ unembedding, logits.T @ hidden)
            return torch.cat(losses).sum()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_total: Tensor) -> tuple[Tensor, Tensor, None, None]:
        d_hidden, d_unembedding = ctx.saved_tensors
        # fresh at each forward pass and read by nobody else
        return d_hidden.mul_(d_total), d_unembedding.mul_(d_total), None, None
