"""The first steps of the laptop run are those recorded in data/, within what another processor changes."""

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.numpy import load_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

from civilwar import paths
from civilwar.analysis.processors import OUTSIDE
from civilwar.corpus.corpus import Corpus, Tokens
from civilwar.recipe.config import make_config
from civilwar.runs.reader import Run
from civilwar.runs.records import Records
from civilwar.runs.writer import RunWriter
from civilwar.training.loop import Session

#: The batches of steps 0 to 2 and the probe texts of laptop-baseline-seed0, as token ids: cutting the whole corpus into
#: tokens takes a minute.
TOKENS = Path(__file__).with_name("first_steps.safetensors")
STEPS = 2
#: Measured between two processors, over 41 steps: of the loss in nats, of the others relative to the value.
LOSS, KEY_COSINE, SEPARATOR_MASS = OUTSIDE.values()


def first_batches() -> Corpus:
    """As much of the default corpus as the first steps need, with numbers for words."""
    stored = load_file(TOKENS)
    vocab_size = make_config("laptop").model.vocab_size
    separator_ids = np.zeros(vocab_size, dtype=bool)
    separator_ids[stored["separator_ids"]] = True
    one_document = np.zeros(1, dtype=np.int64)
    # two documents, so that there are texts for attention patterns, which are not compared
    half = np.array([0, len(stored["probe"]) // 2])
    unread = Tokens(np.zeros(64 * 512 + 1, dtype=np.uint16), one_document)
    words = WordLevel({str(token): token for token in range(vocab_size)}, unk_token="0")
    return Corpus(
        source="docstrings",
        checksum="",
        tokenizer=Tokenizer(words),
        train=Tokens(stored["train"], one_document),
        validation=unread,
        probe=Tokens(stored["probe"], half),
        n_documents=0,
        n_bytes=0,
        skipped=(),
        separator_ids=separator_ids,
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Records:
    """Rows of steps 0 to 2, trained here, with the snapshots at both ends."""
    laptop = make_config("laptop")
    config = dataclasses.replace(laptop, train=dataclasses.replace(laptop.train, steps=STEPS))
    with RunWriter(tmp_path_factory.mktemp("first") / "laptop", config) as writer:
        session = Session(writer, config, first_batches(), torch.device("cpu"), checkpoint_every=64)
        for step in range(STEPS + 1):
            if step in (0, STEPS):
                session.snapshot(step)
            session.loss(step, with_gradient=step < STEPS)
            if step < STEPS:
                session.update()
        return Records.concatenate([session.tracker.take(), *session.snapshots])


def beside_recorded(trained: Records, table: str, column: str, steps: tuple[int, ...]) -> pd.DataFrame:
    """A column here and as recorded, row by row."""
    recorded = Run(paths.recorded() / "laptop-baseline-seed0").table(table)
    keys = [name for name in recorded if not pd.api.types.is_float_dtype(recorded[name])]
    both = trained.tables[table].merge(recorded, on=keys, suffixes=("_here", "_recorded"), validate="one_to_one")
    assert sorted(both["step"].unique()) == list(steps)
    return both[["step", f"{column}_here", f"{column}_recorded"]].set_axis(["step", "here", "recorded"], axis=1)


def test_losses_are_within_the_bounds_of_another_processor(trained: Records) -> None:
    losses = beside_recorded(trained, "train", "loss", (0, 1, 2))
    held_out = beside_recorded(trained, "probe_loss", "loss", (0, 2))
    for both in (losses, held_out):
        assert (both.here - both.recorded).abs().max() < LOSS
    # and the bound says something: a step later they are far from there
    assert losses.here.diff().abs().min() > LOSS


@pytest.mark.parametrize(
    ("table", "column", "bound", "steps"),
    [
        ("step_kv_heads", "key_cosine", KEY_COSINE, (0, 1, 2)),
        ("probe_query_heads", "separator_mass", SEPARATOR_MASS, (0, 2)),
    ],
)
def test_measures_are_within_the_bounds_of_another_processor(
    trained: Records, table: str, column: str, bound: float, steps: tuple[int, ...]
) -> None:
    values = beside_recorded(trained, table, column, steps)
    allowed = bound * values.recorded.abs()
    assert ((values.here - values.recorded).abs() <= allowed).all()
    # and the bound says something: other heads' values are not within it
    others = values.recorded.to_numpy()[::-1]
    assert ((others - values.recorded).abs() > allowed).mean() > 0.2
