"""Whatever is wrong with a configuration is refused when it is made, with the field's name; whatever is right is taken.

Hypothesis draws valid configurations and then spoils one field, or makes two of them contradict each other.
"""

import dataclasses
import json
import math
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from civilwar.corpus.corpus import CorpusError, load_corpus
from civilwar.errors import RunDamaged
from civilwar.names.variants import VARIANTS
from civilwar.recipe.config import (
    LARGEST_INT,
    ConfigError,
    ModelConfig,
    ProbeConfig,
    RunConfig,
    TrainConfig,
    make_config,
)
from civilwar.runs.manifest import write_manifest
from civilwar.runs.reader import Run

PARTS: dict[str, type] = {"model": ModelConfig, "train": TrainConfig, "probe": ProbeConfig}
Fields = dict[str, Any]


@st.composite
def fields(draw: st.DrawFn) -> Fields:
    """Fields of a valid configuration, by part; those of the run itself under "run"."""
    rates = st.floats(0, 1) | st.integers(0, 9)
    below_1 = st.floats(0, 0.999)
    counts = st.integers(1, 9)
    kv_heads, d_head, context = draw(counts), 2 * draw(st.integers(1, 64)), draw(st.integers(16, 4096))
    first_horizon = draw(st.integers(4, context))
    return {
        "run": {
            "preset": draw(st.sampled_from(["smoke", "laptop", "mine"])),
            "variant": draw(st.sampled_from(list(VARIANTS))),
            "seed": draw(st.integers(0, LARGEST_INT)),
            "corpus": draw(
                st.sampled_from(["docstrings", "docstrings:numpy", "path:/some folder/é.txt", "hub:owner/name"])
            ),
        },
        "model": {
            "n_layers": draw(counts),
            "d_model": draw(st.integers(1, 4096)),
            "n_query_heads": kv_heads * draw(counts),
            "n_kv_heads": kv_heads,
            "d_head": d_head,
            "d_ff": draw(st.integers(1, 4096)),
            "vocab_size": draw(st.integers(300, 99_999)),
            "context": context,
            "rope_base": draw(st.floats(1.001, 1e7) | st.integers(2, 10**7)),
            "qk_norm": draw(st.sampled_from(["learned", "frozen", "none"])),
            "rope_order": draw(st.sampled_from(["standard", "shuffled"])),
            "joint_qkvo": draw(st.booleans()),
        },
        "train": {
            "steps": draw(st.integers(1, 99_999)),
            "batch_size": draw(counts),
            **{
                name: draw(rates)
                for name in ("muon_lr", "adamw_lr", "weight_decay", "gain_weight_decay", "matrix_adamw_lr")
            },
            "muon_momentum": draw(below_1),
            "adamw_betas": draw(st.tuples(below_1, below_1)),
            "matrix_optimizer": draw(st.sampled_from(["muon", "adamw"])),
            "precision": draw(st.sampled_from(["bf16-autocast", "bf16-pure", "float32"])),
        },
        "probe": {
            **{name: draw(counts) for name in ("n_texts", "n_repeated", "experiment_texts", "random_draws")},
            "content_texts": draw(st.integers(2, 99)),
            "short_tokens": draw(st.integers(8, context)),
            "report_tokens": draw(st.integers(1, context)),
            "sink_horizons": (first_horizon, *draw(st.lists(st.integers(first_horizon, 9999), max_size=4))),
            "sink_positions": (1, *draw(st.lists(st.integers(1, first_horizon), max_size=4))),
            "capacity_ranks": (draw(st.integers(1, d_head - 1)), *draw(st.lists(st.integers(1, 99), max_size=4))),
        },
    }


def made(given_fields: Fields) -> RunConfig:
    parts = {part: kind(**given_fields[part]) for part, kind in PARTS.items()}
    return RunConfig(**given_fields["run"], **parts)


def spoiled(given_fields: Fields, part: str, **changes: Any) -> Fields:
    return given_fields | {part: given_fields[part] | changes}


def refusal(given_fields: Fields) -> str:
    with pytest.raises(ConfigError) as caught:
        made(given_fields)
    return str(caught.value)


def assert_names(message: str, field: str) -> None:
    """One sentence on one line that begins with the field and ends with what is accepted."""
    assert message.startswith(f"{field} = "), message
    assert ": expected " in message
    assert "\n" not in message


# ---------------------------------------------------------------- what is right


@given(fields())
def test_a_valid_configuration_is_taken_and_survives_json(valid: Fields) -> None:
    config = made(valid)
    assert RunConfig.from_dict(json.loads(json.dumps(config.as_dict()))) == config
    # the same fields make the same configuration, in whatever order they are given
    backwards = {part: dict(reversed(of_part.items())) for part, of_part in valid.items()}
    assert made(backwards) == config
    assert made(backwards).hash == config.hash
    assert hash(made(backwards)) == hash(config)
    assert RunConfig.from_dict(config.as_dict()).hash == config.hash
    snapshots = config.snapshot_steps()
    assert (snapshots[0], snapshots[-1]) == (0, config.train.steps)
    assert config.sink_horizon <= config.model.context


# ---------------------------------------------------------------- one field

NEVER: list[Any] = [None, math.nan, math.inf, -math.inf, "", "8", b"8", {}, set(), object, 1j, Fraction(1, 2)]
NO_NUMBER = st.sampled_from([*NEVER, True, False, [1], (1,), (None,), [[None]], np.array([1.0, 2.0])])
TOO_SMALL = st.integers(max_value=0)
TOO_LARGE = st.integers(min_value=LARGEST_INT + 1)
NO_INTEGER = NO_NUMBER | st.floats() | st.just(np.float64(4)) | TOO_LARGE
NEGATIVE = st.floats(max_value=0, exclude_max=True) | st.integers(max_value=-1)
NO_RATE = NO_NUMBER | NEGATIVE | st.just(10**400)
NO_CHOICE = NO_NUMBER | st.integers() | st.just(["learned"]) | st.just(("muon",)) | st.text()
NO_TEXT = st.sampled_from(
    [None, True, 0, 1.5, math.nan, b"docstrings", ["docstrings"], {}, Path("a"), "", "path:\udcff"]
)
NOT_AN_ENTRY = st.sampled_from([*NEVER, True, 0, -1, 2.5, (1,), [1], LARGEST_INT + 1])
NO_INTEGERS = st.sampled_from(
    [*NEVER, (), [], [1], [1, 16], 1, {1: 16}, {1}, range(1, 9), np.array([1, 16]), "abc"]
) | NOT_AN_ENTRY.map(lambda entry: (1, entry))
NO_BETAS = st.sampled_from(
    [*NEVER, (), [0.9, 0.999], (0.9,), (0.9, 0.99, 0.999), 0.9, "ab", {0.9: 0.999}, (0.9, 1.0), np.array([0.9, 0.99])]
) | st.tuples(st.floats(0, 0.9), st.sampled_from([*NEVER, True, False, 1, -0.1, [0.9], (0.9,)]))

INTEGERS = {
    "model": ["n_layers", "d_model", "n_query_heads", "n_kv_heads", "d_head", "d_ff", "vocab_size", "context"],
    "train": ["steps", "batch_size"],
    "probe": [
        "n_texts",
        "n_repeated",
        "short_tokens",
        "report_tokens",
        "experiment_texts",
        "random_draws",
        "content_texts",
    ],
}
RATES = ["muon_lr", "muon_momentum", "adamw_lr", "weight_decay", "gain_weight_decay", "matrix_adamw_lr"]

#: Wrong values of every field, whatever the others are.
WRONG: dict[str, st.SearchStrategy[Any]] = {
    **{f"{part}.{name}": NO_INTEGER | TOO_SMALL for part, names in INTEGERS.items() for name in names},
    **{f"train.{name}": NO_RATE for name in RATES},
    "model.rope_base": NO_RATE | st.floats(0, 1) | st.integers(0, 1),
    "model.qk_norm": NO_CHOICE.filter(lambda value: value not in ("learned", "frozen", "none")),
    "model.rope_order": NO_CHOICE.filter(lambda value: value not in ("standard", "shuffled")),
    "model.joint_qkvo": st.sampled_from([None, 0, 1, 1.0, "no", "False", [], [True], np.bool_(True)]),
    "train.adamw_betas": NO_BETAS,
    "train.matrix_optimizer": NO_CHOICE.filter(lambda value: value not in ("muon", "adamw")),
    "train.precision": NO_CHOICE.filter(lambda value: value not in ("bf16-autocast", "bf16-pure", "float32")),
    "probe.sink_horizons": NO_INTEGERS,
    "probe.sink_positions": NO_INTEGERS | st.just((2, 3)),
    "probe.capacity_ranks": NO_INTEGERS,
    "run.preset": NO_TEXT,
    "run.variant": NO_TEXT,
    "run.seed": NO_INTEGER | st.integers(max_value=-1),
    "run.corpus": NO_TEXT | st.sampled_from([" ", "\n\t"]),
    "run.schema_version": NO_INTEGER | st.integers(max_value=-1),
}
#: Narrower limits of single fields than their kind's.
WRONG["model.d_head"] |= st.integers(0, 99).map(lambda n: 2 * n + 1)
WRONG["model.context"] |= st.integers(1, 15)
WRONG["model.vocab_size"] |= st.integers(1, 299)
WRONG["train.muon_momentum"] |= st.floats(1, 9)
WRONG["probe.short_tokens"] |= st.integers(1, 7)
WRONG["probe.content_texts"] |= st.just(1)


def test_every_field_has_wrong_values_above() -> None:
    parts = {f"{part}.{field.name}" for part, kind in PARTS.items() for field in dataclasses.fields(kind)}
    own = {f"run.{field.name}" for field in dataclasses.fields(RunConfig)} - {f"run.{part}" for part in PARTS}
    assert set(WRONG) == parts | own


@pytest.mark.parametrize("field", WRONG)
@given(data=st.data())
def test_a_wrong_field_is_refused_by_its_name(field: str, data: st.DataObject) -> None:
    part, _, name = field.partition(".")
    value = data.draw(WRONG[field])
    assert_names(refusal(spoiled(data.draw(fields()), part, **{name: value})), name)


@pytest.mark.parametrize("part", PARTS)
@given(valid=fields(), value=st.sampled_from([*NEVER, True, {"n_layers": 2}, ModelConfig, "another part"]))
def test_a_part_that_is_none_of_its_kind_is_refused_by_its_name(part: str, valid: Fields, value: Any) -> None:
    config = made(valid)
    if value == "another part":
        value = config.train if part == "model" else config.model
    with pytest.raises(ConfigError) as caught:
        dataclasses.replace(config, **{part: value})
    assert_names(str(caught.value), part)


# ---------------------------------------------------------------- two fields

#: name: the field that is named, and changes that make two fields contradict each other, by part.
CONTRADICTIONS: dict[str, tuple[str, Callable[[Fields, Callable[..., int]], Fields]]] = {
    "heads that do not share evenly": (
        "n_kv_heads",
        lambda f, pick: spoiled(
            f, "model", n_kv_heads=(n := pick(2, 9)), n_query_heads=n * pick(1, 9) - pick(1, n - 1)
        ),
    ),
    "more key heads than query heads": (
        "n_kv_heads",
        lambda f, pick: spoiled(f, "model", n_kv_heads=f["model"]["n_query_heads"] + pick(1, 9)),
    ),
    "a short text beyond the context": (
        "short_tokens",
        lambda f, pick: spoiled(f, "probe", short_tokens=f["model"]["context"] + pick(1, 99)),
    ),
    "the report's tokens beyond the context": (
        "report_tokens",
        lambda f, pick: spoiled(f, "probe", report_tokens=f["model"]["context"] + pick(1, 99)),
    ),
    "no horizon within the context": (
        "sink_horizons",
        lambda f, pick: spoiled(f, "probe", sink_horizons=(f["model"]["context"] + pick(1, 99),)),
    ),
    "a sink beyond the first horizon": (
        "sink_positions",
        lambda f, pick: spoiled(f, "probe", sink_positions=(1, min(f["probe"]["sink_horizons"]) + pick(1, 99))),
    ),
    "no rank below the dimensions of a head": (
        "capacity_ranks",
        lambda f, pick: spoiled(f, "probe", capacity_ranks=(f["model"]["d_head"] + pick(0, 99),)),
    ),
}


@pytest.mark.parametrize("contradiction", CONTRADICTIONS)
@given(data=st.data())
def test_fields_that_contradict_each_other_are_refused(contradiction: str, data: st.DataObject) -> None:
    field, contradict = CONTRADICTIONS[contradiction]
    wrong = contradict(data.draw(fields()), lambda low, high: data.draw(st.integers(low, high)))
    assert_names(refusal(wrong), field)


# ---------------------------------------------------------------- names, and what was stored


@pytest.mark.parametrize("argument", ["preset", "variant"])
@given(value=st.text() | NO_NUMBER | st.just(["smoke"]) | st.just({"smoke": 1}))
def test_only_a_known_name_makes_a_configuration(argument: str, value: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        make_config(**{argument: value})
    assert_names(str(caught.value), argument)


@pytest.mark.parametrize("field", [field for field in WRONG if field != "run.schema_version"])
@given(data=st.data())
def test_a_wrong_stored_field_is_refused_by_its_name(field: str, data: st.DataObject) -> None:
    """As from a manifest that someone edited: only values that JSON knows."""
    part, _, name = field.partition(".")
    wrong = st.sampled_from([None, -1, 1.5, "", [], [None], [[1]], {}, [-1, 1]])
    # each of these is wrong for every field but the rates, which may be 1.5, and those that take any text
    value = data.draw(wrong.filter(lambda value: not (value == 1.5 and name in (*RATES, "rope_base"))))
    stored = made(data.draw(fields())).as_dict()
    (stored if part == "run" else stored[part])[name] = value
    with pytest.raises(ConfigError) as caught:
        RunConfig.from_dict(stored)
    assert_names(str(caught.value), name)


@pytest.mark.parametrize("part", [*PARTS, "config"])
@pytest.mark.parametrize("value", [None, 3, "smoke", [], [["n_layers", 2]], True])
def test_a_stored_part_that_is_no_dictionary_is_refused_by_its_name(part: str, value: Any) -> None:
    stored: Any = make_config("smoke").as_dict()
    if part == "config":
        stored = value
    else:
        stored[part] = value
    with pytest.raises(ConfigError) as caught:
        RunConfig.from_dict(stored)
    assert_names(str(caught.value), part)


@pytest.mark.parametrize("config", [None, "smoke", [], {"model": None}, {"model": {}, "train": {}, "probe": []}])
def test_a_manifest_with_such_a_configuration_is_damaged(config: Any, tmp_path: Path) -> None:
    write_manifest(tmp_path, {"config": config})
    with pytest.raises(RunDamaged, match=r"manifest\.json was written by another version"):
        Run(tmp_path)


# ---------------------------------------------------------------- a corpus that is too short for them


@pytest.mark.parametrize(("name", "value"), [("steps", 10_000), ("batch_size", 10_000)])
def test_a_corpus_shorter_than_the_training_is_refused_before_it(
    name: str, value: int, smoke_corpus: str, runs_dir: Path
) -> None:
    from civilwar.training.loop import train

    config = make_config("smoke", corpus=smoke_corpus)
    config = dataclasses.replace(config, train=dataclasses.replace(config.train, **{name: value}))
    with pytest.raises(
        CorpusError, match=r"training tokens, but .* need [\d,]+: expected enough.*lower steps, batch_size"
    ):
        train(config, f"too-short-{name}", device="cpu", progress=False)
    assert not (runs_dir / f"too-short-{name}" / "manifest.json").exists()


def test_a_context_longer_than_the_corpus_is_refused(smoke_corpus: str) -> None:
    corpus = load_corpus(smoke_corpus, 512)
    with pytest.raises(CorpusError, match=r"training tokens, but .*lower steps, batch_size or context"):
        corpus.training_batches(seed=0, batch_size=1, context=len(corpus.train.ids), steps=1)
    with pytest.raises(CorpusError, match=r"probe tokens, but .*lower the number of texts or the context"):
        corpus.probe_texts(1, len(corpus.probe.ids))
