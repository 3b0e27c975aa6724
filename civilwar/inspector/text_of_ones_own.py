"""A reader's own text through the trained model: its tokens, and every head's attention on them, packed for the browser."""

from dataclasses import dataclass

import numpy as np
from safetensors.torch import load_file
from torch import nn

from civilwar.corpus.corpus import load_corpus
from civilwar.corpus.identity import check_same_text
from civilwar.inspector.of_model import Tokenizer, payload_of_model
from civilwar.inspector.pack import pack
from civilwar.model.decoder import Decoder
from civilwar.runs.reader import Run


@dataclass(frozen=True)
class Model:
    """A model and the tokenizer that it reads with."""

    model: nn.Module
    tokenizer: Tokenizer

    def look(self, text: str) -> tuple[bytes, int]:
        """``tokens`` and ``separator`` of ``text`` and ``pattern`` [layer, query_head, triangle], packed; how many tokens.

        Raises ValueError for a text of fewer than two tokens.
        """
        payload = payload_of_model(self.model, self.tokenizer, [text])
        assert payload.patterns is not None, "a model always gives its attention"
        (shown,) = payload.texts
        weights = np.ascontiguousarray(payload.patterns.weights[0, 0])
        return pack({"tokens": shown.tokens, "separator": shown.separator}, {"pattern": weights}), len(shown.tokens)


def trained(run: Run) -> Model:
    """The trained model of a run and its tokenizer. Raises RunError where the run has no weights, or its text is another."""
    weights = run.weights_file()
    config = run.recipe
    corpus = load_corpus(config.corpus, config.model.vocab_size)
    check_same_text(config.corpus, run.text_checksum, corpus.checksum, run.path)
    model = Decoder(config.model, config.seed)
    model.load_state_dict(load_file(weights))
    return Model(model.eval(), corpus.tokenizer)
