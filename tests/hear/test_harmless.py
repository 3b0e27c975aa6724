"""Hearing leaves loss, gradients and random numbers bit for bit alone, and counts each training forward once."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from own_models import TOKENS, FusedAttention, Stack, fused
from torch import Tensor, nn

from civilwar.hear.doors import hear
from civilwar.hear.heard import Heard
from civilwar.hear.hearing import Unheard
from civilwar.hear.modes import evaluating
from civilwar.hear.statistics import statistics

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from families import FAMILIES, inputs, tiny

# torch.compile and peft ask for what is deprecated or not there
pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning", "ignore::FutureWarning")

BY_KEY = {family.key: family for family in FAMILIES}


def of_family(key: str, implementation: str) -> tuple[nn.Module, Callable[[nn.Module], Tensor]]:
    family = BY_KEY[key]
    model = tiny(family, implementation, attention_dropout=0.3).train()
    ids = inputs(family)["input_ids"]
    return model, lambda m: m(ids, labels=ids).loss


def of_own() -> tuple[nn.Module, Callable[[nn.Module], Tensor]]:
    return fused(dropout=0.3).train(), lambda m: m(TOKENS)


MODELS = {
    "own": of_own,
    "qwen3 eager": lambda: of_family("qwen3", "eager"),
    "qwen3 sdpa": lambda: of_family("qwen3", "sdpa"),
    "gpt_oss eager": lambda: of_family("gpt_oss", "eager"),
}


@pytest.mark.parametrize("which", MODELS)
def test_loss_gradients_and_random_numbers_are_bit_for_bit_the_same(which: str) -> None:
    def run(listen: bool) -> list[Tensor]:
        model, loss_of = MODELS[which]()
        torch.manual_seed(3)
        calls: list[Heard] = []
        kept = []
        # gradient accumulation: two forward passes before a step
        for _ in range(2):
            if listen:
                with hear(model, lambda call: calls.append(call) or statistics(call)):
                    loss = loss_of(model)
            else:
                loss = loss_of(model)
            loss.backward()
            kept.append(loss.detach())
        assert len(calls) == (4 if listen else 0)
        return [*kept, torch.rand(3), *(p.grad for p in model.parameters() if p.grad is not None)]

    for without, watched in zip(run(False), run(True), strict=True):
        assert torch.equal(without, watched)


@pytest.mark.parametrize("reentrant", [True, False])
def test_activation_checkpointing_is_counted_once(reentrant: bool) -> None:
    def run(listen: bool) -> tuple[int, list[Tensor]]:
        model = fused()
        model.checkpoint = reentrant
        calls: list[Heard] = []
        if listen:
            with hear(model, calls.append):
                model(TOKENS).backward()
        else:
            model(TOKENS).backward()
        return len(calls), [p.grad for p in model.layers.parameters()]

    (none, without), (some, watched) = run(False), run(True)
    assert (none, some) == (0, 2)
    assert all(torch.equal(a, b) for a, b in zip(without, watched, strict=True))


@pytest.mark.parametrize("reentrant", [True, False])
def test_checkpointing_of_transformers_is_counted_once(reentrant: bool) -> None:
    model, loss_of = of_family("qwen3", "sdpa")
    model.activation_checkpointing_enable({"use_reentrant": reentrant})
    calls: list[Heard] = []
    with hear(model, calls.append):
        loss_of(model).backward()
    assert [call.layer for call in calls] == [0, 1]


def test_evaluation_in_between_is_not_counted_unless_asked() -> None:
    model = fused()
    calls: list[Heard] = []
    with hear(model, calls.append):
        model(TOKENS)
        with torch.no_grad():
            model(TOKENS)
        model(TOKENS)
    assert [call.forward for call in calls] == [0, 0, 1, 1]
    calls.clear()
    with hear(model, calls.append, evaluation=True), torch.no_grad():
        model(TOKENS)
    assert len(calls) == 2


def test_frozen_parts_keep_their_mode_and_random_numbers_go_on() -> None:
    model = fused(dropout=0.5).train()
    model.layers[0].eval()
    torch.manual_seed(1)
    expected = torch.rand(2)
    torch.manual_seed(1)
    with evaluating(model):
        assert not any(module.training for module in model.modules())
        torch.rand(5)
    assert torch.equal(torch.rand(2), expected)
    assert [layer.training for layer in model.layers] == [False, True]
    assert model.training


class Wrapped(nn.Module):
    """Another model around it, of one's own."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, tokens: Tensor) -> Tensor:
        return self.inner(tokens)


@pytest.mark.parametrize("wrap", [nn.DataParallel, lambda m: torch.compile(m, backend="eager"), lambda m: m, Wrapped])
def test_wrappers_are_seen_through(wrap: Callable[[nn.Module], nn.Module]) -> None:
    inner = fused()
    model = wrap(inner)
    calls: list[Heard] = []
    with hear(model, calls.append):
        model(TOKENS).backward()
    assert [call.layer for call in calls] == [0, 1]
    compiled = hasattr(model, "_orig_mod")
    prefix = "inner." if isinstance(model, Wrapped) else ""
    assert [call.name for call in calls] == [f"sdpa {i}" if compiled else f"{prefix}layers.{i}" for i in range(2)]


def test_adapters_of_peft_are_seen_through() -> None:
    import peft

    model, loss_of = of_family("llama", "sdpa")
    adapted = peft.get_peft_model(model, peft.LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM"))
    calls: list[Heard] = []
    with hear(adapted, calls.append):
        loss_of(adapted).backward()
    assert [call.name for call in calls] == ["model.layers.0.self_attn", "model.layers.1.self_attn"]


@pytest.mark.parametrize("which", ["own", "qwen3 eager", "qwen3 sdpa"])
def test_one_full_graph_that_is_heard_even_where_it_ran_before(which: str) -> None:
    model, loss_of = MODELS[which]()
    model.eval()
    calls: list[Heard] = []
    plain: list[Heard] = []
    with hear(model, plain.append):
        expected = loss_of(model)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    before = loss_of(compiled)
    with hear(compiled, calls.append):
        during = loss_of(compiled)
        during.backward()
        with torch.no_grad():
            loss_of(compiled)
    after = loss_of(compiled)
    assert torch.equal(before, during)
    assert torch.equal(before, after)
    assert torch.allclose(expected, during)
    assert [call.layer for call in calls] == [0, 1]
    for ours, theirs in zip(calls, plain, strict=True):
        for mine, others in zip(statistics(ours), statistics(theirs), strict=True):
            for name, value in mine.items():
                torch.testing.assert_close(value, others[name], rtol=2e-6, atol=2e-6)


def test_a_compiled_model_of_which_nothing_is_heard_is_an_error() -> None:
    class Linear(Stack):
        """Layers without attention."""

    model = torch.compile(Linear([nn.Linear(24, 24)]), backend="eager")
    with pytest.raises(Unheard, match="none of its attention was heard"), hear(model, print):
        model(TOKENS)


def test_layers_keep_their_numbers_where_only_some_are_heard() -> None:
    model = Stack([nn.Linear(24, 24), FusedAttention(), nn.Linear(24, 24), FusedAttention()])
    calls: list[Heard] = []
    with hear(model, calls.append):
        model(TOKENS)
    assert [call.layer for call in calls] == [1, 3]
