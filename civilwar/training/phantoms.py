"""Phantoms recorded like any run, and what the instruments make of them: the positive controls."""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
import torch

from civilwar.analysis import taxonomy
from civilwar.files import write_json
from civilwar.measure import phantoms
from civilwar.measure.prober import Prober, ProbeTexts
from civilwar.measure.tracker import StepTracker
from civilwar.model.decoder import Decoder
from civilwar.model.loss import total_next_token_loss
from civilwar.runs.reader import Run
from civilwar.runs.records import Records
from civilwar.runs.schema import PROBE
from civilwar.runs.writer import RunWriter


def phantom_run(path: Path, model: Decoder, seed: int = 0) -> Run:
    """A run of two steps: an untrained decoder, whose scores make the thresholds, and ``model``.

    Raises RunBusy or RunNotWritten (`civilwar.errors`).
    """
    config = phantoms.phantom_config()
    separators = phantoms.separator_ids(config)
    long = phantoms.phantom_texts(config, config.probe.n_texts, config.model.context + 1, seed)
    short = phantoms.phantom_texts(config, 2, config.probe.short_tokens, seed + 1)
    texts = ProbeTexts(long, short, separators, config, torch.device("cpu"))
    rows: list[Records] = []
    for step, decoder in enumerate((Decoder(config.model, seed), model)):
        tracker = StepTracker(decoder, separators)
        with torch.no_grad(), tracker.watching(long[:, :-1]):
            hidden = decoder.hidden(long[:, :-1])
            loss = total_next_token_loss(hidden, decoder.embedding.weight, long[:, 1:]) / long[:, 1:].numel()
        tracker.close_step(step, loss)
        exact = torch.autocast("cpu", enabled=False)
        rows += [tracker.take(), Prober(decoder, config, texts).measure(step, exact)]
    with RunWriter(path, config) as writer:
        write_json(path / PROBE, {"uniform_attention": texts.uniform_baselines()})
        writer.write_manifest(status="running")
        writer.write_part(1, Records.concatenate(rows))
        return writer.finish()


def detection(strengths: Sequence[float], seeds: Sequence[int]) -> pd.DataFrame:
    """What the labels say of phantoms: a row for every query head, strength and seed.

    Returns strength, seed, layer, query_head, kv_head, ``planted`` (its kind; none where nothing was planted), ``kind`` (the
    label), and every score.
    """
    tables = []
    for strength in strengths:
        for seed in seeds:
            kinds = {planted.kind: strength for planted in phantoms.PLANTED}
            with tempfile.TemporaryDirectory() as folder:
                run = phantom_run(Path(folder) / "phantom", phantoms.phantom(kinds, seed=seed), seed)
                labels = taxonomy.labels(run, 1, draws=0)
            tables.append(labels.assign(strength=strength, seed=seed, planted=_planted(labels)))
    return pd.concat(tables, ignore_index=True).drop(columns="certainty")


def loudness(factors: Sequence[float], seeds: Sequence[int]) -> pd.DataFrame:
    """Key norms of phantoms with one KV head whose keys are longer by a factor: factor, seed, layer, kv_head, loud, ratio.

    ``ratio``: the head's mean key norm over the median of its layer's other heads.
    """
    tables = []
    for factor in factors:
        for seed in seeds:
            with tempfile.TemporaryDirectory() as folder:
                run = phantom_run(Path(folder) / "phantom", phantoms.phantom({}, factor, seed), seed)
                norms = run.table("step_kv_heads").query("step == 1")[["layer", "kv_head", "norm_mean"]]
            wide = norms.pivot(index="layer", columns="kv_head", values="norm_mean")
            ratio = pd.DataFrame({head: wide[head] / wide.drop(columns=head).median(axis=1) for head in wide})
            long = ratio.rename_axis(columns="kv_head").stack().rename("ratio").reset_index()
            loud = (long["layer"] == phantoms.LOUD[0]) & (long["kv_head"] == phantoms.LOUD[1])
            tables.append(long.assign(factor=factor, seed=seed, loud=loud))
    return pd.concat(tables, ignore_index=True)


def _planted(labels: pd.DataFrame) -> list[str]:
    where: Mapping[tuple[int, int], str] = {(one.layer, one.query_head): one.kind for one in phantoms.PLANTED}
    return [where.get((layer, head), "none") for layer, head in zip(labels["layer"], labels["query_head"], strict=True)]
