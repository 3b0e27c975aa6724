"""Hooks: they see or replace what the model computes, in its order, and leave no trace."""

import copy
import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from civilwar.hear.hearing import Unheard
from civilwar.measure.hooks import QueriesKeys, edit_head_outputs, edit_keys, norm_modules, watch_queries_keys
from civilwar.model.decoder import NORM_EPS, Decoder
from civilwar.recipe.config import ModelConfig, make_config

TINY = ModelConfig(
    n_layers=3, d_model=29, n_query_heads=6, n_kv_heads=3, d_head=10, d_ff=37, vocab_size=307, context=23
)
TOKENS = torch.randint(307, (2, 19), generator=torch.Generator().manual_seed(0))


def n_hooks(model: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) + len(m._backward_hooks) for m in model.modules())


@pytest.mark.parametrize("qk_norm", ["learned", "frozen", "none"])
def test_watching_changes_nothing(qk_norm: str) -> None:
    model = Decoder(dataclasses.replace(TINY, qk_norm=qk_norm))

    def loss_and_gradient() -> list[Tensor]:
        model.zero_grad()
        logits = model(TOKENS)
        logits.square().mean().backward()
        return [logits.detach(), *(p.grad.clone() for p in model.parameters() if p.grad is not None)]

    before = loss_and_gradient()
    with watch_queries_keys(model, lambda event: None):
        assert n_hooks(model) == 6
        during = loss_and_gradient()
    after = loss_and_gradient()
    assert n_hooks(model) == 0
    for a, b, c in zip(before, during, after, strict=True):
        assert torch.equal(a, b)
        assert torch.equal(a, c)


def test_hooks_go_when_the_forward_pass_or_the_callback_fails() -> None:
    model = Decoder(TINY)

    def fail(event: QueriesKeys) -> None:
        raise KeyError(event.layer)

    with pytest.raises(KeyError), watch_queries_keys(model, fail):
        model(TOKENS)
    assert n_hooks(model) == 0
    seen: list[QueriesKeys] = []
    with pytest.raises(ValueError, match="context"), watch_queries_keys(model, seen.append):
        model(torch.zeros(1, 24, dtype=torch.long))
    assert n_hooks(model) == 0
    assert seen == []


def test_a_pass_that_failed_half_way_leaves_nothing_for_the_next() -> None:
    model, seen = Decoder(TINY), []
    broken = model.blocks[1].attention.k_norm.register_forward_pre_hook(lambda *args: 1 / 0)
    with watch_queries_keys(model, seen.append):
        with pytest.raises(ZeroDivisionError):
            model(TOKENS)
        broken.remove()
        seen.clear()
        model(TOKENS[:, :7])
    assert [event.layer for event in seen] == [0, 1, 2]
    assert {event.queries.shape[1] for event in seen} == {event.keys.shape[1] for event in seen} == {7}


def test_layers_come_in_order_with_their_own_queries_and_keys() -> None:
    model, seen = Decoder(TINY), []
    inputs: list[Tensor] = []
    for block in model.blocks:
        block.attention.register_forward_pre_hook(lambda module, args: inputs.append(args[0].detach()))
    with watch_queries_keys(model, seen.append):
        model(TOKENS)
    assert [event.layer for event in seen] == [0, 1, 2]
    for block, event, x in zip(model.blocks, seen, inputs, strict=True):
        q, k, _, _ = torch.cat(block.attention.weights()).split(block.attention.widths)
        for vectors, matrix in ((event.queries, q), (event.keys, k)):
            raw = (x @ matrix.T).unflatten(-1, (-1, 10))
            normed = raw / (raw.square().mean(-1, keepdim=True) + NORM_EPS).sqrt()
            torch.testing.assert_close(vectors, normed)
        torch.testing.assert_close(event.keys_before_norm, (x @ k.T).unflatten(-1, (-1, 10)))


def test_the_callback_gets_float32_outside_autograd_and_autocast() -> None:
    model = Decoder(make_config("smoke", "pure_bf16").model).to(torch.bfloat16)
    state: list[tuple[bool, bool, torch.dtype]] = []

    def callback(event: QueriesKeys) -> None:
        assert not event.keys.requires_grad
        state.append((torch.is_grad_enabled(), torch.is_autocast_enabled("cpu"), event.queries.dtype))

    with watch_queries_keys(model, callback), torch.autocast("cpu", dtype=torch.bfloat16):
        model(TOKENS)
    assert state == [(False, False, torch.float32)] * 2


def qwen3() -> nn.Module:
    from transformers import Qwen3Config, Qwen3ForCausalLM

    torch.manual_seed(0)
    return Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=307,
            hidden_size=29,
            intermediate_size=37,
            num_hidden_layers=3,
            num_attention_heads=6,
            num_key_value_heads=3,
            head_dim=10,
            max_position_embeddings=23,
        )
    ).eval()


def test_works_on_qwen3_of_transformers() -> None:
    model, seen = qwen3(), []
    with torch.no_grad():
        before = model(TOKENS).logits
        with watch_queries_keys(model, seen.append):
            during = model(TOKENS).logits
        after = model(TOKENS).logits
    assert torch.equal(before, during)
    assert torch.equal(before, after)
    assert n_hooks(model) == 0
    assert [event.layer for event in seen] == [0, 1, 2]
    for event in seen:
        assert event.queries.shape == (2, 19, 6, 10)
        assert event.keys.shape == (2, 19, 3, 10)
        norm = event.keys.norm(dim=-1)
        torch.testing.assert_close(norm, torch.full_like(norm, 10**0.5), rtol=1e-2, atol=0)


class Halved(nn.Module):
    """Attention of which only the queries are normalised."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.ModuleDict({"q_norm": nn.Identity(), "k_norm": nn.Identity()}) for _ in "ab"])
        del self.layers[1]["k_norm"]


def test_a_model_without_pairs_of_norms_is_refused() -> None:
    with pytest.raises(ValueError, match="Linear has 0 modules named q_norm and 0 named k_norm"):
        norm_modules(nn.Linear(2, 2))
    with pytest.raises(ValueError, match="Halved has 2 modules named q_norm and 1 named k_norm"):
        norm_modules(Halved())
    with pytest.raises(ValueError, match="Expected one of each"), watch_queries_keys(nn.Linear(2, 2), print):
        pytest.fail("the block must not run")


def test_pairs_stand_in_the_model_s_order() -> None:
    model = Decoder(TINY)
    assert norm_modules(model) == [(b.attention.q_norm, b.attention.k_norm) for b in model.blocks]


# ---------------------------------------------------------------- edits


EDITS: list[Callable[..., Any]] = [edit_keys, edit_head_outputs]


def logits_of(model: nn.Module) -> Tensor:
    with torch.no_grad():
        return model(TOKENS)


@pytest.mark.parametrize("editing", EDITS)
def test_an_edit_that_returns_what_it_gets_changes_nothing(editing: Callable[..., Any]) -> None:
    model = Decoder(TINY)
    before, layers = logits_of(model), []
    with editing(model, lambda layer, x: layers.append((layer, x.shape)) or x):
        assert n_hooks(model) == 3
        assert torch.equal(logits_of(model), before)
    assert n_hooks(model) == 0
    assert torch.equal(logits_of(model), before)
    heads = {edit_keys: 3, edit_head_outputs: 6}[editing]
    assert layers == [(layer, (2, 19, heads, 10)) for layer in range(3)]


@pytest.mark.parametrize("editing", EDITS)
def test_edits_go_when_they_fail_or_the_block_does(editing: Callable[..., Any]) -> None:
    model = Decoder(TINY)
    with pytest.raises(ZeroDivisionError), editing(model, lambda layer, x: x * (1 // 0)):
        model(TOKENS)
    assert n_hooks(model) == 0
    with pytest.raises(KeyError), editing(model, lambda layer, x: x):
        raise KeyError
    assert n_hooks(model) == 0


@pytest.mark.parametrize("editing", EDITS)
def test_an_edit_computed_in_float32_leaves_the_model_s_precision(editing: Callable[..., Any]) -> None:
    model = Decoder(make_config("smoke", "pure_bf16").model).to(torch.bfloat16)
    before, seen = logits_of(model), []
    with editing(model, lambda layer, x: seen.append(x.dtype) or x.float()):
        assert torch.equal(logits_of(model), before)
    assert seen == [torch.bfloat16] * 2


@pytest.mark.parametrize("layer", range(3))
def test_keys_are_replaced_after_their_norm_in_the_layer_named(layer: int) -> None:
    model = Decoder(TINY)
    direction = torch.linspace(-2, 3, 10)
    scaled = copy.deepcopy(model)
    scaled.blocks[layer].attention.k_norm.weight.data *= direction
    with edit_keys(model, lambda at, keys: keys * direction if at == layer else keys):
        edited = logits_of(model)
    torch.testing.assert_close(edited, logits_of(scaled))
    assert not torch.allclose(edited, logits_of(model), atol=1e-4)


def test_keys_are_replaced_before_rope() -> None:
    # keys that are all alike still turn with their positions, so attention still tells positions apart
    model = Decoder(TINY)
    patterns: list[Tensor] = []
    model.blocks[0].attention.rope.register_forward_hook(lambda module, args, output: patterns.append(output))
    with edit_keys(model, lambda layer, keys: torch.ones_like(keys)):
        logits_of(model)
    keys = patterns[1]
    assert keys.shape == (2, 19, 3, 10)
    torch.testing.assert_close(keys[:, 0], torch.ones(2, 3, 10))
    angle = torch.arange(19.0)
    torch.testing.assert_close(keys[0, :, 0, 0], angle.cos() - angle.sin(), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("layer", "head"), [(0, 0), (1, 4), (2, 5)])
def test_a_head_whose_output_is_zero_is_one_whose_rows_of_w_o_are(layer: int, head: int) -> None:
    model = Decoder(TINY)
    cut = copy.deepcopy(model)
    cut.blocks[layer].attention.weights()[1].data[10 * head : 10 * head + 10] = 0

    def silence(at: int, output: Tensor) -> Tensor:
        if at == layer:
            output[:, :, head] = 0
        return output

    with edit_head_outputs(model, silence):
        edited = logits_of(model)
    torch.testing.assert_close(edited, logits_of(cut))
    assert not torch.equal(edited, logits_of(model))


def test_keys_and_head_outputs_of_qwen3_can_be_replaced() -> None:
    model = qwen3()
    silent, cut = copy.deepcopy(model), copy.deepcopy(model)
    for _, k_norm in norm_modules(silent):
        k_norm.weight.data[:] = 0
    cut.model.layers[1].self_attn.o_proj.weight.data[:, 20:30] = 0

    def silence(at: int, output: Tensor) -> Tensor:
        assert output.shape == (2, 19, 6, 10)
        return output * (torch.arange(6) != 2)[:, None] if at == 1 else output

    with torch.no_grad():
        with edit_keys(model, lambda layer, keys: keys * 0):
            edited = model(TOKENS).logits
        torch.testing.assert_close(edited, silent(TOKENS).logits)
        with edit_head_outputs(model, silence):
            edited = model(TOKENS).logits
        torch.testing.assert_close(edited, cut(TOKENS).logits)
        assert not torch.equal(edited, model(TOKENS).logits)
    assert n_hooks(model) == 0


def test_norms_that_see_heads_before_positions_are_refused() -> None:
    from transformers import Gemma3ForCausalLM, Gemma3TextConfig

    torch.manual_seed(0)
    sizes = {"hidden_size": 24, "intermediate_size": 24, "num_hidden_layers": 2, "head_dim": 8, "vocab_size": 307}
    model = Gemma3ForCausalLM(Gemma3TextConfig(**sizes, num_attention_heads=4, num_key_value_heads=4)).eval()
    # as many tokens as heads: only the keys themselves tell
    with pytest.raises(Unheard, match="heads before positions"), edit_keys(model, lambda layer, x: x):
        model(TOKENS[:, :4])


@pytest.mark.parametrize("editing", EDITS)
def test_an_edit_that_nothing_reaches_is_an_error(editing: Callable[..., Any]) -> None:
    for model in (Decoder(TINY), qwen3()):
        with pytest.raises(Unheard, match="nothing passed while it was to be edited"), editing(model, lambda at, x: x):
            pass


# torch.compile asks tensors for what they do not have
@pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning")
def test_a_model_that_was_compiled_and_run_before_is_watched_and_edited() -> None:
    model = torch.compile(qwen3(), backend="eager")
    with torch.no_grad():
        before = model(TOKENS).logits
        for _ in range(2):
            seen: list[QueriesKeys] = []
            with watch_queries_keys(model, seen.append):
                model(TOKENS)
            assert [event.layer for event in seen] == [0, 1, 2]
        for editing in EDITS:
            with editing(model, lambda layer, x: x * 0):
                assert not torch.allclose(model(TOKENS).logits, before)
        assert torch.equal(model(TOKENS).logits, before)


def test_a_layer_is_counted_once_however_often_it_is_named_or_computed() -> None:
    model = qwen3()
    model.again = nn.ModuleList([model.model.layers])
    model.activation_checkpointing_enable({"use_reentrant": False})
    seen: list[QueriesKeys] = []
    with watch_queries_keys(model, seen.append):
        model.train()(TOKENS).logits.sum().backward()
    assert [event.layer for event in seen] == [0, 1, 2]
