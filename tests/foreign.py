"""Small models of several families, random, and a loop that trains them a little."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from torch import Tensor, nn

TEXTS = (
    "the key to the cabinets is on the table , and the heads of a layer look back at one token .",
    "a layer of heads is never on the table . look back at the key to the cabinets , and at one token .",
)
WORDS = sorted({word for text in TEXTS for word in text.split()})
VOCABULARY = 64


def words() -> Tokenizer:
    tokenizer = Tokenizer(WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="."))
    tokenizer.pre_tokenizer = Whitespace()
    return tokenizer


class Attention(nn.Module):
    """nanoGPT's: one matrix for queries, keys and values."""

    def __init__(self, d: int, heads: int) -> None:
        super().__init__()
        self.c_attn, self.c_proj, self.heads = nn.Linear(d, 3 * d), nn.Linear(d, d), heads

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (y.unflatten(-1, (self.heads, -1)).transpose(1, 2) for y in self.c_attn(x).split(x.shape[-1], -1))
        y: Tensor = self.c_proj(F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2))
        return y


class Block(nn.Module):
    def __init__(self, d: int, heads: int) -> None:
        super().__init__()
        self.ln_1, self.ln_2, self.attn = nn.LayerNorm(d), nn.LayerNorm(d), Attention(d, heads)
        self.mlp = nn.Sequential(nn.Linear(d, 2 * d), nn.GELU(), nn.Dropout(0.1), nn.Linear(2 * d, d))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.ln_1(x))
        y: Tensor = x + self.mlp(self.ln_2(x))
        return y


class NanoGPT(nn.Module):
    """A decoder as people write it: (logits, loss)."""

    def __init__(self, layers: int = 2, d: int = 32, heads: int = 4, context: int = 40) -> None:
        super().__init__()
        self.block_size = context
        self.wte, self.wpe = nn.Embedding(VOCABULARY, d), nn.Embedding(context, d)
        self.h = nn.ModuleList(Block(d, heads) for _ in range(layers))
        self.head = nn.Linear(d, VOCABULARY, bias=False)

    def forward(self, idx: Tensor, targets: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        x = self.wte(idx) + self.wpe(torch.arange(idx.shape[1]))
        for block in self.h:
            x = block(x)
        logits = self.head(x)
        return logits, None if targets is None else F.cross_entropy(logits.flatten(0, 1), targets.flatten())


def of_transformers(family: str, **settings: Any) -> nn.Module:
    """A tiny random model of transformers by its family's name, such as ``Qwen3``."""
    import transformers

    shared: dict[str, Any] = {
        "vocab_size": VOCABULARY,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "max_position_embeddings": 64,
        "pad_token_id": 63,
        "bos_token_id": 62,
        "eos_token_id": 61,
    }
    config = getattr(transformers, settings.pop("config", f"{family}Config"))(**(shared | settings))
    model: nn.Module = getattr(transformers, settings.pop("model", f"{family}ForCausalLM"))(config)
    return model


def gemma3() -> nn.Module:
    import transformers

    config = transformers.Gemma3TextConfig(
        vocab_size=VOCABULARY, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=8, max_position_embeddings=64, sliding_window=8, pad_token_id=63,
        bos_token_id=62, eos_token_id=61,
    )  # fmt: skip
    model: nn.Module = transformers.Gemma3ForCausalLM(config)
    return model


FAMILIES: dict[str, Callable[[], nn.Module]] = {
    "nanoGPT": NanoGPT,
    "Qwen3": lambda: of_transformers("Qwen3"),
    "Llama": lambda: of_transformers("Llama"),
    "GPT-2": lambda: of_transformers("GPT2", model="GPT2LMHeadModel", n_embd=32, n_layer=2, n_head=4, n_positions=64),
    "GPT-NeoX": lambda: of_transformers("GPTNeoX"),
    "Gemma 3": gemma3,
    "OLMo 2": lambda: of_transformers("Olmo2"),
    "DeepSeek-V3": lambda: of_transformers(
        "DeepseekV3",
        head_dim=4,
        num_key_value_heads=4,
        q_lora_rank=16,
        kv_lora_rank=16,
        qk_rope_head_dim=4,
        qk_nope_head_dim=8,
        v_head_dim=8,
        n_routed_experts=4,
        num_experts_per_tok=2,
        moe_intermediate_size=16,
        first_k_dense_replace=1,
        n_group=1,
        topk_group=1,
    ),
    "gpt-oss": lambda: of_transformers("GptOss", num_local_experts=4, num_experts_per_tok=2, sliding_window=8),
}


def made(family: str) -> nn.Module:
    """The family's model, the same each time, its norms shaken off their start values."""
    torch.manual_seed(0)
    model = FAMILIES[family]()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name and parameter.ndim == 1:
                parameter += 0.2 * torch.randn(parameter.shape, generator=generator)
    return model


def batches(n: int, texts: int = 3, tokens: int = 24) -> list[Tensor]:
    generator = torch.Generator().manual_seed(2)
    return [torch.randint(0, len(WORDS), (texts, tokens), generator=generator) for _ in range(n)]


def loss_of(model: nn.Module, batch: Tensor) -> Tensor:
    """Whichever way the family takes its labels."""
    out = model(batch, batch) if isinstance(model, NanoGPT) else model(input_ids=batch, labels=batch)
    loss: Tensor = out[1] if isinstance(out, tuple) else out.loss
    return loss
