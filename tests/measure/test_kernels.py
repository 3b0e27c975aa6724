"""Every kernel equals the metric that it stands for, whatever the block, with and without oneDNN."""

import math

import pytest
import torch
from torch import Tensor

from civilwar.measure import kernels, metrics
from civilwar.measure.metrics import Rows

QUERY_HEADS, KV, POS, HEAD, FIRST_KEYS = 6, 3, 19, 10, 4
SEPARATOR = torch.arange(POS) % 5 == 2


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def queries_and_keys() -> tuple[Tensor, Tensor]:
    """Keys of clearly different lengths, and queries long enough for attention to choose."""
    lengths = torch.linspace(0.5, 3, POS)[:, None] * torch.linspace(1, 2, KV)[:, None, None]
    return 2 * normal(QUERY_HEADS, POS, HEAD, seed=1), lengths * normal(KV, POS, HEAD, seed=2)


def by_definition(queries: Tensor, keys: Tensor) -> dict[str, Tensor]:
    """Per query, from whole attention, by the functions of metrics.py alone."""
    logits = metrics.attention_logits(queries, keys)
    future = ~metrics.causal_mask(0, POS, POS, queries.device)
    norm = metrics.vector_norm(keys)
    rescaled = metrics.attention_logits(queries, keys * (norm.mean() / norm)[..., None])
    attention = metrics.causal_attention(logits)
    rows = Rows(attention, logits.masked_fill(future, -torch.inf), SEPARATOR)
    expected = {name: measure.of_queries(rows) for name, measure in metrics.OF_ATTENTION.items()}
    expected["entropy_rescaled"] = metrics.normalise_entropy(
        metrics.attention_entropy(metrics.causal_attention(rescaled))
    )
    return expected | {f"key{k}": attention[..., k - 1] for k in range(1, FIRST_KEYS + 1)}


@pytest.mark.parametrize("block", [1, 3, 7, POS, 128])
@pytest.mark.parametrize("by_convolution", [True, False])
def test_attention_of_queries_is_what_the_metrics_define(
    block: int, by_convolution: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernels, "QUERY_BLOCK", block)
    queries, keys = queries_and_keys()
    copies = queries.clone(), keys.clone()
    measured = kernels.attention_of_queries(queries, keys, SEPARATOR, FIRST_KEYS, by_convolution)
    expected = by_definition(queries, keys)
    assert set(measured) == set(expected)
    for name, values in expected.items():
        torch.testing.assert_close(
            measured[name], values, rtol=1e-4, atol=1e-5, equal_nan=True, msg=lambda text, name=name: f"{name}: {text}"
        )
        # no two queries alike, or the agreement would say nothing
        assert values.nan_to_num().unique().numel() > QUERY_HEADS, name
    assert torch.equal(queries, copies[0])
    assert torch.equal(keys, copies[1])


@pytest.mark.parametrize("by_convolution", [True, False])
def test_logits_by_query_are_the_logits_in_another_order_of_memory(by_convolution: bool) -> None:
    queries, keys = queries_and_keys()
    logits = kernels.logits_by_query(queries, keys.repeat_interleave(QUERY_HEADS // KV, 0), by_convolution)
    torch.testing.assert_close(logits, metrics.attention_logits(queries, keys))
    # a query's rows, one for each head, lie beside each other
    assert logits.stride() == (POS, QUERY_HEADS * POS, 1)
    torch.testing.assert_close(kernels.softmax_by_query(logits), logits.softmax(-1))
    assert kernels.softmax_by_query(logits).stride() == logits.stride()


@pytest.mark.parametrize("sharpness", [0.0, 1.0, 40.0])
def test_entropy_without_a_logarithm_for_every_key_is_the_entropy(sharpness: float) -> None:
    logits = sharpness * normal(QUERY_HEADS, POS, POS, seed=3)
    weights = logits.softmax(-1)
    expected = metrics.attention_entropy(weights)
    found = kernels.entropy_overwriting(weights.clone(), logits, weights.amax(-1), logits.amax(-1))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=2e-5)
    assert found.min() >= 0
    if sharpness == 0:
        torch.testing.assert_close(found, torch.full_like(found, math.log(POS)))
