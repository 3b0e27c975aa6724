"""Sums per head against plain float64 over whole attention, and sums of parts against the sum of the whole."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from civilwar.hear import statistics as module
from civilwar.hear.call import Allowed
from civilwar.hear.heard import Heard
from civilwar.hear.statistics import EDGES, merged, statistics

BATCH, HEADS, KV, N, D = 3, 4, 2, 17, 6


def heard(n: int = N, batch: int = BATCH, **options: object) -> Heard:
    torch.manual_seed(0)
    query, key = torch.randn(batch, HEADS, n, D) * 2, torch.randn(batch, KV, n, D)
    return Heard(0, "layer", query, key, 0.7, **({"allowed": Allowed(causal=True)} | options))


def additive() -> Tensor:
    """Causal, with a slope by head, as ALiBi."""
    position = torch.arange(N)
    slopes = torch.tensor([0.1, 0.2, 0.4, 0.8])[:, None, None]
    bias = -slopes * (position[:, None] - position)
    return bias.masked_fill(position > position[:, None], torch.finfo(torch.float32).min)[None]


def packed() -> Tensor:
    """Two texts in one row, neither sees the other."""
    text = torch.arange(N) >= 7
    return (text == text[:, None])[None, None] & torch.ones(N, N, dtype=torch.bool).tril()


REAL = torch.ones(BATCH, N, dtype=torch.bool)
REAL[1, :4] = False
REAL[2, 12:] = False
CASES = {
    "causal": {},
    "both ways": {"allowed": Allowed()},
    "window": {"allowed": Allowed(causal=True, window=5)},
    "softcap": {"softcap": 1.5},
    "sinks": {"sinks": torch.tensor([0.5, -1.0, 2.0, 0.0])},
    "bias": {"bias": torch.linspace(-1, 1, HEADS * N * N).view(1, HEADS, N, N)},
    "alibi": {"allowed": Allowed(mask=additive())},
    "packed": {"allowed": Allowed(mask=packed())},
    "padded": {"allowed": Allowed(mask=REAL[:, None, None] & torch.ones(N, N, dtype=torch.bool).tril(), real=REAL)},
}


def whole(call: Heard, separators: Tensor) -> dict[str, np.ndarray]:
    """Means per query head, text by text, row by row, in float64."""
    allowed = call.allowed
    real = np.ones((BATCH, N), bool) if allowed.real is None else allowed.real.numpy()
    found: dict[str, list[list[float]]] = {}
    for head in range(HEADS):
        rows: dict[str, list[float]] = {}
        for text in range(BATCH):
            first = 0
            for i in range(N):
                if not real[text, i]:
                    continue
                q, keys = call.query[text, head, i].double(), call.key[text, head // 2].double()
                dots = (keys @ q * call.scaling).numpy()
                s = dots if call.softcap is None else call.softcap * np.tanh(dots / call.softcap)
                if call.bias is not None:
                    s = s + call.bias[0, head, i].double().numpy()
                seen = np.ones(N, bool)
                if allowed.causal:
                    seen &= np.arange(N) <= i
                if allowed.window:
                    seen &= np.arange(N) > i - allowed.window
                if allowed.mask is not None:
                    mask = allowed.mask.expand(BATCH, HEADS, N, N)[text, head, i]
                    if mask.dtype == torch.bool:
                        seen &= mask.numpy()
                    else:
                        seen &= mask.numpy() > -1e30
                        s = s + np.where(seen, mask.double().numpy(), 0)
                if i and allowed.mask is not None and not seen[i - 1]:
                    first = i
                if not real[text, :i].any():
                    first = i
                level = np.logaddexp.reduce(s[seen])
                if call.sinks is not None:
                    level = np.logaddexp(level, call.sinks[head].item())
                weights = np.where(seen, np.exp(np.where(seen, s, -np.inf) - level), 0)
                entropy = -sum(w * math.log(w) for w in weights if w > 0)
                told = {"max_logit": dots[seen].max(), "level": level, "entropy": entropy, "max_weight": weights.max()}
                told["separator_mass"] = weights[separators[text].numpy()].sum()
                if seen.sum() > 1:
                    told["entropy_share"] = entropy / math.log(seen.sum())
                if seen[first]:
                    told["first_mass"] = weights[first]
                if i and seen[i - 1]:
                    told["previous_mass"] = weights[i - 1]
                for name, value in told.items():
                    rows.setdefault(name, []).append(value)
        for name, values in rows.items():
            found.setdefault(name, []).append(max(values) if name == "max_logit" else float(np.mean(values)))
    return {name: np.array(values) for name, values in found.items()}


COUNTS = {
    "level": "row",
    "entropy": "row",
    "max_weight": "row",
    "separator_mass": "separator",
    "entropy_share": "share",
    "first_mass": "first",
    "previous_mass": "previous",
}


@pytest.mark.parametrize("case", CASES)
def test_everything_of_attention_is_what_float64_says(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # several blocks of queries and of texts
    monkeypatch.setattr(module, "BLOCK", HEADS * N * 5)
    call = heard(**CASES[case])
    separators = torch.arange(N)[None].expand(BATCH, -1) % 5 == 2
    expected = whole(call, separators)
    found = statistics(call, separators=separators).query_heads
    for name, count in COUNTS.items():
        mean = found[f"{name}_sum"] / found[f"{count}_count"]
        np.testing.assert_allclose(mean, expected[name], rtol=1e-5, atol=1e-6, err_msg=name)
    np.testing.assert_allclose(found["max_logit_max"], expected["max_logit"], rtol=1e-5)
    for head in range(HEADS):
        text, i, j = (found[f"max_logit_{what}"][head] for what in ("text", "query", "key"))
        at = call.scaling * call.query[text, head, i] @ call.key[text, head // 2, j]
        assert at.item() == pytest.approx(found["max_logit_max"][head].item(), rel=1e-5)


def test_lengths_and_covariances_are_of_real_tokens() -> None:
    call = heard(**CASES["padded"])
    query_heads, kv_heads = statistics(call)
    for head in range(KV):
        keys = call.key[:, head][REAL].double().numpy()
        norms = np.linalg.norm(keys, axis=1)
        assert kv_heads["key_count"][head] == len(keys) == REAL.sum()
        np.testing.assert_allclose(kv_heads["key_norm_sum"][head], norms.sum())
        np.testing.assert_allclose(kv_heads["key_norm_square_sum"][head], (norms**2).sum())
        np.testing.assert_allclose(kv_heads["key_norm_max"][head], norms.max())
        bins = np.histogram(norms, [0, *EDGES.tolist(), np.inf])[0]
        np.testing.assert_array_equal(kv_heads["key_norm_bins_sum"][head], bins)
        mean = kv_heads["key_sum"][head] / len(keys)
        covariance = kv_heads["key_outer_sum"][head] / len(keys) - mean[:, None] * mean
        np.testing.assert_allclose(covariance, np.cov(keys.T, bias=True), atol=1e-12)
    norms = call.query.norm(dim=-1).transpose(0, 1)[:, REAL]
    torch.testing.assert_close(query_heads["query_norm_sum"], norms.double().sum(1))


def test_parts_add_up_and_the_largest_logit_keeps_its_place() -> None:
    call = heard()
    parts = [
        Heard(0, "layer", call.query[i : i + 1], call.key[i : i + 1], 0.7, Allowed(causal=True)) for i in range(BATCH)
    ]
    for kind in (0, 1):
        together, apart = statistics(call)[kind], merged([statistics(part)[kind] for part in parts])
        assert set(together) == set(apart)
        for name in together:
            if name != "max_logit_text":
                torch.testing.assert_close(together[name].double(), apart[name].double(), rtol=1e-6, atol=1e-6)


def test_levels_say_what_is_paid_for() -> None:
    names = {level: set(statistics(heard(), level).query_heads) for level in ("norms", "logits", "full")}
    assert names["norms"] < names["logits"] < names["full"]
    assert not any("logit" in name for name in names["norms"])
    assert "max_logit_key" in names["logits"]
    assert "entropy_sum" not in names["logits"]


def test_what_is_not_a_number_stays_visible() -> None:
    call = heard()
    call.query[1, 2, 3] = torch.nan
    found = statistics(call).query_heads
    assert found["max_logit_max"].isnan().tolist() == [False, False, True, False]
    assert found["entropy_sum"].isnan().tolist() == [False, False, True, False]
    other = statistics(heard()).query_heads
    for parts in ([found, other], [other, found]):
        assert merged(parts)["max_logit_max"].isnan().tolist() == [False, False, True, False]


def test_a_query_that_may_see_nothing_does_not_count() -> None:
    mask = torch.ones(N, N, dtype=torch.bool).tril()
    mask[4] = False
    found = statistics(heard(allowed=Allowed(mask=mask))).query_heads
    assert found["row_count"].tolist() == [float(BATCH * (N - 1))] * HEADS
    assert found["entropy_sum"].isfinite().all()


def test_attention_is_never_held_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    largest = 0
    dots = Heard.dots

    def measured(self: Heard, text: slice, queries: slice) -> Tensor:
        nonlocal largest
        out = dots(self, text, queries)
        largest = max(largest, out.numel())
        return out

    monkeypatch.setattr(Heard, "dots", measured)
    n = 1500
    statistics(heard(n, 2))
    assert 0 < largest <= module.BLOCK < HEADS * n * n
