"""What can be read from a single head's output: does it carry something of syntax, or of the subject, that others do not?

The report calls some heads "syntactic" and others "semantic". This corpus has no parse trees, so two stand-ins that text
alone decides: whether a token stands inside brackets (syntax: a state that a program's grammar keeps over many tokens),
and which package its document is about (subject: the same over a whole document). A linear classifier reads each head's
output by itself.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from civilwar.corpus.corpus import Corpus
from civilwar.measure.experiments import Bench
from civilwar.measure.hooks import edit_head_outputs

BRACKETS = {"(": ")", "[": "]", "{": "}"}
#: Ridge penalty, per fitted token, on inputs of unit variance.
PENALTY = 1e-2
#: A package is a class of its own when both halves of the texts hold at least this many of its tokens.
MIN_TOKENS = 50


def inside_brackets(tokens: Sequence[str], new_document: Sequence[bool]) -> list[int]:
    """1 where a bracket opened before the token is still open, else 0; a new document closes all.

    A closing bracket that matches none is passed over. The token's own brackets count from the next token on.
    """
    states: list[int] = []
    stack: list[str] = []
    for token, new in zip(tokens, new_document, strict=True):
        if new:
            stack = []
        states.append(int(bool(stack)))
        for character in token:
            if character in BRACKETS:
                stack.append(BRACKETS[character])
            elif stack and character == stack[-1]:
                stack.pop()
    return states


def packages(corpus: Corpus, n_tokens: int) -> tuple[np.ndarray, list[str]]:
    """Class of each of the first validation tokens by the package (first part of the module) of its document, and names."""
    tokens = corpus.validation
    names = [module.partition(".")[0] for module in tokens.modules]
    classes = sorted(set(names))
    ends = [*tokens.starts[1:], len(tokens.ids)]
    label = np.empty(len(tokens.ids), dtype=np.int64)
    for name, (start, end) in zip(names, zip(tokens.starts, ends, strict=True), strict=True):
        label[start:end] = classes.index(name)
    return label[:n_tokens], classes


def head_content(bench: Bench, corpus: Corpus) -> pd.DataFrame:
    """How well each query head's output tells a token's properties: layer, query_head, property, accuracy, chance.

    ``accuracy`` is balanced (the mean over classes of the share found), on texts that the classifier was not fitted to;
    ``chance`` is 1 over the number of classes. A property of which a text source knows too little has no rows.
    """
    n_texts, context = bench.config.probe.content_texts, bench.config.model.context
    texts = corpus.validation_texts(n_texts, context)[:, :-1]
    properties = _properties(corpus, n_texts, context)
    outputs = _outputs(bench, texts)
    half = n_texts // 2
    rows = []
    for name, labels in properties.items():
        fit, test = labels[:half].reshape(-1), labels[half:].reshape(-1)
        classes = _common_classes(fit, test)
        if len(classes) < 2:
            continue
        for layer, of_layer in enumerate(outputs):
            for head in range(of_layer.shape[2]):
                x = of_layer[:, :, head].float()
                accuracy = _balanced_accuracy(x[:half].flatten(0, 1), fit, x[half:].flatten(0, 1), test, classes)
                found = {"layer": layer, "query_head": head, "property": name, "accuracy": accuracy}
                rows.append(found | {"chance": 1 / len(classes)})
    return pd.DataFrame(rows, columns=["layer", "query_head", "property", "accuracy", "chance"])


def _properties(corpus: Corpus, n_texts: int, context: int) -> dict[str, Int[Tensor, "text pos"]]:
    n = n_texts * context
    ids = corpus.validation.ids[:n]
    new_document = np.zeros(n, dtype=bool)
    new_document[corpus.validation.starts[corpus.validation.starts < n]] = True
    brackets = inside_brackets(corpus.token_strings(ids), new_document.tolist())
    package, _ = packages(corpus, n)
    return {
        "brackets": torch.tensor(brackets).view(n_texts, context),
        "package": torch.from_numpy(package).view(n_texts, context),
    }


def _outputs(bench: Bench, texts: Int[Tensor, "text pos"]) -> list[Float[Tensor, "text pos query_head d_head"]]:
    """What every query head adds at every token, one tensor per layer, on the host and in half the memory."""
    parts: list[list[Tensor]] = [[] for _ in range(bench.config.model.n_layers)]

    def keep(layer: int, output: Tensor) -> Tensor:
        parts[layer].append(output.to("cpu", torch.bfloat16))
        return output

    with torch.no_grad(), bench.autocast, edit_head_outputs(bench.model, keep):
        for text in texts.to(bench.texts.device):
            bench.model(text[None])
    return [torch.cat(layer) for layer in parts]


def _common_classes(fit: Tensor, test: Tensor) -> list[int]:
    counts = [torch.bincount(side, minlength=int(max(fit.max(), test.max())) + 1) for side in (fit, test)]
    return [int(c) for c in torch.nonzero((counts[0] >= MIN_TOKENS) & (counts[1] >= MIN_TOKENS))[:, 0]]


def _balanced_accuracy(x: Tensor, y: Tensor, x_test: Tensor, y_test: Tensor, classes: list[int]) -> float:
    """Ridge regression on class indicators, every class weighing the same; the largest answer wins."""
    known, known_test = (torch.isin(side, torch.tensor(classes)) for side in (y, y_test))
    x, y, x_test, y_test = x[known].double(), y[known], x_test[known_test].double(), y_test[known_test]
    mean, scale = x.mean(0), x.std(0).clamp_min(1e-8)
    x, x_test = (torch.nn.functional.pad((side - mean) / scale, (0, 1), value=1.0) for side in (x, x_test))
    indicator = torch.stack([(y == c).double() for c in classes], dim=1)
    weight = (indicator / indicator.sum(0)).sum(1) / len(classes)  # sums to 1
    gram = x.mT @ (x * weight[:, None]) + PENALTY * torch.eye(x.shape[1], dtype=x.dtype)
    answer = x_test @ torch.linalg.solve(gram, x.mT @ (indicator * weight[:, None]))
    chosen = torch.tensor(classes)[answer.argmax(1)]
    return float(np.mean([float((chosen[y_test == c] == c).double().mean()) for c in classes]))
