"""One moment of a model that has no run: ours and transformers', with the numbers that their own attention gives."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.decoders import ByteLevel, Metaspace
from tokenizers.models import BPE, WordLevel
from tokenizers.pre_tokenizers import ByteLevel as ByteLevelBytes
from tokenizers.pre_tokenizers import Whitespace
from torch import nn

from civilwar.hear.hearing import Unheard
from civilwar.inspector.of_model import LONGEST, _tokens, payload_of_model
from civilwar.inspector.pack import unpack
from civilwar.inspector.widget import HeadInspector
from civilwar.measure import metrics
from civilwar.model.decoder import Decoder
from civilwar.recipe import rope
from civilwar.recipe.config import make_config

WORDS = ["the", "key", "to", "cabinets", ".", "is", "on", "table"]
TEXT = "the key to the cabinets is on the table ."


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    made = Tokenizer(WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="."))
    made.pre_tokenizer = Whitespace()
    return made


@pytest.fixture(scope="module")
def ours() -> Decoder:
    torch.manual_seed(0)
    config = make_config("smoke", "shuffled_rope")
    model = Decoder(config.model, config.seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("k_norm.weight"):
                parameter.uniform_(0.5, 1.5)
    return model


@pytest.fixture(scope="module")
def qwen() -> nn.Module:
    from transformers import Qwen3Config, Qwen3ForCausalLM

    config = Qwen3Config(
        vocab_size=32,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        attn_implementation="eager",
    )
    torch.manual_seed(0)
    return Qwen3ForCausalLM(config)


def test_our_model_s_heads(ours: Decoder, tokenizer: Tokenizer) -> None:
    payload = payload_of_model(ours, tokenizer, [TEXT, "the key"])
    model = make_config("smoke").model
    norms = payload.by_key["norm_mean"].values
    assert norms.shape == (1, model.n_layers, model.n_kv_heads)
    gain = torch.stack([m.weight for n, m in ours.named_modules() if n.endswith("k_norm")])
    assert payload.gain.gain[0] == pytest.approx(gain.detach().numpy(), rel=1e-5)
    # norm^2 = sum_j g_j^2 E_j, of each text's mean squared norm; close to the mean norm
    implied = np.sqrt(np.einsum("ld,lkd->lk", payload.gain.gain[0] ** 2, payload.gain.energy[0]))
    assert norms[0] == pytest.approx(implied, rel=0.05)
    assert (payload.gain.rank == rope.dimension_ranks(make_config("smoke", "shuffled_rope").model, 0)).all()
    _, travelled = unpack(payload.core)
    assert travelled["wavelength"] == pytest.approx(rope.wavelengths(model), rel=1e-3)
    assert list(payload.texts[0].tokens) == ["the", *(f" {word}" for word in TEXT.split()[1:])]
    assert list(payload.texts[0].separator) == [False] * 9 + [True]


def test_transformers_attention_is_taken_as_it_is(qwen: nn.Module, tokenizer: Tokenizer) -> None:
    qwen.train()
    payload = payload_of_model(qwen, tokenizer, [TEXT])
    assert qwen.training
    qwen.eval()
    ids = torch.tensor([tokenizer.encode(TEXT).ids])
    with torch.no_grad():
        attention = torch.stack([a[0] for a in qwen(ids, output_attentions=True).attentions])
    n = ids.shape[1]
    row, column = np.tril_indices(n)
    expected = (attention.numpy()[..., row, column] * 255).round()
    assert payload.patterns is not None
    assert np.abs(payload.patterns.weights[0, 0] - expected).max() <= 1
    assert payload.by_key["max_weight"].values[0] == pytest.approx(metrics.largest_weight(attention).mean(-1).numpy())
    # transformers turns (i, i + d_head / 2)
    assert payload.gain.rank[0].tolist() == [0, 1, 2, 3, 0, 1, 2, 3]


def test_the_inspector_shows_the_three_views_of_a_moment(qwen: nn.Module, tokenizer: Tokenizer) -> None:
    inspector = HeadInspector.from_model(qwen, tokenizer, [TEXT], layer=1)
    assert inspector.views == ["map", "pattern", "gain"]
    assert (inspector.layer, inspector.step) == (1, 0)
    with pytest.raises(ValueError, match="0 to 1"):
        inspector.layer = 2
    assert len(inspector.still().axes) == 2


def test_a_long_text_is_cut(qwen: nn.Module, tokenizer: Tokenizer) -> None:
    payload = payload_of_model(qwen, tokenizer, ["the key " * LONGEST])
    assert len(payload.texts[0].tokens) == LONGEST


def sentence_pieces() -> Tokenizer:
    """Marks a word's start, as SentencePiece does, and drops the space of a text's first word."""
    pieces = ["▁the", "▁key", "▁to", "s", "▁", "."]
    made = Tokenizer(BPE({piece: i for i, piece in enumerate(pieces)}, [], unk_token="."))
    made.add_tokens(pieces[:3])
    made.decoder = Metaspace()
    return made


def bytes_of_text() -> Tokenizer:
    """A byte a token: no token of the euro sign is text by itself."""
    alphabet = sorted(ByteLevelBytes.alphabet())
    made = Tokenizer(BPE({byte: i for i, byte in enumerate(alphabet)}, []))
    made.pre_tokenizer = ByteLevelBytes(add_prefix_space=False)
    made.decoder = ByteLevel()
    return made


@pytest.mark.parametrize(
    ("made", "text", "tokens"),
    [
        (sentence_pieces, "▁the▁keys▁to", ["the", " key", "s", " to"]),
        (bytes_of_text, "a b", ["a", " ", "b"]),
        (bytes_of_text, "a€", ["a", "\ufffd", "\ufffd", "\ufffd"]),
    ],
)
def test_a_token_keeps_the_space_it_begins_with(made: Callable[[], Tokenizer], text: str, tokens: list[str]) -> None:
    assert _tokens(made(), text)[1] == tokens


@pytest.mark.parametrize("texts", [[], [""], ["key"], [TEXT, "key"]])
def test_less_than_two_tokens_are_refused(qwen: nn.Module, tokenizer: Tokenizer, texts: list[str]) -> None:
    with pytest.raises(ValueError, match="two tokens or more"):
        payload_of_model(qwen, tokenizer, texts)


def test_a_model_whose_attention_is_not_heard_is_refused(tokenizer: Tokenizer) -> None:
    class Silent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(8, 8)
            self.q_norm, self.k_norm = nn.RMSNorm(4), nn.RMSNorm(4)

        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            x = self.embedding(ids).unflatten(-1, (2, 4))
            return self.q_norm(x) + self.k_norm(x)

    with pytest.raises(Unheard, match=r"Silent ran and none of its attention was heard: .* observe\(q, k, layer=...\)"):
        payload_of_model(Silent(), tokenizer, [TEXT])
