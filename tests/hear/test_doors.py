"""Models of one's own: heard by the function they call, by name, each call once, and nothing of it left behind."""

import math
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from own_models import TOKENS, FusedAttention, GroupedAttention, InlineAttention, Stack, fused
from torch import Tensor, nn

from civilwar.hear.check import check, deviation, self_check
from civilwar.hear.doors import hear
from civilwar.hear.heard import Heard
from civilwar.hear.hearing import Unheard
from civilwar.hear.observing import observe

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from families import FAMILIES, inputs, tiny


def heard(model: nn.Module, *given: Tensor, **options: object) -> list[Heard]:
    calls: list[Heard] = []
    with hear(model, calls.append):
        model(*given, **options)
    return calls


@pytest.mark.parametrize(
    ("attention", "n_kv_heads"),
    [
        (FusedAttention, 4),
        (GroupedAttention, 2),
        (lambda: GroupedAttention(repeats=True), 2),
    ],
)
def test_own_models_are_heard_by_layer_and_name(attention: Callable[[], nn.Module], n_kv_heads: int) -> None:
    calls = heard(Stack([attention() for _ in range(3)]), TOKENS)
    assert [(call.layer, call.name) for call in calls] == [(i, f"layers.{i}") for i in range(3)]
    for call in calls:
        assert (call.n_query_heads, call.n_kv_heads) == (4, n_kv_heads)
        # in float64, by the formula, from what was heard
        query, key = call.query.double(), call.key.double().repeat_interleave(4 // n_kv_heads, 1)
        logits = (query @ key.mT) * call.scaling
        weights = logits.masked_fill(torch.ones(13, 13, dtype=torch.bool).triu(1), -torch.inf).softmax(-1)
        assert (call.weights() - weights).abs().max() <= 1e-5
        assert check(call) <= 1e-5
        assert not call.query.requires_grad


def test_a_function_imported_by_its_name_is_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    import own_models as small

    kernel = F.scaled_dot_product_attention
    monkeypatch.setattr(small, "attend", kernel, raising=False)

    class ByName(small.FusedAttention):
        def forward(self, x: Tensor) -> Tensor:
            return small.attend(x[:, None], x[:, None], x[:, None], is_causal=True)[:, 0]

    ByName.__module__ = small.__name__
    model = Stack([ByName()])
    assert len(heard(model, TOKENS)) == 1
    assert small.attend is kernel
    assert F.scaled_dot_product_attention is kernel


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("need_weights", [True, False])
def test_multihead_attention_is_heard_whichever_way_it_takes(training: bool, need_weights: bool) -> None:
    torch.manual_seed(0)
    module = nn.MultiheadAttention(12, 3, batch_first=True).train(training)
    x = torch.randn(2, 7, 12)
    padding = torch.zeros(2, 7, dtype=torch.bool)
    padding[1, 5:] = True
    causal = torch.ones(7, 7, dtype=torch.bool).triu(1)
    calls: list[Heard] = []
    with hear(module, calls.append, evaluation=True):
        module(x, x, x, key_padding_mask=padding, attn_mask=causal, need_weights=need_weights)
    [call] = calls
    own = module(x, x, x, key_padding_mask=padding, attn_mask=causal, average_attn_weights=False)[1]
    assert (call.weights() - own).abs().max() <= 1e-6
    assert call.allowed.real is not None
    assert call.allowed.real.equal(~padding)


def test_torch_s_encoder_layers_are_heard_in_evaluation_and_give_what_they_gave() -> None:
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(12, 3, 16, batch_first=True)
    model = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False).eval()
    x = torch.randn(2, 7, 12)
    calls: list[Heard] = []
    with torch.no_grad():
        before = model(x)
        with hear(model, calls.append, evaluation=True):
            during = model(x)
    assert [call.name for call in calls] == ["layers.0.self_attn", "layers.1.self_attn"]
    # torch fuses a layer where nobody listens, so they differ by rounding here, and only here
    assert (before - during).abs().max() < 1e-5


def test_attention_that_nothing_hears_is_refused_and_can_be_handed_over() -> None:
    model = Stack([InlineAttention(), InlineAttention()])
    with pytest.raises(
        Unheard, match=r"Stack ran and none of its attention was heard: .*observe\(q, k, layer=\.\.\.\)"
    ):
        heard(model, TOKENS)
    calls: list[Heard] = []
    with hear(model, calls.append, unheard="ignore"):
        model(TOKENS)
    assert calls == []
    for i, layer in enumerate(model.layers):
        layer.observed = lambda q, k, i=i, **rest: observe(q, k, layer=i, scaling=6**-0.5, **rest)
    calls = heard(model, TOKENS)
    assert [(call.layer, call.name) for call in calls] == [(0, "observed.0"), (1, "observed.1")]
    assert max(map(deviation, calls)) <= 1e-6
    # nobody listens, nothing happens
    model(TOKENS)
    with pytest.raises(ValueError, match=r"expected \[batch, query_head, query, d_head\].*transpose"):
        observe(torch.zeros(1, 3, 5, 4), torch.zeros(1, 2, 5, 4), layer=0)


def test_another_model_that_runs_meanwhile_is_not_heard() -> None:
    student, teacher = fused(), fused()
    calls: list[Heard] = []
    with hear(student, calls.append):
        teacher(TOKENS)
        student(TOKENS)
        teacher(TOKENS)
    assert len(calls) == 2


def test_two_hearings_of_one_model_end_in_any_order() -> None:
    model, first, second = fused(), [], []
    a, b = hear(model, first.append), hear(model, second.append)
    a.__enter__()
    b.__enter__()
    model(TOKENS)
    a.__exit__(None, None, None)
    model(TOKENS)
    b.__exit__(None, None, None)
    model(TOKENS)
    assert (len(first), len(second)) == (2, 4)


def test_a_listener_that_fails_leaves_nothing_behind() -> None:
    model, kernel = fused(), F.scaled_dot_product_attention
    with pytest.raises(ZeroDivisionError), hear(model, lambda call: 1 / 0):
        model(TOKENS)
    assert F.scaled_dot_product_attention is kernel
    assert sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()) == 0


def test_shared_layers_count_as_often_as_they_run() -> None:
    shared = FusedAttention()
    model = Stack([shared, shared])
    calls = heard(model, TOKENS)
    assert [call.name for call in calls] == ["layers.0", "layers.0 (call 2)"]
    # names without a call of their own are no layers
    model.again = nn.ModuleList([shared, shared])
    assert len(heard(model, TOKENS)) == 2


def test_a_part_of_the_model_called_by_itself() -> None:
    model = fused()
    calls: list[Heard] = []
    x = torch.randn(1, 5, 24)
    with hear(model, calls.append):
        model.layers[1](x)
        model.layers[1](x)
    assert [call.name for call in calls] == ["layers.1", "layers.1"]


def test_the_check_refuses_what_was_not_understood_by_the_layer_s_name() -> None:
    class Sharpened(FusedAttention):
        def forward(self, x: Tensor) -> Tensor:
            q, k, v = (y.unflatten(-1, (self.heads, -1)).transpose(1, 2) for y in self.c_attn(x).chunk(3, -1))
            with torch.no_grad():
                observe(q, k, layer=7, value=v, output=F.scaled_dot_product_attention(2 * q, k, v, is_causal=True))
            return self.c_proj(F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2))

    model = Stack([FusedAttention(), FusedAttention()])
    assert set(self_check(model, TOKENS)) == {"layers.0", "layers.1"}
    with pytest.raises(
        Unheard, match=r"^observed\.7: attention computed from its queries and keys gives an output .* off"
    ):
        self_check(Stack([Sharpened()]), TOKENS)


def test_keys_of_a_cache_come_before_the_query() -> None:
    family = next(f for f in FAMILIES if f.key == "mistral")
    model, ids = tiny(family, "sdpa"), inputs(family)["input_ids"]
    calls: list[Heard] = []
    with torch.no_grad():
        whole = []
        with hear(model, whole.append, evaluation=True):
            model(ids)
        past = model(ids[:, :-1], use_cache=True).past_key_values
        with hear(model, calls.append, evaluation=True):
            model(ids[:, -1:], past_key_values=past)
    for last, all_at_once in zip(calls, whole, strict=True):
        weights = all_at_once.weights()[:, :, -1:]
        n_keys = last.key.shape[2]
        # a window's cache drops what no query sees any more
        assert (last.weights() - weights[..., -n_keys:]).abs().max() <= 1e-6
        assert math.isclose(weights[..., -n_keys:].sum(), weights.sum(), rel_tol=1e-5)


def test_threads_hear_their_own_models() -> None:
    counts: list[int] = []

    def work() -> None:
        counts.append(sum(len(heard(fused(), TOKENS)) for _ in range(5)))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counts == [10, 10, 10]
