"""The baseline's runs at every scale, as far as they are there."""

import dataclasses
from pathlib import Path

import pytest
from synthetic import write_run

from civilwar.errors import RunMismatch
from civilwar.recipe import plan
from civilwar.recipe.config import RunConfig, make_config
from civilwar.runs.reader import Run
from civilwar.runs.rungs import everything, label, rungs


@pytest.fixture
def runs_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CIVILWAR_RUNS", str(tmp_path))
    return tmp_path


def smoke(seed: int) -> RunConfig:
    return make_config("smoke", seed=seed, corpus="synthetic:words")


def test_deciding_seeds_come_before_exploratory_ones(runs_here: Path) -> None:
    shown = write_run(runs_here / "shown", smoke(0))
    assert rungs(shown) == {"smoke": [shown]}
    first = plan.seeds_of(plan.BASELINE)[0]
    write_run(runs_here / smoke(0).default_name, smoke(0))
    assert [run.config.seed for run in rungs(shown)["smoke"]] == [0]
    write_run(runs_here / smoke(first).default_name, smoke(first))
    assert [run.config.seed for run in everything(rungs(shown))] == [first]


def test_a_run_of_another_configuration_is_no_rung(runs_here: Path) -> None:
    config = smoke(0)
    other = dataclasses.replace(config, train=dataclasses.replace(config.train, adamw_lr=0.5))
    write_run(runs_here / config.default_name, other)
    shown = write_run(runs_here / "shown", config)
    with pytest.raises(RunMismatch):
        rungs(shown)


def test_a_label_says_size_and_seeds(runs_here: Path) -> None:
    run: Run = write_run(runs_here / "shown", smoke(0))
    millions = f"{run.config.model.n_parameters / 1e6:.3g}M"
    assert label([run]) == f"{millions} (1 seed)"
    assert label([run, run]) == f"{millions} (2 seeds)"
