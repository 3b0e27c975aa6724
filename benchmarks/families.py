"""Tiny models of every family of transformers, randomly initialised, their norms' weights shaken off their first values."""

import inspect
import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from civilwar.hear.doors import hear
from civilwar.hear.heard import Heard

#: What configurations call their sizes, by which a default configuration shrinks to two layers of four heads.
SMALL: dict[str, Any] = {
    **dict.fromkeys(("vocab_size",), 64),
    **dict.fromkeys(
        ("hidden_size", "n_embd", "d_model", "embed_dim", "embedding_size", "dim", "word_embed_proj_dim"), 32
    ),
    **dict.fromkeys(("intermediate_size", "n_inner", "d_ff", "ffn_dim", "encoder_ffn_dim", "decoder_ffn_dim"), 48),
    **dict.fromkeys(("num_hidden_layers", "n_layer", "n_layers", "num_layers", "encoder_layers", "decoder_layers"), 2),
    "num_decoder_layers": 2,
    **dict.fromkeys(("num_attention_heads", "n_head", "n_heads", "num_heads"), 4),
    **dict.fromkeys(("encoder_attention_heads", "decoder_attention_heads"), 4),
    "num_key_value_heads": 2,
    **dict.fromkeys(("head_dim", "d_kv", "qk_rope_head_dim", "qk_nope_head_dim", "v_head_dim"), 8),
    **dict.fromkeys(("q_lora_rank", "kv_lora_rank", "moe_intermediate_size", "shared_expert_intermediate_size"), 16),
    **dict.fromkeys(("num_experts", "n_routed_experts", "num_local_experts", "moe_num_experts"), 4),
    **dict.fromkeys(("num_experts_per_tok", "moe_topk", "moe_k", "top_k"), 2),
    **dict.fromkeys(("n_group", "topk_group"), 1),
    **dict.fromkeys(("max_position_embeddings", "n_positions", "n_ctx"), 64),
    **dict.fromkeys(("sliding_window", "window_size"), 5),
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 1,
}


@dataclass(frozen=True)
class Family:
    """One family: what transformers calls it, which head it gets, and what its configuration needs to be small."""

    key: str
    kind: str = "causal"
    implementations: tuple[str, ...] = ("eager", "sdpa")
    settings: dict[str, Any] = field(default_factory=dict)
    traits: str = ""


def _linear(n: int) -> dict[str, Any]:
    return {
        "num_hidden_layers": n,
        "linear_num_key_heads": 2,
        "linear_num_value_heads": 4,
        "linear_key_head_dim": 8,
        "linear_value_head_dim": 8,
    }


UNGROUPED = {"num_key_value_heads": 4}
EAGER = ("eager",)
#: What attention functions of their own kinds there are, a family for each, and the families people ask for most.
FAMILIES = (
    Family("qwen3", traits="grouped, key norm"),
    Family("qwen3_moe", traits="grouped, key norm"),
    Family("qwen2", traits="grouped, biases"),
    Family("qwen3_next", settings=_linear(4), traits="gain stored less 1, partial rotary, one layer in four"),
    Family("qwen3_5_text", settings=_linear(4), traits="gain stored less 1, partial rotary, one layer in four"),
    Family("doge", traits="a mask of its own"),
    Family("llama", traits="grouped"),
    Family("llama4_text", traits="chunks, layers without rotary"),
    Family("smollm3", traits="layers without rotary"),
    Family("mistral", traits="window"),
    Family("mixtral", traits="experts"),
    Family("phi", traits="partial rotary"),
    Family("phi3", traits="fused projection"),
    Family("stablelm", traits="partial rotary"),
    Family("starcoder2", traits="window"),
    Family("gpt2", traits="fused projection, learned positions"),
    Family("gpt_bigcode", traits="one KV head"),
    Family("gpt_neox", traits="fused projection, partial rotary"),
    Family("gpt_oss", implementations=EAGER, traits="learned sinks, window"),
    Family("opt", traits="learned positions"),
    Family("falcon", implementations=("sdpa",), traits="one KV head"),
    Family("gemma", traits="gain stored less 1"),
    Family("gemma2", implementations=EAGER, traits="softcap, window"),
    Family("gemma3_text", settings=UNGROUPED, traits="heads before positions, window"),
    Family(
        "gemma4_text",
        settings={"vocab_size_per_layer_input": 64, "hidden_size_per_layer_input": 8},
        traits="wide layers",
    ),
    Family("vaultgemma", implementations=EAGER, traits="softcap"),
    Family("olmo", traits="clipped"),
    Family("olmo2", traits="key norm over all heads"),
    Family("olmo3", traits="key norm over all heads, window"),
    Family("olmoe", traits="key norm over all heads"),
    Family("cohere", settings={"use_qk_norm": True}, traits="gain by head"),
    Family("cohere2", traits="window, layers without rotary"),
    Family("glm4", traits="partial rotary"),
    Family("glm4_moe", settings={"use_qk_norm": True}, traits="partial rotary, key norm"),
    Family("afmoe", traits="layers without rotary, gate"),
    Family("apertus", traits="heads before positions"),
    Family("exaone4", traits="heads before positions, window"),
    Family("nanochat", traits="heads before positions, norm without a gain"),
    Family("diffllama", traits="two calls a layer"),
    Family("deepseek_v2", settings=UNGROUPED, traits="latent"),
    Family("deepseek_v3", settings=UNGROUPED, traits="latent"),
    Family("minicpm3", settings=UNGROUPED, traits="latent"),
    Family("granite", traits="scaling of its own"),
    Family("helium", traits="grouped"),
    Family("nemotron", traits="partial rotary"),
    Family("persimmon", traits="key norm with a mean"),
    Family("ernie4_5", traits="grouped"),
    Family("seed_oss", traits="grouped"),
    Family("modernbert-decoder", traits="window"),
    Family("bert", "masked", traits="both directions"),
    Family("albert", "masked", traits="one layer's weights for all"),
    Family("roberta", "masked", traits="both directions"),
    Family("distilbert", "masked", traits="both directions"),
    Family("electra", "masked", traits="both directions"),
    Family("esm", "masked", traits="both directions, rotary"),
    Family("modernbert", "masked", traits="both directions, window"),
    Family("eurobert", "masked", traits="both directions, grouped"),
    Family("t5", "seq2seq", traits="position bias, cross-attention"),
    Family("umt5", "seq2seq", traits="position bias, cross-attention"),
    Family("bart", "seq2seq", traits="cross-attention"),
    Family("m2m_100", "seq2seq", traits="cross-attention"),
    Family("marian", "seq2seq", traits="cross-attention"),
)
#: Families whose attention is computed where nothing can listen, and those that have none.
INLINE = (
    Family("gptj", implementations=EAGER, settings={"rotary_dim": 4}),
    Family("gpt_neo", implementations=EAGER, settings={"attention_types": [[["global", "local"], 1]]}),
    Family("codegen", implementations=EAGER, settings={"rotary_dim": 4}),
    Family("mpt", implementations=EAGER),
    Family("bloom", implementations=EAGER),
    Family("falcon", implementations=EAGER),
    Family("mamba", implementations=EAGER),
)


def configuration(family: Family, **more: Any) -> Any:
    """The family's default configuration, shrunk."""
    from transformers import CONFIG_MAPPING

    kind = CONFIG_MAPPING[family.key]
    known = {name for base in kind.__mro__ for name in getattr(base, "__annotations__", {})}
    known |= set(inspect.signature(kind.__init__).parameters)
    return kind(**{name: value for name, value in SMALL.items() if name in known} | family.settings | more)


def tiny(family: Family, implementation: str, **more: Any) -> nn.Module:
    """A random model of the family in evaluation mode, the same for every implementation."""
    import transformers
    from transformers.models.auto import modeling_auto as auto

    names = {
        "causal": auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        "masked": auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES,
        "seq2seq": auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES,
    }[family.kind]
    torch.manual_seed(0)
    kind = getattr(transformers, names[family.key])
    model: nn.Module = kind._from_config(configuration(family, **more), attn_implementation=implementation).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name.lower() or ".ln" in name.lower() or "sinks" in name:
                parameter.add_(torch.randn_like(parameter) * 0.3)
    return model


def inputs(family: Family, length: int = 11, *, padded: bool = False) -> dict[str, Tensor]:
    """Two texts, the second padded at its end where asked for."""
    ids = torch.randint(4, 60, (2, length), generator=torch.Generator().manual_seed(1))
    given = {"input_ids": ids}
    if padded:
        mask = torch.ones_like(ids)
        mask[1, -4:] = 0
        given["attention_mask"] = mask
    if family.kind == "seq2seq":
        given["decoder_input_ids"] = ids[:, : length - 2]
    return given


def own_attentions(output: Any) -> list[Tensor]:
    """The weights that a model returns itself, in the order in which its layers attend."""
    crossed = getattr(output, "cross_attentions", None) or ()
    if getattr(output, "encoder_attentions", None):
        pairs = zip(output.decoder_attentions, crossed, strict=True)
        return [*output.encoder_attentions, *(weights for pair in pairs for weights in pair)]
    return [weights for weights in output.attentions or () if weights is not None]


def heard_of(family: Family, implementation: str, *, padded: bool = False) -> tuple[list[Heard], Any]:
    """Every attention call of one forward pass, and what the model returned."""
    model = tiny(family, implementation)
    calls: list[Heard] = []
    eager = {"output_attentions": True} if implementation == "eager" and family.key != "mamba" else {}
    with torch.no_grad(), hear(model, calls.append, evaluation=True, unheard="ignore"):
        output = model(**inputs(family, padded=padded), **eager)
    return calls, output


def off(call: Heard, own: torch.Tensor) -> float:
    """Largest difference of a call's attention weights from the model's own, padding's queries left out."""
    difference = (call.weights() - own).abs().amax((1, 3))
    real = call.allowed.real
    if real is not None and real.shape == difference.shape:
        difference = difference[real]
    return difference.max().item() if difference.numel() else math.nan
