"""The training loss and its gradient, made together, against cross-entropy of the logits."""

import pytest
import torch
from torch import Tensor

from civilwar.model import loss as losses
from civilwar.model.loss import next_token_loss, total_next_token_loss


def made(dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(2, 13, 5, generator=generator).to(dtype).requires_grad_()
    unembedding = torch.randn(11, 5, generator=generator).to(dtype).requires_grad_()
    return hidden, unembedding, torch.randint(11, (2, 13), generator=generator)


@pytest.fixture(autouse=True, params=[(4, 22), (26, 11), (512, 2**22)])
def chunks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks that end inside a text, in one row, and none."""
    monkeypatch.setattr(losses, "POSITIONS_AT_ONCE", request.param[0])
    monkeypatch.setattr(losses, "CHUNK_ELEMENTS", request.param[1])


def test_the_total_and_its_gradients_are_those_of_cross_entropy() -> None:
    hidden, unembedding, targets = made()
    total = total_next_token_loss(hidden, unembedding, targets)
    expected = next_token_loss(hidden @ unembedding.T, targets).sum()
    torch.testing.assert_close(total, expected)
    # a factor that is no power of two, as where a mean is taken
    ours = torch.autograd.grad(total / 26, (hidden, unembedding))
    theirs = torch.autograd.grad(expected / 26, (hidden, unembedding))
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b)
        assert a.abs().max() > 1e-2


def test_under_autocast_gradients_reach_float32_parameters_in_float32() -> None:
    hidden, unembedding, targets = made()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        total = total_next_token_loss(hidden, unembedding, targets)
        expected = next_token_loss(torch.nn.functional.linear(hidden, unembedding), targets).sum()
    assert total.dtype == torch.float32
    assert total.item() == pytest.approx(expected.item(), rel=1e-6)
    ours = torch.autograd.grad(total, (hidden, unembedding))
    theirs = torch.autograd.grad(expected, (hidden, unembedding))
    for a, b in zip(ours, theirs, strict=True):
        assert a.dtype == torch.float32
        torch.testing.assert_close(a, b, rtol=0.02, atol=0.02)


def test_pure_bfloat16_is_summed_in_float32() -> None:
    hidden, unembedding, targets = made(torch.bfloat16)
    total = total_next_token_loss(hidden, unembedding, targets)
    assert total.dtype == torch.float32
    expected = next_token_loss(hidden @ unembedding.T, targets).sum()
    assert total.item() == pytest.approx(expected.item(), rel=1e-6)
    total.backward()
    assert hidden.grad is not None
    assert hidden.grad.dtype == torch.bfloat16


def test_without_gradient_only_the_value_is_made() -> None:
    hidden, unembedding, targets = made()
    with torch.no_grad():
        total = total_next_token_loss(hidden, unembedding, targets)
    assert not total.requires_grad
    assert total.item() == pytest.approx(next_token_loss(hidden @ unembedding.T, targets).sum().item(), rel=1e-6)


def test_what_goes_in_is_left_alone() -> None:
    hidden, unembedding, targets = made()
    before = hidden.detach().clone(), unembedding.detach().clone()
    total_next_token_loss(hidden, unembedding, targets).backward()
    assert torch.equal(hidden, before[0])
    assert torch.equal(unembedding, before[1])
