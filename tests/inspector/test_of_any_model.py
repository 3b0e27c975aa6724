"""One moment of models of other houses: gains, frequencies and attention as they are, and refusals that say what to do."""

import math
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from own_models import FusedAttention, InlineAttention, Stack
from texts import WORDS
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from families import FAMILIES, Family, tiny

from civilwar.hear.doors import hear
from civilwar.hear.hearing import Unheard
from civilwar.inspector.of_model import payload_of_model
from civilwar.inspector.payload import Payload
from civilwar.inspector.widget import HeadInspector
from civilwar.model.decoder import Decoder
from civilwar.recipe.config import make_config

BY_KEY = {family.key: family for family in FAMILIES}
VOCABULARY = list(dict.fromkeys(WORDS))[:32]
TEXT = " ".join(VOCABULARY[:10])


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    made = Tokenizer(WordLevel({word: i for i, word in enumerate(VOCABULARY)}, unk_token=VOCABULARY[0]))
    made.pre_tokenizer = Whitespace()
    return made


def family(key: str, implementation: str = "sdpa", **more: Any) -> nn.Module:
    return tiny(BY_KEY[key], implementation, **more)


@pytest.mark.parametrize(
    ("key", "norm"),
    [("gemma3_text", "k_norm"), ("qwen3_5_text", "k_norm"), ("qwen3_next", "k_norm"), ("glm4_moe", "k_norm")],
)
def test_a_gain_is_what_the_norm_applies(key: str, norm: str, tokenizer: Tokenizer) -> None:
    model = family(key)
    payload = payload_of_model(model, tokenizer, [TEXT])
    norms = [module for name, module in model.named_modules() if name.endswith(f"self_attn.{norm}")]
    assert len(norms) == payload.n_layers
    for layer, module in enumerate(norms):
        x = torch.randn(1, 1, 1, 8)
        applied = module(x) / (x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6))
        assert payload.gain.gain[0, layer] == pytest.approx(applied.detach().numpy().ravel(), rel=1e-3)
    # norm^2 = sum_j g_j^2 E_j, of each text's mean square; close to the mean norm
    implied = np.sqrt(np.einsum("ld,lkd->lk", payload.gain.gain[0] ** 2, payload.gain.energy[0]))
    assert payload.by_key["norm_mean"].values[0] == pytest.approx(implied, rel=0.1)
    if key.startswith("qwen3_"):
        assert payload.name.endswith("-layers-3")


def test_a_gain_that_differs_by_head_is_no_layer_s_gain(tokenizer: Tokenizer) -> None:
    payload = payload_of_model(family("olmo2"), tokenizer, [TEXT])
    assert np.isnan(payload.gain.gain).all()
    assert np.isfinite(payload.gain.energy).all()
    assert not payload.gain.golden.any()


def test_without_a_norm_of_keys_there_is_no_gain_and_no_view_of_it(tokenizer: Tokenizer) -> None:
    inspector = HeadInspector.from_model(family("llama"), tokenizer, [TEXT])
    assert inspector.views == ["map", "pattern"]
    payload = payload_of_model(family("bert"), tokenizer, [TEXT])
    # it looks both ways: no triangle tells it, and the possible is ln n for every query
    assert payload.patterns is None
    share = payload.by_key["entropy_normalised"].values
    assert (share <= 1).all()
    assert (share > 0).all()
    assert HeadInspector.from_model(family("bert"), tokenizer, [TEXT]).views == ["map"]


ROTARY = {
    "full": ("qwen3", {"rope_parameters": {"rope_type": "default", "rope_theta": 100.0}}, 4),
    "linear": ("qwen3", {"rope_parameters": {"rope_type": "linear", "factor": 4.0, "rope_theta": 100.0}}, 4),
    "yarn": (
        "qwen3",
        {
            "rope_parameters": {
                "rope_type": "yarn",
                "factor": 4.0,
                "rope_theta": 100.0,
                "original_max_position_embeddings": 16,
            }
        },
        4,
    ),
    "partial": (
        "glm4_moe",
        {"rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.5, "rope_theta": 100.0}},
        2,
    ),
}


@pytest.mark.parametrize("which", ROTARY)
def test_wavelengths_are_those_that_the_model_turns_by(which: str, tokenizer: Tokenizer) -> None:
    key, settings, n_pairs = ROTARY[which]
    model = family(key, **settings)
    payload = payload_of_model(model, tokenizer, [TEXT])
    real = 2 * math.pi / model.model.rotary_emb.inv_freq.numpy()
    assert len(real) == n_pairs
    assert payload.gain.wavelength[:n_pairs] == pytest.approx(np.sort(real), rel=1e-5)
    assert np.isnan(payload.gain.wavelength[n_pairs:]).all()
    turned = [*range(n_pairs), *range(n_pairs)] + [4] * (8 - 2 * n_pairs)
    assert payload.gain.rank.tolist() == [turned] * payload.n_layers


def test_layers_that_turn_nothing_have_no_ranks(tokenizer: Tokenizer) -> None:
    payload = payload_of_model(family("afmoe", layer_types=["sliding_attention", "full_attention"]), tokenizer, [TEXT])
    assert payload.gain.rank.tolist() == [[0, 1, 2, 3] * 2, [4] * 8]


def test_as_many_tokens_as_heads_are_not_taken_for_heads(tokenizer: Tokenizer) -> None:
    model = family("gemma3_text")
    four = " ".join(VOCABULARY[:4])
    calls: list[Any] = []
    with torch.no_grad(), hear(model, calls.append, evaluation=True):
        model(torch.arange(4)[None])
    norms = payload_of_model(model, tokenizer, [four]).by_key["norm_mean"].values[0]
    expected = np.stack([call.key[0].norm(dim=-1).mean(-1).numpy() for call in calls])
    assert norms == pytest.approx(expected, rel=1e-5)
    # shaken gains, so that heads and positions differ
    assert not np.allclose(expected, np.stack([call.key[0].norm(dim=-1).mean(0).numpy() for call in calls]), rtol=1e-2)


@pytest.mark.parametrize(
    "key", ["gpt2", "gpt_neox", "llama", "mistral", "deepseek_v3", "falcon", "diffllama", "cohere2"]
)
def test_default_attention_of_any_family(key: str, tokenizer: Tokenizer) -> None:
    payload = payload_of_model(family(key), tokenizer, [TEXT, TEXT[:20]])
    assert payload.patterns is not None
    weights = payload.patterns.weights[0, 0]
    # the first token has nothing else to look at
    assert (weights[:, :, 0] == 255).all()
    for measure in payload.measures:
        assert np.isfinite(measure.values).all(), measure.key


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
def test_a_model_of_our_blocks_but_another_scale_is_taken_as_it_is(implementation: str, tokenizer: Tokenizer) -> None:
    class Rope(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x

    model = Stack([FusedAttention()])
    model.blocks = nn.ModuleList([nn.ModuleDict({"attention": nn.ModuleDict({"rope": Rope()})})])
    payload = payload_of_model(model, tokenizer, [TEXT]) if implementation == "sdpa" else None
    if payload is None:
        with pytest.raises(Unheard, match="none of its attention was heard"):
            payload_of_model(Stack([InlineAttention()]), tokenizer, [TEXT])
        return
    assert np.isfinite(payload.by_key["entropy_normalised"].values).all()


def ours() -> Decoder:
    config = make_config("smoke")
    return Decoder(config.model, config.seed).eval()


@pytest.mark.parametrize("wrap", [lambda m: torch.compile(m, backend="eager"), nn.DataParallel])
def test_wrappers_are_seen_through(wrap: Callable[[nn.Module], nn.Module], tokenizer: Tokenizer) -> None:
    for make in (ours, lambda: family("qwen3")):
        model = make()
        plain, wrapped = payload_of_model(model, tokenizer, [TEXT]), payload_of_model(wrap(model), tokenizer, [TEXT])
        assert (wrapped.name, wrapped.context) == (plain.name, plain.context)
        assert wrapped.core == plain.core


def test_frozen_parts_keep_their_mode(tokenizer: Tokenizer) -> None:
    model = family("qwen3").train()
    model.model.layers[0].eval()
    before = {name: module.training for name, module in model.named_modules()}
    payload_of_model(model, tokenizer, [TEXT])
    assert {name: module.training for name, module in model.named_modules()} == before


def look(key: str, **more: Any) -> Callable[[Tokenizer], Payload]:
    return lambda tokenizer: payload_of_model(family(key, **more), tokenizer, [TEXT])


def on_meta(tokenizer: Tokenizer) -> Payload:
    return payload_of_model(family("llama").to("meta"), tokenizer, [TEXT])


def diverged(tokenizer: Tokenizer) -> Payload:
    model = family("llama")
    with torch.no_grad():
        model.model.layers[1].self_attn.q_proj.weight.fill_(math.inf)
    return payload_of_model(model, tokenizer, [TEXT])


def unequal(tokenizer: Tokenizer) -> Payload:
    return payload_of_model(Stack([FusedAttention(heads=4), FusedAttention(heads=2)]), tokenizer, [TEXT])


REFUSED: dict[str, tuple[Callable[[Tokenizer], Payload], str]] = {
    "one string": (
        lambda t: payload_of_model(family("llama"), t, TEXT),
        "expected a list of texts .* put it into a list",
    ),
    "a smaller embedding": (look("llama", vocab_size=5), "embeds tokens 0 to 4 .* pass the tokenizer that"),
    "no weights": (on_meta, "meta device.* load it without device_map"),
    "diverged": (diverged, r"layers\.1\.self_attn: .*(not finite|off the model's own)"),
    "unequal heads": (unequal, "different numbers of heads"),
    "two halves": (look("t5"), r"pass its half that reads, model\.get_encoder\(\)"),
}


@pytest.mark.parametrize("which", REFUSED)
def test_a_refusal_says_in_a_sentence_what_to_do(which: str, tokenizer: Tokenizer) -> None:
    call, says = REFUSED[which]
    with pytest.raises(ValueError, match=re.compile(says, re.DOTALL)) as raised:
        call(tokenizer)
    assert "\n" not in str(raised.value)


def test_the_half_that_reads_can_be_looked_at(tokenizer: Tokenizer) -> None:
    assert payload_of_model(family("t5").get_encoder(), tokenizer, [TEXT]).n_layers == 2


def test_padding_and_short_contexts_are_no_tokens(tokenizer: Tokenizer) -> None:
    padding = Tokenizer.from_str(tokenizer.to_str())
    padding.enable_padding(length=30, pad_id=0, pad_token=VOCABULARY[0])
    model = family("gpt2")
    assert len(payload_of_model(model, padding, [TEXT]).texts[0].tokens) == 10
    short = tiny(Family("gpt2", settings={"n_positions": 6}), "sdpa")
    assert len(payload_of_model(short, tokenizer, [TEXT]).texts[0].tokens) == 6


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_learned_prefix_is_refused_and_adapted_weights_are_not(tokenizer: Tokenizer) -> None:
    import peft

    prefix = peft.PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3)
    adapted = peft.get_peft_model(family("llama"), prefix)
    with pytest.raises(ValueError, match=r"learned prefix .* pass the model without it, model\.get_base_model\(\)"):
        payload_of_model(adapted, tokenizer, [TEXT])
    assert payload_of_model(adapted.get_base_model(), tokenizer, [TEXT]).name == "LlamaForCausalLM"
    lora = peft.LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM")
    assert payload_of_model(peft.get_peft_model(family("llama"), lora), tokenizer, [TEXT]).name == "LlamaForCausalLM"
