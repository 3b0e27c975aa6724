"""Configurations: the recipe's numbers, contradictions refused, the hash, the schedule of snapshots."""

import dataclasses
import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from civilwar import paths
from civilwar.names.variants import VARIANTS
from civilwar.recipe.config import (
    PRESETS,
    ConfigError,
    ModelConfig,
    ProbeConfig,
    RunConfig,
    TrainConfig,
    make_config,
)

BASE = make_config("laptop")

# other valid values of every field, given the rest of BASE
OTHER_VALUES: dict[str, st.SearchStrategy[Any]] = {
    "preset": st.text(min_size=1, max_size=9),
    "variant": st.text(min_size=1, max_size=9),
    "seed": st.integers(0, 2**31 - 1),
    "corpus": st.sampled_from(["path:books", "hub:wikitext", "docstrings:numpy"]),
    "schema_version": st.integers(0, 99),
    "model.n_layers": st.integers(1, 99),
    "model.d_model": st.integers(1, 9999),
    "model.n_query_heads": st.sampled_from([4, 12, 16, 20]),
    "model.n_kv_heads": st.sampled_from([1, 2, 8]),
    "model.d_head": st.integers(1, 99).map(lambda n: 2 * n),
    "model.d_ff": st.integers(1, 9999),
    "model.vocab_size": st.integers(300, 99_999),
    "model.context": st.integers(128, 9999),
    "model.rope_base": st.floats(1.5, 1e6),
    "model.qk_norm": st.sampled_from(["frozen", "none"]),
    "model.rope_order": st.just("shuffled"),
    "model.joint_qkvo": st.just(False),
    "train.steps": st.integers(1, 9999),
    "train.batch_size": st.integers(1, 99),
    "train.muon_lr": st.floats(0, 1),
    "train.muon_momentum": st.floats(0, 0.99),
    "train.adamw_lr": st.floats(0, 1),
    "train.weight_decay": st.floats(0, 1),
    "train.gain_weight_decay": st.floats(0, 1),
    "train.adamw_betas": st.tuples(st.floats(0, 0.99), st.floats(0, 0.99)),
    "train.matrix_optimizer": st.just("adamw"),
    "train.matrix_adamw_lr": st.floats(0, 1),
    "train.precision": st.sampled_from(["bf16-pure", "float32"]),
    "probe.n_texts": st.integers(1, 99),
    "probe.n_repeated": st.integers(1, 99),
    "probe.short_tokens": st.integers(8, 512),
    "probe.report_tokens": st.integers(1, 512),
    "probe.sink_horizons": st.lists(st.integers(4, 512), min_size=1).map(tuple),
    # 1, the first token, has to be among them
    "probe.sink_positions": st.lists(st.integers(1, 4), max_size=3).map(lambda others: (1, *others)),
    "probe.experiment_texts": st.integers(1, 64),
    # one has to be below the 64 dimensions of a head
    "probe.capacity_ranks": st.lists(st.integers(1, 99)).map(lambda others: (63, *others)),
    "probe.random_draws": st.integers(1, 99),
    "probe.content_texts": st.integers(2, 64),
}


def flat(config: RunConfig) -> dict[str, Any]:
    whole = config.as_dict()
    parts = {part: whole.pop(part) for part in ("model", "train", "probe")}
    return whole | {f"{part}.{name}": value for part, fields in parts.items() for name, value in fields.items()}


def changed(config: RunConfig, field: str, value: Any) -> RunConfig:
    part, dot, name = field.partition(".")
    if not dot:
        return dataclasses.replace(config, **{field: value})
    return dataclasses.replace(config, **{part: dataclasses.replace(getattr(config, part), **{name: value})})


def test_the_paper_preset_is_the_recipe() -> None:
    config = make_config("paper")
    assert config.model == ModelConfig(
        n_layers=22, d_model=512, n_query_heads=8, n_kv_heads=4, d_head=64, d_ff=2048, vocab_size=49_152, context=2048
    )
    assert config.model.n_parameters == 88_630_528
    assert config.tokens_per_step == 8192
    # 489 steps are the first to pass four million tokens
    assert config.n_tokens > 4_000_000 >= config.n_tokens - config.tokens_per_step


def test_the_laptop_preset_is_the_one_asked_for() -> None:
    config = make_config("laptop")
    assert config.model == ModelConfig(
        n_layers=6, d_model=256, n_query_heads=8, n_kv_heads=4, d_head=64, d_ff=1024, vocab_size=8192, context=512
    )
    assert (config.train.steps, config.tokens_per_step) == (489, 2048)


def test_rates_and_decay_are_the_report_s_in_every_preset() -> None:
    recipe = {"muon_lr": 0.024, "muon_momentum": 0.95, "adamw_lr": 0.006, "weight_decay": 0.2, "gain_weight_decay": 0.2}
    for preset in PRESETS:
        train = dataclasses.asdict(make_config(preset).train)
        assert {name: train[name] for name in recipe} == recipe
        assert (train["matrix_optimizer"], train["precision"]) == ("muon", "bf16-autocast")


@pytest.mark.parametrize("preset", PRESETS)
def test_a_variant_changes_only_the_fields_it_names(preset: str) -> None:
    baseline = flat(make_config(preset))
    for variant, record in VARIANTS.items():
        other = flat(make_config(preset, variant))
        differing = {key.rpartition(".")[2] for key in baseline if baseline[key] != other[key]}
        assert differing == set(record.changes) | ({"variant"} if variant != "baseline" else set())


def test_the_variants_asked_for_are_there() -> None:
    assert list(VARIANTS)[:8] == [
        "baseline",
        "no_gain_decay",
        "frozen_gain",
        "no_qk_norm",
        "adamw_only",
        "pure_bf16",
        "separate_qkvo",
        "shuffled_rope",
    ]


# ---------------------------------------------------------------- contradictions


@pytest.mark.parametrize(
    ("part", "field", "value"),
    [
        ("model", "n_layers", 0),
        ("model", "d_model", -1),
        ("model", "d_ff", True),
        ("model", "n_query_heads", 2.5),
        ("model", "n_kv_heads", 3),
        ("model", "d_head", 63),
        ("model", "context", 15),
        ("model", "vocab_size", 299),
        ("model", "rope_base", 1.0),
        ("model", "rope_base", math.inf),
        ("model", "rope_base", 1e300),
        ("model", "vocab_size", 2**31 - 1),
        ("model", "vocab_size", 2**20 + 1),
        ("train", "muon_lr", 1e300),
        ("train", "adamw_lr", 1.1e30),
        ("train", "weight_decay", 10**400),
        ("model", "qk_norm", "batch"),
        ("model", "rope_order", "random"),
        ("train", "steps", 0),
        ("train", "batch_size", "4"),
        ("train", "muon_lr", -0.1),
        ("train", "muon_momentum", 1.0),
        ("train", "adamw_lr", math.nan),
        ("train", "weight_decay", None),
        ("train", "gain_weight_decay", math.inf),
        ("train", "adamw_betas", (0.9, 1.0)),
        ("train", "adamw_betas", (0.9,)),
        ("train", "matrix_optimizer", "sgd"),
        ("train", "matrix_adamw_lr", -1),
        ("train", "precision", "fp16"),
        ("probe", "n_texts", 0),
        ("probe", "n_repeated", 0),
        ("probe", "short_tokens", 7),
        ("probe", "report_tokens", 0),
        ("probe", "sink_horizons", ()),
        ("probe", "sink_horizons", (16, 0)),
        ("probe", "sink_positions", (17,)),
        ("probe", "sink_positions", (2, 3)),
        ("probe", "sink_positions", (1, 17)),
        ("probe", "experiment_texts", 0),
        ("probe", "experiment_texts", 1.5),
        ("probe", "random_draws", 0),
        ("probe", "random_draws", True),
        ("probe", "capacity_ranks", ()),
        ("probe", "capacity_ranks", (4, 0)),
        ("probe", "capacity_ranks", (2.5,)),
        ("probe", "content_texts", 0),
        ("probe", "content_texts", 1),
        # contradictions between parts
        ("probe", "short_tokens", 513),
        ("probe", "report_tokens", 513),
        ("probe", "sink_horizons", (1024,)),
        ("probe", "capacity_ranks", (64, 99)),
        ("", "seed", -1),
        ("", "seed", 2**31),
        ("", "seed", True),
        ("", "corpus", "  "),
    ],
)
def test_a_contradiction_is_refused_by_name(part: str, field: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=rf"^{field} = .*: expected "):
        changed(BASE, f"{part}.{field}".lstrip("."), value)


@pytest.mark.parametrize(("argument", "valid"), [("preset", PRESETS), ("variant", VARIANTS)])
def test_an_unknown_name_gets_the_valid_ones(argument: str, valid: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=rf"^{argument} = 'huge'") as caught:
        make_config(**{argument: "huge"})
    assert all(name in str(caught.value) for name in valid)


def test_a_configuration_cannot_be_changed_in_place() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        BASE.seed = 1  # type: ignore[misc]


# ---------------------------------------------------------------- dictionary and hash


def test_every_field_is_covered_below() -> None:
    assert set(OTHER_VALUES) == set(flat(BASE))


@pytest.mark.parametrize("field", OTHER_VALUES)
@given(data=st.data())
def test_every_field_changes_the_hash_and_survives_json(field: str, data: st.DataObject) -> None:
    before = flat(BASE)[field]
    value = data.draw(
        OTHER_VALUES[field].filter(lambda v: v != (tuple(before) if isinstance(before, list) else before))
    )
    other = changed(BASE, field, value)
    assert other.hash != BASE.hash
    read_back = RunConfig.from_dict(json.loads(json.dumps(other.as_dict())))
    assert read_back == other
    assert read_back.hash == other.hash


def test_hashes_of_all_presets_variants_and_seeds_differ() -> None:
    configs = [make_config(p, v, seed) for p in PRESETS for v in VARIANTS for seed in (0, 1)]
    assert len({c.hash for c in configs}) == len({c.default_name for c in configs}) == len(configs)


def test_the_hash_is_the_same_in_another_process() -> None:
    program = "from civilwar.recipe.config import make_config; print(make_config('laptop').hash)"
    for hash_seed in ("1", "2"):
        environment = os.environ | {"PYTHONHASHSEED": hash_seed}
        done = subprocess.run(
            [sys.executable, "-c", program], env=environment, check=True, capture_output=True, text=True
        )
        assert done.stdout.strip() == BASE.hash
    assert len(BASE.hash) == 16
    assert int(BASE.hash, 16) > 0


@pytest.mark.parametrize(
    "damage",
    [
        lambda d: d.pop("model"),
        lambda d: d["train"].pop("adamw_betas"),
        lambda d: d["model"].pop("n_layers"),
        lambda d: d["model"].update(dropout=0.1),
        lambda d: d.update(optimizer="sgd"),
    ],
    ids=["no model", "no betas", "no layers", "unknown model field", "unknown field"],
)
def test_a_stored_configuration_of_another_version_is_refused(damage: Any) -> None:
    stored = BASE.as_dict()
    damage(stored)
    with pytest.raises(ConfigError):
        RunConfig.from_dict(stored)


def test_from_dict_leaves_its_argument_alone() -> None:
    stored = BASE.as_dict()
    RunConfig.from_dict(stored)
    assert stored == BASE.as_dict()


def test_another_corpus_gets_another_default_name() -> None:
    names = {make_config(corpus=corpus).default_name for corpus in ("docstrings", "path:a", "path:b")}
    assert len(names) == 3
    assert "laptop-baseline-seed0" in names


def test_the_same_relative_path_in_two_folders_is_two_corpora(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for place in ("a", "b"):
        (tmp_path / place).mkdir()
        monkeypatch.chdir(tmp_path / place)
        found.append(make_config(corpus="path:corpus.txt"))
        # however it is written, it is the same file
        for same in ("path:./corpus.txt", f"path:{tmp_path}/{place}/corpus.txt", f"path:../{place}/corpus.txt"):
            assert make_config(corpus=same) == found[-1]
    assert [config.corpus for config in found] == [f"path:{tmp_path}/{place}/corpus.txt" for place in "ab"]
    assert len({config.hash for config in found}) == len({config.default_name for config in found}) == 2


def test_only_paths_are_written_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert make_config(corpus="path:~/texts").corpus == f"path:{tmp_path}/texts"
    for corpus in ("docstrings", "docstrings:numpy", "hub:name:configuration", "path:", "path: "):
        assert make_config(corpus=corpus).corpus == corpus
    # a recorded configuration stays what it was, wherever it is read
    stored = dataclasses.replace(make_config(), corpus="path:corpus.txt")
    assert RunConfig.from_dict(stored.as_dict()).corpus == "path:corpus.txt"


def test_the_hashes_that_are_published_stay() -> None:
    for manifest in sorted(paths.recorded().glob("*/manifest.json")):
        recorded = json.loads(manifest.read_text())
        config = make_config(*(recorded["config"][name] for name in ("preset", "variant", "seed", "corpus")))
        assert (config.hash, config.default_name) == (recorded["config_hash"], manifest.parent.name)


# ---------------------------------------------------------------- schedule


def test_snapshots_of_the_laptop_run_are_where_the_report_and_the_schedule_want_them() -> None:
    every_8 = [8, 16, 24, 32, 40, 48, 56, 64, 72, 80, 88, 96, 104, 112, 120, 122, 128, 136, 144, 152, 160]
    every_32 = [192, 224, 244, 256, 288, 320, 352, 384, 416, 448, 480, 489]
    assert BASE.snapshot_steps() == [0, 1, 2, 4, *every_8, *every_32]
    assert BASE.moments() == {"start": 0, "early": 122, "mid": 244, "late": 489}


def test_a_longer_run_begins_as_the_shorter_one() -> None:
    longer = make_config(seed=11, steps=4000)
    assert (longer.default_name, longer.goes_on, longer.passes) == ("laptop-baseline-seed11-4000steps", True, 2)
    assert (BASE.goes_on, BASE.passes, make_config(steps=20).goes_on) == (False, 1, False)
    assert [step for step in longer.snapshot_steps() if step <= 489] == BASE.snapshot_steps()
    assert [step for step in longer.snapshot_steps() if step > 489][:3] == [512, 640, 768]
    assert set(longer.moments().values()) <= set(longer.snapshot_steps())
    assert make_config(corpus="prose").default_name == "laptop-baseline-seed0-prose"


@given(st.integers(1, 489))
def test_snapshots_of_any_run(steps: int) -> None:
    config = changed(BASE, "train.steps", steps)
    snapshots = config.snapshot_steps()
    assert snapshots == sorted(set(snapshots))
    assert (snapshots[0], snapshots[-1]) == (0, steps)
    assert set(config.moments().values()) <= set(snapshots)
    assert {1, 2, 4, 8, 96, 160, 192, 480} & set(range(steps + 1)) <= set(snapshots)
    assert not {3, 6, 7, 12, 168, 176, 200} & set(snapshots) - set(config.moments().values())


@pytest.mark.parametrize(
    ("horizons", "context", "expected"),
    [
        ((16, 32, 64, 128, 256, 512), 512, 64),
        ((16, 32, 64), 64, 64),
        # 64 is beyond the context, so it is never recorded
        ((16, 32, 64), 63, 32),
        ((16, 50, 81), 512, 50),
        ((16, 47, 80), 512, 80),
        ((512, 128, 100), 512, 100),
        ((300,), 512, 300),
    ],
)
def test_the_horizon_of_sinks_is_64_or_the_nearest_recorded(
    horizons: tuple[int, ...], context: int, expected: int
) -> None:
    config = dataclasses.replace(
        BASE,
        model=dataclasses.replace(BASE.model, context=context),
        probe=dataclasses.replace(BASE.probe, sink_horizons=horizons, report_tokens=8, short_tokens=8),
    )
    assert config.sink_horizon == expected


def test_every_preset_judges_sinks_at_64_tokens() -> None:
    assert {make_config(preset).sink_horizon for preset in PRESETS} == {64}


def test_presets_are_valid_parts() -> None:
    for model, train, probe in PRESETS.values():
        assert (type(model), type(train), type(probe)) == (ModelConfig, TrainConfig, ProbeConfig)
