"""The sweep: which runs, trained once each whatever happens in between, and what of them is there."""

import functools
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from synthetic import make_synthetic_config, write_run

from civilwar import cli, paths
from civilwar.errors import RunMismatch
from civilwar.evidence import registration
from civilwar.files import sha256
from civilwar.names.variants import VARIANTS
from civilwar.recipe import plan
from civilwar.recipe.config import RunConfig, make_config
from civilwar.runs import collection
from civilwar.runs.collection import open_sweep, open_variants
from civilwar.runs.manifest import read_manifest, write_manifest
from civilwar.runs.reader import Run
from civilwar.runs.schema import WEIGHTS
from civilwar.runs.writer import RunWriter
from civilwar.training import loop as train
from civilwar.training import sweep
from civilwar.training.finite import TrainingDiverged

#: Eight seeds of the baseline and of every control.
N_PLANNED = 8 * len(VARIANTS)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folders of this test alone: ``runs`` for this machine's runs, ``data`` for recorded ones."""
    monkeypatch.setenv("CIVILWAR_RUNS", str(tmp_path / "runs"))
    monkeypatch.setattr(paths, "recorded", lambda: tmp_path / "data")
    return tmp_path


# ---------------------------------------------------------------- the plan


def test_the_plan_is_eight_fresh_seeds_of_the_baseline_and_of_every_control() -> None:
    configs = plan.sweep()
    seeds: dict[str, list[int]] = {}
    for config in configs:
        seeds.setdefault(config.variant, []).append(config.seed)
    assert seeds == {variant: [11, 12, 13, 14, 15, 16, 17, 18] for variant in VARIANTS}
    assert len(configs) == N_PLANNED
    assert all(config == make_config("laptop", config.variant, config.seed) for config in configs)
    for variant in VARIANTS:
        assert plan.seeds_of(variant) == tuple(config.seed for config in configs if config.variant == variant)
    # none of them was seen before the rules were written
    planned = {seed for group in plan.GROUPS.values() for of in group.seeds.values() for seed in of}
    assert not planned & set(plan.EXPLORATORY_SEEDS)


def test_the_plan_goes_variant_by_variant_with_the_baseline_first() -> None:
    order = [config.variant for config in plan.sweep()]
    assert list(dict.fromkeys(order)) == ["baseline", *plan.CONTROLS]
    assert order == sorted(order, key=["baseline", *plan.CONTROLS].index)
    # those that claims rest on come first
    assert plan.CONTROLS[:2] == ("no_gain_decay", "pure_bf16")


@pytest.mark.parametrize(
    ("group", "n", "first", "last"),
    [
        ("paper", 5, "paper-baseline-seed11", "paper-no_gain_decay-seed12"),
        ("middle", 4, "middle-baseline-seed11", "middle-baseline-seed14"),
        ("longer", 4, "laptop-baseline-seed11-4000steps", "laptop-baseline-seed14-4000steps"),
        ("paper-longer", 1, "paper-baseline-seed11-1500steps", "paper-baseline-seed11-1500steps"),
        ("source", 8, "laptop-baseline-seed11-source", "laptop-no_gain_decay-seed14-source"),
        ("prose", 8, "laptop-baseline-seed11-prose", "laptop-no_gain_decay-seed14-prose"),
    ],
)
def test_other_scales_lengths_and_texts_are_planned(group: str, n: int, first: str, last: str) -> None:
    names = [config.default_name for config in plan.GROUPS[group].planned()]
    assert (len(names), names[0], names[-1]) == (n, first, last)


def test_the_middle_rung_stands_between_the_two() -> None:
    small, middle, large = (make_config(preset) for preset in plan.RUNGS)
    assert small.model.n_parameters < 25e6 < middle.model.n_parameters < 27e6 < large.model.n_parameters
    assert small.n_tokens < middle.n_tokens < large.n_tokens


def test_a_plan_is_of_the_preset_and_corpus_asked_for() -> None:
    configs = plan.sweep("smoke", CORPUS)
    assert {(config.preset, config.corpus) for config in configs} == {("smoke", CORPUS)}
    assert len({config.default_name for config in configs}) == len({config.hash for config in configs}) == N_PLANNED
    assert not {config.default_name for config in configs} & {config.default_name for config in plan.sweep("smoke")}


# ---------------------------------------------------------------- training and recording, with training replaced

CONFIGS = [make_synthetic_config(steps=4, seed=seed) for seed in (1, 2, 3)]
NAMES = [config.default_name for config in CONFIGS]


class Trainer:
    """Stands in for training: writes a synthetic run with weights, and keeps what it was asked for."""

    def __init__(self, diverging: int | None = None) -> None:
        self.asked: list[tuple[str, str]] = []
        self.accepts: list[bool] = []
        self.diverging = diverging

    def __call__(self, config: RunConfig, device: str, accept_another_machine: bool) -> Run:
        self.accepts.append(accept_another_machine)
        self.asked.append((config.default_name, device))
        path = paths.runs() / config.default_name
        if config.seed == self.diverging:
            with RunWriter(path, config) as writer:
                writer.write_manifest(status="diverged")
            raise TrainingDiverged("the loss is nan at step 3")
        run = write_run(path, config, timings={"wall_seconds": 60.0})
        (path / WEIGHTS).write_bytes(b"weights")
        manifest = read_manifest(path)
        manifest["files"][WEIGHTS] = sha256(path / WEIGHTS)
        write_manifest(path, manifest)
        return Run(run.path)


@pytest.fixture
def make_trainer(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Trainer]:
    """Put a new trainer in the place of training, and three configurations in that of the plan."""

    def make(**arguments: Any) -> Trainer:
        trainer = Trainer(**arguments)
        monkeypatch.setattr(sweep, "train", trainer)
        return trainer

    plan_only(monkeypatch, CONFIGS)
    return make


def plan_only(monkeypatch: pytest.MonkeyPatch, configs: list[RunConfig]) -> None:
    """Put these in the place of the laptop group's runs."""
    group = SimpleNamespace(planned=lambda preset, corpus: configs)
    monkeypatch.setattr(plan, "GROUPS", {"laptop": group})


def is_slim_and_whole(path: Path) -> bool:
    run = Run(path)
    return run.complete and bool(run.manifest["left_out"]) and len(run.table("train")) == 5


def test_every_run_of_the_plan_is_trained_recorded_and_reported_in_order(
    folder: Path, make_trainer: Callable[..., Trainer]
) -> None:
    trainer = make_trainer()
    lines = list(sweep.run_sweep(device="cpu", publish=True))
    assert trainer.asked == [(name, "cpu") for name in NAMES]
    assert len(lines) == 3
    for number, (line, name) in enumerate(zip(lines, NAMES, strict=True), 1):
        assert line.startswith(f"[ {number}/3] {name}: trained in 1.0 min, recorded in 0.")
        assert is_slim_and_whole(folder / "data" / name)
        # the tables stay, the weights do not
        assert not (folder / "runs" / name / WEIGHTS).exists()
        kept = Run(folder / "runs" / name)
        assert WEIGHTS not in kept.manifest["files"]
        assert len(kept.array("patterns")["step"]) > 0


def test_a_sweep_hands_on_that_another_machine_is_accepted(make_trainer: Callable[..., Trainer]) -> None:
    trainer = make_trainer()
    assert cli.main(["sweep", "--publish", "--accept-another-machine"]) == 0
    assert trainer.accepts == [True] * 3
    trainer = make_trainer(diverging=CONFIGS[0].seed)
    shutil.rmtree(paths.recorded())
    assert cli.main(["sweep", "--publish"]) == 0
    assert trainer.accepts == [False] * 3


def test_a_line_comes_as_soon_as_its_run_is_recorded(folder: Path, make_trainer: Callable[..., Trainer]) -> None:
    trainer = make_trainer()
    lines = sweep.run_sweep(publish=True)
    next(lines)
    assert trainer.asked == [(NAMES[0], "auto")]
    assert [path.name for path in (folder / "data").glob("[!.]*")] == NAMES[:1]


def test_what_is_recorded_is_not_trained_again(folder: Path, make_trainer: Callable[..., Trainer]) -> None:
    make_trainer()
    next(sweep.run_sweep(publish=True))
    # recorded is enough: this machine need not have it
    shutil.rmtree(folder / "runs")
    trainer = make_trainer()
    lines = list(sweep.run_sweep(publish=True))
    assert lines[0] == f"[ 1/3] {NAMES[0]}: recorded already"
    assert [name for name, _ in trainer.asked] == NAMES[1:]
    trainer = make_trainer()
    assert all(line.endswith("recorded already") for line in sweep.run_sweep(publish=True))
    assert trainer.asked == []


def test_a_run_that_was_trained_but_not_recorded_is_recorded(
    folder: Path, make_trainer: Callable[..., Trainer]
) -> None:
    trainer = make_trainer()
    list(sweep.run_sweep(publish=True))
    shutil.rmtree(folder / "data" / NAMES[1])
    assert not sweep.is_recorded(CONFIGS[1])
    lines = list(sweep.run_sweep(publish=True))
    assert [line.partition(": ")[2].split()[0] for line in lines] == ["recorded", "trained", "recorded"]
    assert [name for name, _ in trainer.asked] == [*NAMES, NAMES[1]]
    assert is_slim_and_whole(folder / "data" / NAMES[1])


def test_unless_told_to_publish_it_writes_only_where_runs_are_trained(
    folder: Path, make_trainer: Callable[..., Trainer]
) -> None:
    trainer = make_trainer()
    assert [line.split(": ")[1] for line in sweep.run_sweep()] == ["trained in 1.0 min"] * 3
    assert not (folder / "data").exists()
    # what a longer run goes on from
    assert all((folder / "runs" / name / WEIGHTS).is_file() for name in NAMES)
    assert all(line.endswith("trained already") for line in sweep.run_sweep())
    assert len(trainer.asked) == 3


def test_a_pattern_chooses_runs_of_the_group(folder: Path, make_trainer: Callable[..., Trainer]) -> None:
    trainer = make_trainer()
    lines = list(sweep.run_sweep(only="*-seed[23]-*"))
    assert [name for name, _ in trainer.asked] == NAMES[1:]
    assert lines[0].startswith(f"[ 1/2] {NAMES[1]}")


def test_a_run_that_diverges_is_reported_left_as_it_is_and_the_sweep_goes_on(
    folder: Path, make_trainer: Callable[..., Trainer]
) -> None:
    trainer = make_trainer(diverging=2)
    lines = list(sweep.run_sweep(publish=True))
    assert lines[1] == f"[ 2/3] {NAMES[1]}: diverged (the loss is nan at step 3)"
    assert [name for name, _ in trainer.asked] == NAMES
    assert sorted(path.name for path in (folder / "data").glob("[!.]*")) == [NAMES[0], NAMES[2]]
    assert Run(folder / "runs" / NAMES[1]).manifest["status"] == "diverged"
    assert [sweep.is_recorded(config) for config in CONFIGS] == [True, False, True]


def test_only_this_very_run_complete_counts_as_recorded(folder: Path) -> None:
    config = CONFIGS[0]
    path = folder / "data" / config.default_name
    assert not sweep.is_recorded(config)
    with RunWriter(path, config) as writer:
        writer.write_manifest(status="running")
    assert not sweep.is_recorded(config)
    shutil.rmtree(path)
    write_run(path, make_synthetic_config(steps=5, seed=1))
    assert not sweep.is_recorded(config)
    shutil.rmtree(path)
    write_run(path, config)
    assert sweep.is_recorded(config)
    # of this machine's runs nobody asked
    shutil.move(path, folder / "runs" / config.default_name)
    assert not sweep.is_recorded(config)


# ---------------------------------------------------------------- with training as it is


def test_an_interrupted_sweep_resumes_the_run_it_was_at(
    folder: Path, smoke_config: RunConfig, smoke_run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan_only(monkeypatch, [smoke_config])
    monkeypatch.setattr(sweep, "train", functools.partial(train.train, checkpoint_every=8, progress=False))
    loss, steps = train.Session.loss, []

    def interrupted(self: train.Session, step: int, with_gradient: bool) -> Any:
        steps.append(step)
        if len(steps) == 21:
            raise KeyboardInterrupt
        return loss(self, step, with_gradient)

    monkeypatch.setattr(train.Session, "loss", interrupted)
    monkeypatch.setattr(registration, "in_force_hash", lambda: "the rules it began under")
    with pytest.raises(KeyboardInterrupt):
        list(sweep.run_sweep(device="cpu", publish=True))
    assert not sweep.is_recorded(smoke_config)
    monkeypatch.setattr(registration, "in_force_hash", lambda: "rules that were changed meanwhile")
    (line,) = sweep.run_sweep(device="cpu", publish=True)
    assert ": trained in " in line
    # the interruption left a checkpoint of step 19
    assert steps == [*range(21), *range(20, 25)]
    recorded = Run(folder / "data" / smoke_config.default_name)
    assert recorded.manifest["resumed_at"] == [20]
    assert recorded.manifest["rules"] == "the rules it began under"
    for name in ("train", "probe_query_heads", "capacity", "ablation"):
        pd.testing.assert_frame_equal(recorded.table(name), smoke_run.table(name))
    (line,) = sweep.run_sweep(device="cpu", publish=True)
    assert line.endswith("recorded already")


# ---------------------------------------------------------------- what is there

CORPUS = "path:/book"


def put(folder: Path, variant: str, seed: int, status: str = "complete", where: str = "data") -> Path:
    """A run of the smoke plan with nothing in it but its manifest."""
    config = make_config("smoke", variant, seed, CORPUS)
    path = folder / where / config.default_name
    with RunWriter(path, config) as writer:
        writer.write_manifest(status=status, files={})
    return path


def names(*runs: tuple[str, int]) -> list[str]:
    return [make_config("smoke", variant, seed, CORPUS).default_name for variant, seed in runs]


def test_without_any_run_all_are_missing(folder: Path) -> None:
    found = open_sweep("smoke", CORPUS)
    assert found.missing == tuple(config.default_name for config in plan.sweep("smoke", CORPUS))
    assert found.n_runs == 0
    assert found.n_planned == N_PLANNED
    assert found.baseline == found.of("frozen_gain") == found.pairs("frozen_gain") == found.variants == []
    assert not found.complete
    assert found.statement().startswith(f"0 of the {N_PLANNED} runs of the sweep are recorded, so a claim")


def test_a_partial_sweep_says_what_is_there_and_what_is_missing(folder: Path) -> None:
    there = [("baseline", 12), ("baseline", 11), ("baseline", 15), ("frozen_gain", 11), ("frozen_gain", 13)]
    there += [("no_gain_decay", 12)]
    for variant, seed in there:
        put(folder, variant, seed)
    # a seed that is neither exploratory nor of the plan
    put(folder, "baseline", 9)
    found = open_sweep("smoke", CORPUS)
    assert not found.exploratory
    assert [run.config.seed for run in found.baseline] == [11, 12, 15]
    assert [(run.config.variant, run.config.seed) for run in found.of("frozen_gain")] == [
        ("frozen_gain", 11),
        ("frozen_gain", 13),
    ]
    # only the seed that both have: frozen_gain's other has no baseline
    assert [[run.name for run in pair] for pair in found.pairs("frozen_gain")] == [
        names(("baseline", 11), ("frozen_gain", 11))
    ]
    assert [[run.name for run in pair] for pair in found.pairs("no_gain_decay")] == [
        names(("baseline", 12), ("no_gain_decay", 12))
    ]
    assert found.pairs("adamw_only") == []
    assert found.variants == ["baseline", "no_gain_decay", "frozen_gain"]
    assert (found.n_runs, found.n_planned) == (6, N_PLANNED)
    assert set(found.missing) == {c.default_name for c in plan.sweep("smoke", CORPUS)} - set(names(*there))
    assert found.missing[:2] == tuple(names(("baseline", 13), ("baseline", 14)))
    assert found.statement().startswith(f"6 of the {N_PLANNED} runs of the sweep are recorded, so a claim")


def test_a_run_that_is_not_complete_is_missing(folder: Path) -> None:
    put(folder, "baseline", 11)
    put(folder, "baseline", 12, status="diverged")
    put(folder, "baseline", 13, status="running", where="runs")
    found = open_sweep("smoke", CORPUS)
    assert [run.config.seed for run in found.baseline] == [11]
    assert set(names(("baseline", 12), ("baseline", 13))) <= set(found.missing)


def test_until_the_plan_is_complete_exploratory_runs_are_shown_and_called_so(folder: Path) -> None:
    for seed in (0, 3, 11):
        put(folder, "baseline", seed)
    put(folder, "frozen_gain", 3)
    found = open_sweep("smoke", CORPUS)
    assert found.exploratory
    assert [run.config.seed for run in found.baseline] == [0, 3]
    assert len(found.pairs("frozen_gain")) == 1
    assert set(found.missing) == {c.default_name for c in plan.sweep("smoke", CORPUS)} - set(names(("baseline", 11)))
    assert found.statement().startswith(
        f"{N_PLANNED - 1} planned runs are not recorded yet: shown are 3 exploratory runs"
    )
    assert [run.config.seed for run in collection.open_fresh("smoke", CORPUS).baseline] == [11]
    for config in plan.sweep("smoke", CORPUS):
        if config.seed != 11 or config.variant != "baseline":
            put(folder, config.variant, config.seed)
    found = open_sweep("smoke", CORPUS)
    assert not found.exploratory
    assert found.complete


def test_a_run_of_this_machine_goes_before_a_recorded_one(folder: Path) -> None:
    put(folder, "baseline", 11)
    mine = put(folder, "baseline", 11, where="runs")
    other = put(folder, "baseline", 12, where="runs")
    assert [run.path for run in open_sweep("smoke", CORPUS).baseline] == [mine, other]


def test_variants_beside_a_run_have_its_preset_and_seed(folder: Path) -> None:
    for variant, seed in (("no_gain_decay", 3), ("frozen_gain", 3), ("baseline", 1), ("no_qk_norm", 2)):
        put(folder, variant, seed)
    put(folder, "pure_bf16", 3, status="running", where="runs")
    # under another name than the one its configuration would have
    put(folder, "baseline", 3).rename(folder / "data" / "mine")
    shown = Run(folder / "data" / "mine")
    found = open_variants(shown)
    assert found.variants == ["baseline", "no_gain_decay", "frozen_gain"]
    assert found.baseline == [shown]
    assert {run.config.seed for run in found.all} == {3}
    assert found.complete


def test_a_whole_sweep_is_complete(folder: Path) -> None:
    for config in plan.sweep("smoke", CORPUS):
        put(folder, config.variant, config.seed)
    found = open_sweep("smoke", CORPUS)
    assert found.complete
    assert found.missing == ()
    assert found.n_runs == found.n_planned == N_PLANNED
    assert found.variants == list(VARIANTS)
    assert [len(found.pairs(variant)) for variant in VARIANTS] == [8] * len(VARIANTS)
    for base, control in found.pairs("shuffled_rope"):
        assert (base.config.variant, control.config.variant) == ("baseline", "shuffled_rope")
        assert base.config.seed == control.config.seed
    assert found.statement() == f"All {N_PLANNED} runs of the sweep are recorded."


def test_another_run_under_a_planned_name_is_refused(folder: Path) -> None:
    (name,) = names(("baseline", 11))
    write_run(folder / "data" / name, make_synthetic_config(steps=4, seed=1))
    with pytest.raises(RunMismatch, match="another configuration"):
        open_sweep("smoke", CORPUS)


def test_the_sweep_asked_for_by_default_is_the_laptop_s(folder: Path) -> None:
    missing = collection.open_sweep().missing
    assert missing == tuple(config.default_name for config in plan.sweep("laptop"))
    assert missing[0] == "laptop-baseline-seed11"
