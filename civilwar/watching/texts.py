"""Texts for a model that somebody else wrote: checked, cut to what it can read, each token with what it stands for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from civilwar.corpus.tokenizer import is_separator
from civilwar.measure import metrics

#: What configurations call the longest text a model can take.
CONTEXTS = (
    "max_position_embeddings",
    "n_positions",
    "n_ctx",
    "block_size",
    "context",
    "context_length",
    "max_seq_len",
    "seq_length",
)
#: Tokens of a text on which attention is measured, and of one whose attention is shown whole.
LONGEST, SHOWN = 256, 48
#: T and k of the sink score, as `civilwar.recipe.config.ProbeConfig` has them.
HORIZONS, POSITIONS = (16, 32, 64, 128, 256), (1, 2, 3, 4)


@dataclass(frozen=True)
class Text:
    """One text, token by token."""

    ids: Tensor
    """[1, n]"""
    tokens: tuple[str, ...]
    separator: Tensor
    """[n], which of them are separators."""
    read: bool = True
    """Whether the tokens are text; of ids without a tokenizer nothing says what a separator is."""

    def cut(self, longest: int) -> "Text":
        """Its first tokens."""
        return Text(self.ids[:, :longest], self.tokens[:longest], self.separator[:longest], self.read)


def context_of(model: nn.Module) -> int | None:
    """The longest text that a model says it can take; None where it says nothing."""
    for settings in (getattr(model, "config", None), getattr(model, "cfg", None), model):
        settings = getattr(settings, "text_config", None) or settings
        for name in CONTEXTS:
            told = getattr(settings, name, None)
            if isinstance(told, int) and not isinstance(told, bool) and told > 0:
                return told
    return None


def vocabulary_of(model: nn.Module) -> int | None:
    """How many tokens a model's embedding knows; None where it has none that can be told."""
    find = getattr(model, "get_input_embeddings", None)
    embedding = find() if callable(find) else None
    if isinstance(embedding, nn.Embedding):
        return embedding.num_embeddings
    sizes = [module.num_embeddings for module in model.modules() if isinstance(module, nn.Embedding)]
    return max(sizes, default=None)


def read_texts(
    tokenizer: Any, texts: Sequence[Any], model: nn.Module, longest: int = LONGEST, at_least: int = 2
) -> list[Text]:
    """``texts`` as a model reads them, each cut to ``longest`` tokens and to the model's context.

    Args:
        tokenizer: of transformers or of tokenizers, or anything with ``encode`` and ``decode``; None where texts are ids.
        texts: strings, or sequences of token ids.
        model: whose embedding and context decide what it can read.
        longest: tokens to keep.
        at_least: fewer tokens in a text are refused.

    Raises ValueError, in one sentence, for one string in place of a list, for texts without a tokenizer, for too short texts
    and for tokens that the model has no embedding of.
    """
    if isinstance(texts, str | bytes):
        raise ValueError("texts is one string: expected a list of texts, so put it into one, [text].")
    if not len(texts):
        raise ValueError("texts is empty: expected at least one text; texts=None watches without any.")
    longest = min(longest, context_of(model) or longest)
    vocabulary = vocabulary_of(model)
    found = []
    for number, text in enumerate(texts):
        ids = _ids(tokenizer, text, number)[:longest]
        if len(ids) < at_least:
            raise ValueError(
                f"text {number} has {len(ids)} tokens: expected {at_least} or more; there is no attention to see in less."
            )
        if vocabulary is not None and not 0 <= min(ids) <= max(ids) < vocabulary:
            raise ValueError(
                f"text {number} has token {max(ids)}, and the model's embedding knows {vocabulary}: expected its own "
                "tokenizer, so pass that one, or resize the model's embedding."
            )
        tokens = _tokens(tokenizer, ids)
        separator = torch.tensor([is_separator(token) for token in tokens])
        found.append(Text(torch.tensor([ids]), tokens, separator, tokenizer is not None))
    return found


def _ids(tokenizer: Any, text: Any, number: int) -> list[int]:
    """Token ids of one text, without padding."""
    if isinstance(text, Tensor | np.ndarray) or (not isinstance(text, str) and isinstance(text, Sequence)):
        return [int(i) for i in text]
    if not isinstance(text, str):
        raise ValueError(f"text {number} is {type(text).__name__}: expected a string, or a sequence of token ids.")
    if tokenizer is None:
        raise ValueError(f"text {number} is a string and there is no tokenizer: pass one, or give token ids.")
    # transformers' tokenizers are called, and tell padding by a mask; those of tokenizers encode
    encoded = tokenizer(text) if callable(tokenizer) and hasattr(tokenizer, "pad") else tokenizer.encode(text)
    if isinstance(encoded, Mapping):
        ids, mask = encoded["input_ids"], encoded.get("attention_mask")
    else:
        ids, mask = getattr(encoded, "ids", encoded), getattr(encoded, "attention_mask", None)
    mask = [1] * len(ids) if mask is None else mask
    return [int(i) for i, real in zip(ids, mask, strict=True) if real]


def _tokens(tokenizer: Any, ids: list[int]) -> tuple[str, ...]:
    """What each token adds to the text before it: by itself, one of a SentencePiece model loses the space it begins with."""
    if tokenizer is None:
        return tuple(str(i) for i in ids)
    grown = ["", *(_decoded(tokenizer, ids[: n + 1]) for n in range(len(ids)))]
    return tuple(
        more.removeprefix(less) if more != less and more.startswith(less) else _decoded(tokenizer, [i])
        for i, less, more in zip(ids, grown[:-1], grown[1:], strict=True)
    )


def _decoded(tokenizer: Any, ids: list[int]) -> str:
    try:
        # special ones too: each stands for itself on the axes
        return str(tokenizer.decode(ids, skip_special_tokens=False))
    except TypeError:
        return str(tokenizer.decode(ids))


def repeated_tokens(vocabulary: int, longest: int, texts: int = 2) -> Tensor:
    """Uniformly random tokens, each sequence followed by itself: [text, 2 * period]. The same for every model alike."""
    period = max(2, min(longest // 2, 128))
    generator = torch.Generator().manual_seed(0)
    once = torch.randint(0, vocabulary, (texts, period), generator=generator)
    return torch.cat([once, once], dim=1)


def uniform_baselines(texts: Sequence[Text], period: int) -> dict[str, Any]:
    """What uniform causal attention would score on these texts, mean over texts; of separators, text by text."""
    position = [np.arange(1, len(text.tokens) + 1) for text in texts]

    def mean(of_text: Any) -> float:
        return float(np.mean([of_text(at) for at in position]))

    near = metrics.NEARBY
    return {
        "entropy": mean(lambda at: np.log(at).mean()),
        "max_weight": mean(lambda at: (1 / at).mean()),
        "previous_token_score": mean(lambda at: (1 / at[1:]).mean()),
        "nearby_mass": mean(lambda at: np.r_[1.0, (np.minimum(at[1:], near) - 1) / at[1:]].mean()),
        "induction_score": float((1 / np.arange(period + 1, 2 * period + 1)).mean()),
        "separator_mass": [
            float((np.cumsum(text.separator.numpy()) / at).mean()) for text, at in zip(texts, position, strict=True)
        ],
    }
