"""Kinds of heads, against runs whose heads are made to be of known kinds and against labels dealt at random."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from synthetic_kinds import INDUCTION, LAYERS, QUERY_HEADS, RETRIEVER, SEPARATOR, SEPARATOR_TOO, SINK, STEPS, kinds_run

from civilwar.analysis import kinds, taxonomy
from civilwar.analysis.statistics import generator
from civilwar.runs.reader import Run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return kinds_run(tmp_path_factory.mktemp("kinds") / "run")


def kinds_of(run: Run) -> dict[tuple[int, int], str]:
    labelled = taxonomy.labels(run, draws=0)
    named = labelled[labelled["kind"] != "mixed"]
    return {(int(r.layer), int(r.query_head)): str(r.kind) for r in named.itertuples()}


def test_the_synthetic_run_has_the_heads_it_is_said_to_have(run: Run) -> None:
    assert kinds_of(run) == {
        SINK: "sink",
        SEPARATOR: "separator",
        SEPARATOR_TOO: "separator",
        INDUCTION: "induction",
        RETRIEVER: "retriever",
    }


# ---------------------------------------------------------------- scores


def test_scores_pass_what_the_taxonomy_says(run: Run) -> None:
    table = kinds.scores_beside_null(run)
    assert len(table) == 2 * 7 * LAYERS * QUERY_HEADS
    limits = taxonomy.thresholds(run)
    for score in taxonomy.FOCUSED:
        of_score = table[table["score"] == score]
        assert (of_score["threshold"] == limits[score]).all()
        passing = of_score[of_score["passes"]]
        assert passing["trained"].all()
        named = {head for head, kind in kinds_of(run).items() if kind == score}
        assert set(zip(passing["layer"], passing["query_head"], strict=True)) == named
    broad = table[table["score"] == "broad"]
    assert broad[~broad["trained"]]["passes"].all()
    assert not broad[broad["trained"]]["passes"].any()
    assert table[table["trained"] & (table["score"] == "sink")]["value"].max() == pytest.approx(0.8)


def test_sink_sweep_counts_heads_at_every_horizon_and_position(run: Run) -> None:
    table = kinds.sink_sweep(run, (0.05, 0.3, 0.9)).set_index(["horizon", "position", "epsilon"])
    assert len(table) == 3 * 4 * 3
    share = 1 / (LAYERS * QUERY_HEADS)
    for horizon in (16, 32, 64):
        assert table.loc[(horizon, 1, 0.3)][["share", "untrained"]].tolist() == [pytest.approx(share), 0]
        assert table["share"][horizon, 2, 0.3] == table["share"][horizon, 1, 0.9] == 0
        assert table.loc[(horizon, 3, 0.05)][["share", "untrained"]].tolist() == [1, 1]
        for position in (1, 4):
            harmonic = sum(1 / i for i in range(1, horizon + 1)) - sum(1 / i for i in range(1, position))
            assert table["uniform"][horizon, position, 0.3] == pytest.approx(harmonic / (horizon - position + 1))
    assert taxonomy.SINK_EPSILON in kinds.EPSILONS


# ---------------------------------------------------------------- stability


def test_labels_over_time_and_how_many_are_final(run: Run) -> None:
    over_time = kinds.labels_over_time(run)
    counts = kinds.counts(over_time, "step")
    assert counts.index.tolist() == run.config.snapshot_steps()
    assert (counts.sum(axis=1) == LAYERS * QUERY_HEADS).all()
    assert counts.loc[0].to_dict() == {
        "sink": 0,
        "separator": 0,
        "induction": 0,
        "retriever": 0,
        "gatherer": 24,
        "mixed": 0,
    }
    assert list(counts) == [kind for kind in taxonomy.KINDS if kind in counts]
    assert counts.loc[STEPS].to_dict() | {"gatherer": 0} == {
        "sink": 1,
        "separator": 2,
        "induction": 1,
        "retriever": 1,
        "gatherer": 0,
        "mixed": 19,
    }
    last = over_time[over_time["step"] == STEPS].merge(taxonomy.labels(run, draws=0), on=["layer", "query_head"])
    assert (last["kind_x"] == last["kind_y"]).all()

    table = kinds.persistence(over_time).set_index("step")
    assert table.loc[STEPS]["same"] == 1
    assert table.loc[0].tolist() == [0, 0]
    # all mixed half way: what is mixed at the end agrees, however it is dealt
    assert table.loc[STEPS // 2].tolist() == [pytest.approx(19 / 24)] * 2
    at_end = [(7**2 + 1) / 64, (7**2 + 1) / 64, (5**2 + 2**2 + 1) / 64]
    assert table.loc[STEPS]["dealt"] == pytest.approx(np.mean(at_end))


def test_a_run_recorded_slim_has_labels_at_the_moments_it_keeps(run: Run, tmp_path: Path) -> None:
    sinks = run.table("probe_sinks")
    slim = kinds_run(tmp_path / "run", tables={"probe_sinks": sinks[sinks["step"].isin(run.config.moments().values())]})
    over_time = kinds.labels_over_time(slim)
    assert sorted(over_time["step"].unique()) == sorted(run.config.moments().values())
    whole = kinds.persistence(kinds.labels_over_time(run)).set_index("step")
    pd.testing.assert_frame_equal(kinds.persistence(over_time).set_index("step"), whole.loc[[0, 10, 20, 40]])


def some_labels(seed: int, n_seeds: int, layers: int = 4) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    index = pd.MultiIndex.from_product([range(n_seeds), range(layers), range(8)], names=["seed", "layer", "query_head"])
    table = index.to_frame(index=False)
    return table.assign(kind=random.choice(["sink", "nearby", "mixed"], len(table), p=[0.2, 0.5, 0.3]))


def test_agreement_is_counted_over_pairs_of_seeds() -> None:
    table = some_labels(0, 3)
    numbers = kinds.agreement(table, group=2, draws=499)
    wide = table.pivot(index=["layer", "query_head"], columns="seed", values="kind")
    expected = np.mean([(wide[a] == wide[b]).mean() for a, b in ((0, 1), (0, 2), (1, 2))])
    assert numbers["same"] == pytest.approx(expected)
    shares = [pd.crosstab(table["layer"], [table["seed"], table["kind"]])[s] / 8 for s in range(3)]
    dealt = np.mean([(shares[a] * shares[b]).sum(axis=1).mean() for a, b in ((0, 1), (0, 2), (1, 2))])
    assert numbers["dealt"] == pytest.approx(dealt, abs=0.01)
    assert numbers["low"] < numbers["dealt"] < numbers["high"]
    assert numbers["n_seeds"] == 3


def test_places_with_a_kind_are_found_and_arbitrary_ones_are_not() -> None:
    one = some_labels(1, 1)
    fixed = pd.concat([one.assign(seed=seed) for seed in range(3)])
    found = kinds.agreement(fixed, group=2, draws=499)
    assert found["same"] == 1
    assert found["p"] == pytest.approx(1 / 500)
    ps = [kinds.agreement(some_labels(seed, 3), 2, draws=99)["p"] for seed in range(60)]
    assert np.mean(np.array(ps) <= 0.1) < 0.2
    assert 0.35 < np.mean(ps) < 0.65


def test_fewer_than_two_seeds_have_no_agreement() -> None:
    for table in (kinds.labels_over_seeds([]), some_labels(0, 1)):
        numbers = kinds.agreement(table, group=2)
        assert math.isnan(numbers["same"])


def test_labels_over_seeds_are_those_of_each_run(run: Run) -> None:
    table = kinds.labels_over_seeds([run])
    assert (table["seed"] == 0).all()
    assert kinds.counts(table, "seed").loc[0, "separator"] == 2


def test_heads_are_dealt_in_their_kv_groups() -> None:
    dealt = kinds.dealt_heads(generator(1), (200, 3, 8), 2)
    assert (np.sort(dealt, axis=-1) == np.arange(8)).all()
    groups = dealt.reshape(200, 3, 4, 2) // 2
    assert (groups[..., 0] == groups[..., 1]).all()
    # every head everywhere about equally often
    often = np.stack([(dealt == head).mean((0, 1)) for head in range(8)])
    assert often == pytest.approx(np.full((8, 8), 1 / 8), abs=0.05)


# ---------------------------------------------------------------- for the prose


def test_summary_speaks_of_what_is_there(run: Run) -> None:
    labelled = taxonomy.labels(run, draws=9)
    persistent = kinds.persistence(kinds.labels_over_time(run))
    numbers = kinds.summary(run, labelled, persistent)
    assert numbers["n_query_heads"] == 24
    assert numbers["n_sink_heads"] == 1
    assert numbers["largest_sink_alpha"] == pytest.approx(0.8)
    assert numbers["kinds_same_at_half"] == pytest.approx(19 / 24)
