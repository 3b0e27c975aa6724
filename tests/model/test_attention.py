"""Attention a block at a time against the definition, term by term, and against the library's kernel."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from civilwar.model import attention
from civilwar.model.attention import attend, attend_blocked


def inputs(n_tokens: int, dtype: torch.dtype = torch.float64, spread: float = 1.5) -> tuple[Tensor, Tensor, Tensor]:
    """Queries of 6 heads, keys and values of 3, two texts; axes as the model hands them over, not contiguous."""
    generator = torch.Generator().manual_seed(n_tokens)
    shapes = ((2, n_tokens, heads, 10) for heads in (6, 3, 3))
    made = [spread * torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]
    q, k, v = (x.to(dtype).transpose(1, 2).requires_grad_() for x in made)
    return q, k, v


def gradients(out: Tensor, wanted: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    weight = torch.randn(out.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(out.dtype)
    return torch.autograd.grad(out, wanted, weight)


@pytest.mark.parametrize("n_tokens", [1, 3, 4, 5, 8, 11])
def test_blocks_give_every_query_the_softmax_over_its_past(monkeypatch: pytest.MonkeyPatch, n_tokens: int) -> None:
    monkeypatch.setattr(attention, "QUERY_BLOCK", 4)
    q, k, v = (x.detach() for x in inputs(n_tokens))
    out = attend_blocked(q, k, v)
    for text in range(2):
        for head in range(6):
            for i in range(n_tokens):
                logits = [float(q[text, head, i] @ k[text, head // 2, j]) / math.sqrt(10) for j in range(i + 1)]
                weights = [math.exp(x) for x in logits]
                expected = sum(w * v[text, head // 2, j] for j, w in enumerate(weights)) / sum(weights)
                torch.testing.assert_close(out[text, head, i], expected)


@pytest.mark.parametrize("n_tokens", [1, 4, 11, 16])
def test_blocks_have_the_gradients_of_the_library_s_attention(monkeypatch: pytest.MonkeyPatch, n_tokens: int) -> None:
    monkeypatch.setattr(attention, "QUERY_BLOCK", 4)
    wanted = inputs(n_tokens)
    ours = gradients(attend_blocked(*wanted), wanted)
    theirs = gradients(F.scaled_dot_product_attention(*wanted, is_causal=True, enable_gqa=True), wanted)
    for a, b in zip(ours, theirs, strict=True):
        # gradients of keys and values are added up in float32
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)
    assert ours[1].abs().max() > 0.1 or n_tokens == 1


@pytest.mark.parametrize("needed", [(True, False, False), (False, True, True), (False, False, False)])
def test_only_the_gradients_asked_for(needed: tuple[bool, bool, bool]) -> None:
    parts = tuple(x.detach().requires_grad_(need) for x, need in zip(inputs(11), needed, strict=True))
    out = attend_blocked(*parts)
    assert out.requires_grad == any(needed)
    if any(needed):
        out.sum().backward()
    assert tuple(x.grad is not None for x in parts) == needed


def test_inputs_are_left_alone() -> None:
    wanted = inputs(11)
    before = [x.detach().clone() for x in wanted]
    gradients(attend_blocked(*wanted), wanted)
    for x, y in zip(wanted, before, strict=True):
        assert torch.equal(x, y)


def test_in_bfloat16_blocks_are_as_near_to_the_truth_as_bfloat16_allows() -> None:
    # spread 1.5 makes logits of about 2 on average and 10 at most, as a trained model's
    exact = attend_blocked(*inputs(600)).detach().float()
    out = attend_blocked(*inputs(600, torch.bfloat16)).detach().float()
    library = F.scaled_dot_product_attention(*inputs(600, torch.bfloat16), is_causal=True, enable_gqa=True)

    def error(x: Tensor) -> float:
        return float((x.detach().float() - exact).norm() / exact.norm())

    assert error(library) < error(out) < 3 * error(library) < 0.03


@pytest.mark.parametrize(
    ("n_tokens", "dtype", "asked", "gradient", "blocked"),
    [
        (128, torch.bfloat16, True, True, True),
        (128, torch.bfloat16, False, True, False),
        (128, torch.bfloat16, True, False, False),
        (128, torch.float32, True, True, False),
        (4096, torch.bfloat16, True, True, False),
    ],
)
def test_blocks_are_taken_where_asked_for_to_train_on_bfloat16_texts_that_are_not_too_long(
    monkeypatch: pytest.MonkeyPatch, n_tokens: int, dtype: torch.dtype, asked: bool, gradient: bool, blocked: bool
) -> None:
    calls = []
    monkeypatch.setattr(attention, "attend_blocked", lambda q, k, v: calls.append(q.shape) or q)
    q, k, v = (torch.zeros(1, heads, n_tokens, 2, dtype=dtype) for heads in (2, 1, 1))
    with torch.set_grad_enabled(gradient):
        assert attend(q, k, v, asked).shape == q.shape
    assert len(calls) == blocked
