"""Phase 5: every estimator against runs whose heads are made to be of known kinds."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from synthetic import PROPERTIES, SPOTS, Truth, ablation_table, make_synthetic_config, write_run

from civilwar import taxonomy
from civilwar.analysis import gain, kinds
from civilwar.config import RunConfig
from civilwar.runs import Run
from civilwar.statistics import generator

LAYERS, QUERY_HEADS, KV_HEADS, D_HEAD = 3, 8, 4, 16
STEPS = 40
TEXTS, REPEATED = 4, 4
#: (layer, query head) of the heads that are made to be of a kind at the end.
SINK, SEPARATOR, SEPARATOR_TOO, INDUCTION, RETRIEVER = (1, 2), (2, 0), (2, 7), (0, 5), (2, 4)
GOLDEN = 3


def heads(config: RunConfig, base: float, **at_end: float) -> np.ndarray:
    """[snapshot, 1, layer, query_head] at ``base``, and at the last snapshot what ``at_end`` says of heads ``layer_head``."""
    values = np.full((len(config.snapshot_steps()), 1, LAYERS, QUERY_HEADS), base)
    for name, value in at_end.items():
        _, layer, head = name.split("_")
        values[-1, :, int(layer), int(head)] = value
    return values


def at(head: tuple[int, int]) -> str:
    return f"at_{head[0]}_{head[1]}"


def golden_gain(steps: int = STEPS) -> np.ndarray:
    """Dimension GOLDEN + layer of every layer ends far above the rest."""
    gains = np.ones((steps + 1, LAYERS, D_HEAD))
    for layer in range(LAYERS):
        gains[-1, layer, GOLDEN + layer] = 2.0
    return gains


def golden_energies() -> np.ndarray:
    """[layer, kv_head, spot, dimension]: on the golden dimension 1 + layer + 0.1 kv_head + 0.01 spot, elsewhere 0.5."""
    energy = np.full((LAYERS, KV_HEADS, len(SPOTS), D_HEAD), 0.5)
    for layer, kv_head, spot in np.ndindex(LAYERS, KV_HEADS, len(SPOTS)):
        energy[layer, kv_head, spot, GOLDEN + layer] = expected_energy(layer, kv_head, SPOTS[spot])
    return energy


def expected_energy(layer: int, kv_head: int, spot: str) -> float:
    return 1 + layer + 0.1 * kv_head + 0.01 * SPOTS.index(spot)


def kinds_run(path: Path, **changes: object) -> Run:
    config = make_synthetic_config(n_layers=LAYERS, steps=STEPS, d_head=D_HEAD)
    n = len(config.snapshot_steps())
    separator = 0.2
    entropy = np.broadcast_to(0.9 - 0.05 * np.arange(QUERY_HEADS), (n, 1, LAYERS, QUERY_HEADS)).copy()
    entropy[0] = 0.95  # before training all are broad, so no later head is a gatherer
    sink = np.broadcast_to(0.1, (n, 1, LAYERS, QUERY_HEADS, 3, 4)).copy()
    sink[-1, :, SINK[0], SINK[1], :, 0] = 0.8
    truth = Truth(
        gain=golden_gain(),
        entropy_normalised=entropy,
        separator_mass=heads(config, separator, **{at(SEPARATOR): 0.9, at(SEPARATOR_TOO): 0.8}),
        previous_token_score=heads(config, 0.05),
        nearby_mass=heads(config, 0.2),
        sink_alpha=sink,
        induction_score=heads(config, 0.02, **{at(INDUCTION): 0.7}),
        duplicate_token_score=heads(config, 0.02, **{at(RETRIEVER): 0.6}),
        key_energy=golden_energies(),
        uniform={"separator_mass": [separator] * TEXTS},
    )
    for name, value in changes.items():
        setattr(truth, name, value)
    return write_run(path, config, truth)


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


# ---------------------------------------------------------------- criteria


def test_counts_of_static_sinks_and_of_retrievers(run: Run) -> None:
    assert kinds.n_static_sinks(run) == 3
    assert kinds.n_retrievers(run) == 2


def test_golden_energy_is_read_where_each_static_sink_points(run: Run) -> None:
    """Sinks at first tokens, separator heads at separators, by the KV head that each reads; gains decide what is golden."""
    layer = {i: set(of["dimension"]) for i, of in gain.final_gain(run).query("golden").groupby("layer")}
    assert layer == {i: {GOLDEN + i} for i in range(LAYERS)}
    table = kinds.golden_energy_at_targets(run)
    assert list(zip(table["layer"], table["kv_head"], table["tokens"], strict=True)) == [
        (1, 1, "first"),
        (2, 0, "separator"),
        (2, 3, "separator"),
    ]
    own = [expected_energy(1, 1, "first"), *(expected_energy(2, kv, "separator") for kv in (0, 3))]
    other = [
        np.mean([expected_energy(1, kv, "first") for kv in (0, 2, 3)]),
        *[np.mean([expected_energy(2, kv, "separator") for kv in (1, 2)])] * 2,
    ]
    assert table["sinks"].to_numpy() == pytest.approx(np.array(own), rel=1e-6)
    assert table["others"].to_numpy() == pytest.approx(np.array(other), rel=1e-6)
    assert kinds.golden_energy_of_sinks(run) == pytest.approx(np.mean(own), rel=1e-6)
    assert kinds.golden_energy_sinks_less_others(run) == pytest.approx(np.mean(np.subtract(own, other)), rel=1e-6)


def test_a_kv_head_read_by_two_separator_heads_counts_once(tmp_path: Path) -> None:
    config = make_synthetic_config(n_layers=LAYERS, steps=STEPS, d_head=D_HEAD)
    both = heads(config, 0.2, at_2_0=0.9, at_2_1=0.9, at_2_7=0.9)
    run = kinds_run(tmp_path / "run", separator_mass=both)
    assert kinds.n_static_sinks(run) == 4
    assert len(kinds.golden_energy_at_targets(run)) == 3


def test_where_every_kv_head_of_a_layer_is_read_by_static_sinks_there_are_no_others(tmp_path: Path) -> None:
    config = make_synthetic_config(n_layers=LAYERS, steps=STEPS, d_head=D_HEAD)
    whole = heads(config, 0.2, **{f"at_2_{head}": 0.9 for head in (0, 2, 4, 6)})
    run = kinds_run(tmp_path / "run", separator_mass=whole, duplicate_token_score=heads(config, 0.02))
    table = kinds.golden_energy_at_targets(run)
    assert table["others"].isna().tolist() == [False, True, True, True, True]
    # only the sink's layer has others
    assert kinds.golden_energy_sinks_less_others(run) == pytest.approx(1.1 - np.mean([1.0, 1.2, 1.3]), rel=1e-6)


def test_golden_energy_of_the_broadest_and_sharpest_quarter(run: Run) -> None:
    """Query head 0 is the broadest: heads 0 and 1 read KV head 0, heads 6 and 7 KV head 3."""
    flagged = kinds.breadth(run)
    assert flagged[flagged["broad"]]["query_head"].tolist() == [0, 1] * LAYERS
    assert flagged[flagged["sharp"]]["query_head"].tolist() == [6, 7] * LAYERS
    broad, sharp = ([expected_energy(layer, kv, "all") for layer in range(LAYERS)] for kv in (0, 3))
    table = kinds.golden_energy_by_breadth(run)
    assert table["layer"].tolist() == [0, 1, 2]
    assert table["broad"].to_numpy() == pytest.approx(np.array(broad), rel=1e-6)
    assert kinds.golden_energy_of_broad(run) == pytest.approx(np.mean(broad), rel=1e-6)
    assert kinds.golden_energy_broad_less_sharp(run) == pytest.approx(np.mean(broad) - np.mean(sharp), rel=1e-6)


def test_a_layer_without_golden_dimensions_is_left_out(tmp_path: Path) -> None:
    gains = golden_gain()
    gains[-1, 0] = 0.9
    run = kinds_run(tmp_path / "run", gain=gains)
    assert kinds.golden_energy_by_breadth(run)["layer"].tolist() == [1, 2]
    expected = np.mean([expected_energy(layer, 0, "all") for layer in (1, 2)])
    assert kinds.golden_energy_of_broad(run) == pytest.approx(expected, rel=1e-6)


ENERGY = (
    kinds.golden_energy_of_sinks,
    kinds.golden_energy_sinks_less_others,
    kinds.golden_energy_of_broad,
    kinds.golden_energy_broad_less_sharp,
)


@pytest.mark.parametrize("qk_norm", ["none", "frozen"])
def test_without_a_learned_gain_nothing_is_golden(qk_norm: str, tmp_path: Path) -> None:
    config = make_synthetic_config(n_layers=LAYERS, steps=STEPS, d_head=D_HEAD, qk_norm=qk_norm)
    level = math.nan if qk_norm == "none" else 1.0
    gains = np.full((STEPS + 1, LAYERS, D_HEAD), level)
    norms = np.full((STEPS + 1, LAYERS, KV_HEADS), 4.0)
    separator = heads(config, 0.2, **{at(SEPARATOR): 0.9})
    run = write_run(tmp_path / "run", config, Truth(gain=gains, norms=norms, separator_mass=separator))
    assert kinds.golden_energy(run).empty
    assert kinds.n_static_sinks(run) == 1
    assert all(math.isnan(estimate(run)) for estimate in ENERGY)


def test_without_heads_of_a_kind_its_numbers_are_undefined(tmp_path: Path) -> None:
    config = make_synthetic_config(n_layers=LAYERS, steps=STEPS, d_head=D_HEAD)
    run = write_run(tmp_path / "run", config, Truth(gain=golden_gain()))
    assert kinds.n_static_sinks(run) == kinds.n_retrievers(run) == 0
    assert math.isnan(kinds.golden_energy_of_sinks(run))
    assert math.isnan(kinds.golden_energy_sinks_less_others(run))
    assert math.isnan(kinds.contrast_of_retrievers(run))


def test_contrast_is_the_spread_over_what_untrained_heads_have(tmp_path: Path) -> None:
    base = kinds_run(tmp_path / "base")
    table = base.table("probe_query_heads")
    last = table["step"] == base.last_step
    # 0.5 on average before training, though heads differ; at the end twice the head's number
    table.loc[table["step"] == 0, "top_logit_spread"] = 0.5 + 0.01 * (table["query_head"] - 3.5)
    table.loc[last, "top_logit_spread"] = 2.0 * table["query_head"]
    run = kinds_run(tmp_path / "run", tables={"probe_query_heads": table})
    assert kinds.contrast_of_retrievers(run) == pytest.approx(2 * np.mean([INDUCTION[1], RETRIEVER[1]]) / 0.5)
    assert kinds.contrast_of_all(run) == pytest.approx(2 * 3.5 / 0.5)
    assert kinds.contrasts(run)["start"].mean() == pytest.approx(1)


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
        assert "Fewer than two" in kinds.of_seeds(numbers)
    assert "3 seeds" in kinds.of_seeds(kinds.agreement(some_labels(0, 3), 2, draws=19))


def test_labels_over_seeds_are_those_of_each_run(run: Run) -> None:
    table = kinds.labels_over_seeds([run])
    assert (table["seed"] == 0).all()
    assert kinds.counts(table, "seed").loc[0, "separator"] == 2


def test_heads_are_dealt_in_their_kv_groups() -> None:
    dealt = kinds._dealt_heads(generator(1), (200, 3, 8), 2)
    assert (np.sort(dealt, axis=-1) == np.arange(8)).all()
    groups = dealt.reshape(200, 3, 4, 2) // 2
    assert (groups[..., 0] == groups[..., 1]).all()
    # every head everywhere about equally often
    often = np.stack([(dealt == head).mean((0, 1)) for head in range(8)])
    assert often == pytest.approx(np.full((8, 8), 1 / 8), abs=0.05)


# ---------------------------------------------------------------- shuffled text


def test_on_shuffled_text_both_sides_are_above_uniform(tmp_path: Path) -> None:
    config = make_synthetic_config(n_layers=LAYERS, steps=STEPS, d_head=D_HEAD)
    nearby = heads(config, 0.1, at_0_0=0.6, at_0_1=0.5)
    base = write_run(tmp_path / "base", config)
    uniform = base.probe["uniform_attention"]
    separators = np.mean(base.probe["texts"][0]["separator"])
    left = np.full((1, LAYERS, QUERY_HEADS), 0.1)
    left[0, 0, :2] = 0.4, 0.3
    shuffled = {"nearby_mass": left, "separator_mass": np.array(0.5), "previous_token_score": np.array(0.05)}
    truth = Truth(nearby_mass=nearby, previous_token_score=heads(config, 0.05), shuffled=shuffled)
    truth.separator_mass = heads(config, 0.25)
    run = write_run(tmp_path / "run", config, truth)
    labelled = taxonomy.labels(run, draws=0)
    assert (labelled["kind"] == "nearby").sum() == 2
    table = kinds.on_shuffled_text(run, labelled)
    assert len(table) == 3 * LAYERS * QUERY_HEADS
    first = table[(table["layer"] == 0) & (table["query_head"] == 0)].set_index("score")
    null = uniform["nearby_mass"]
    assert first.loc["nearby"][["text", "shuffled"]].tolist() == pytest.approx([0.6 - null, 0.4 - null])
    assert first["shuffled"]["separator"] == pytest.approx(0.5 - separators)
    assert first["text"]["separator"] == pytest.approx(0.25 - np.mean(uniform["separator_mass"]))
    kept = kinds.kept_when_shuffled(table)
    assert kept["score"].tolist() == ["nearby"]
    assert kept["n_heads"].tolist() == [2]
    assert kept["kept"][0] == pytest.approx((0.35 - null) / (0.55 - null))


# ---------------------------------------------------------------- content


def content_run(path: Path, accuracy: np.ndarray) -> Run:
    return kinds_run(path, accuracy=accuracy)


def test_content_is_compared_with_the_other_heads_of_the_same_layers(tmp_path: Path) -> None:
    """Layers differ, and only separator heads read brackets better than their layer."""
    random = np.random.default_rng(3)
    accuracy = 0.5 + 0.1 * np.arange(LAYERS)[:, None, None] + 0.01 * random.random((LAYERS, QUERY_HEADS, 2))
    accuracy[2, [0, 7], 0] += 0.2
    run = content_run(tmp_path / "run", accuracy)
    labelled = taxonomy.labels(run, draws=0)
    table = kinds.content_by_kind(run, labelled, draws=499).set_index(["property", "kind"])
    assert set(table.index.unique("property")) == set(PROPERTIES)
    others = [1, 2, 3, 4, 5, 6]
    found = table.loc[("brackets", "separator")]
    assert found["n_heads"] == 2
    assert found["accuracy"] == pytest.approx(accuracy[2, [0, 7], 0].mean())
    assert found["difference"] == pytest.approx(accuracy[2, [0, 7], 0].mean() - accuracy[2, others, 0].mean())
    # heads of two KV groups stay in two, and of those 24 pairs none reads better: no p can be lower
    assert found["difference"] >= found["null_high"]
    assert 1 / 30 < found["p"] < 1 / 15
    assert table.loc[("package", "separator")]["p"] > 0.1
    assert (table["null_low"] < 0).all()
    assert (table["null_high"] > 0).all()
    # the mean over a kind's heads, layer by layer
    sink = table.loc[("brackets", "sink")]
    rest = np.delete(accuracy[1, :, 0], SINK[1])
    assert sink["difference"] == pytest.approx(accuracy[1, SINK[1], 0] - rest.mean())


def test_content_of_a_kind_that_fills_its_layers_has_nothing_to_compare(tmp_path: Path) -> None:
    config = make_synthetic_config(n_layers=LAYERS, steps=STEPS, d_head=D_HEAD)
    run = write_run(tmp_path / "run", config)
    labelled = taxonomy.labels(run, draws=0)
    assert labelled["kind"].nunique() == 1
    table = kinds.content_by_kind(run, labelled, draws=19)
    assert table["n_heads"].tolist() == [0, 0]
    assert table[["accuracy", "difference", "p", "null_low"]].isna().all(axis=None)
    assert (table["chance"] == 0.5).all()


def test_texts_that_know_no_property_give_no_rows(tmp_path: Path) -> None:
    empty = pd.DataFrame(columns=["layer", "query_head", "property", "accuracy", "chance"])
    run = kinds_run(tmp_path / "run", tables={"head_content": empty.astype({"layer": int, "query_head": int})})
    assert kinds.content_by_kind(run, taxonomy.labels(run, draws=0)).empty


# ---------------------------------------------------------------- ablation


def silenced(kind: str, mode: str, group: str, draw: int) -> dict[str, float]:
    cost = {("sink", "kind"): 0.5, ("sink", "random"): 0.1, ("separator", "kind"): 0.2, ("separator", "random"): 0.1}
    change = cost.get((kind, group), 0.0) + 0.05 * draw
    return {"loss": 3 + change, "separator_loss": 4 + 2 * change, "induction_gain": 0.5 - change}


def test_ablation_is_a_change_beside_random_heads(tmp_path: Path) -> None:
    config = make_synthetic_config(n_layers=LAYERS, steps=STEPS, d_head=D_HEAD)
    table = ablation_table(config, {"sink": 1, "separator": 2, "mixed": 19}, silenced)
    run = kinds_run(tmp_path / "run", tables={"ablation": table})
    changes = kinds.ablation_changes(run)
    assert "none" not in set(changes["group"])
    own = changes[(changes["kind"] == "sink") & (changes["group"] == "kind")]
    assert own["loss"].to_numpy() == pytest.approx([0.5, 0.5])
    assert own["separator_loss"].to_numpy() == pytest.approx([1.0, 1.0])
    assert own["induction_gain"].to_numpy() == pytest.approx([-0.5, -0.5])

    by_kind = kinds.ablation_by_kind(run, taxonomy.labels(run, draws=0)).set_index(["kind", "mode", "score"])
    draws = config.probe.random_draws
    sink = by_kind.loc[("sink", "mean", "loss")]
    assert sink["change"] == pytest.approx(0.5)
    assert sink["random"] == pytest.approx(0.1 + 0.05 * (draws - 1) / 2)
    assert [sink["low"], sink["high"]] == pytest.approx([0.1, 0.1 + 0.05 * (draws - 1)])
    assert sink["beyond"]
    assert sink["shared"] == pytest.approx(1 / 8)
    assert not by_kind.loc[("separator", "zero", "loss")]["beyond"]
    assert by_kind.loc[("separator", "zero", "loss")]["shared"] == pytest.approx(2 / 8)
    assert by_kind.loc[("mixed", "mean", "loss")]["shared"] == pytest.approx((2 * 7 * 7 + 5 * 5) / 8 / 19)
    text = kinds.of_ablation(by_kind.reset_index())
    assert text == "1 sink head, +0.50 nats; as many random heads of the same layers, +0.20"


def test_a_kind_that_fills_its_layers_is_not_compared(tmp_path: Path) -> None:
    config = make_synthetic_config(n_layers=LAYERS, steps=STEPS, d_head=D_HEAD)
    run = write_run(tmp_path / "run", config)
    labelled = taxonomy.labels(run, draws=0)
    (kind,) = labelled["kind"].unique()
    table = ablation_table(config, {kind: 24}, lambda *labels: 3.5 if labels[2] == "kind" else 3.0)
    run = write_run(tmp_path / "again", config, Truth(tables={"ablation": table}))
    by_kind = kinds.ablation_by_kind(run, labelled)
    assert by_kind[["random", "low", "high"]].isna().all(axis=None)
    assert not by_kind["beyond"].any()
    assert (by_kind["n_draws"] == 0).all()
    assert (by_kind["shared"] == 1).all()
    assert by_kind[by_kind["score"] == "loss"]["change"].tolist() == [0.5, 0.5]
    assert "no comparison" in kinds.of_ablation(by_kind)


# ---------------------------------------------------------------- in words


def test_summary_speaks_of_what_is_there(run: Run) -> None:
    labelled = taxonomy.labels(run, draws=9)
    persistent = kinds.persistence(kinds.labels_over_time(run))
    agreed = kinds.agreement(kinds.labels_over_seeds([run]), 2)
    numbers = kinds.summary(run, labelled, persistent, agreed, kinds.ablation_by_kind(run, labelled))
    assert numbers["kinds_counted"] == "19 mixed, 2 separator, 1 sink, 1 induction, 1 retriever"
    assert numbers["n_query_heads"] == 24
    assert numbers["n_sink_heads"] == 1
    assert numbers["largest_sink_alpha"] == pytest.approx(0.8)
    assert numbers["n_retrievers"] == 2
    assert numbers["kinds_same_at_half"] == pytest.approx(19 / 24)
    own, less = kinds.golden_energy_of_sinks(run), kinds.golden_energy_sinks_less_others(run)
    words = str(numbers["golden_energy_in_words"])
    assert f"{own:.2f} times" in words
    assert f"{abs(less):.2f} {'more' if less > 0 else 'less'} than the other KV heads" in words


def test_golden_energy_in_words_where_there_is_nothing_to_measure(tmp_path: Path) -> None:
    config = make_synthetic_config(n_layers=LAYERS, steps=STEPS, d_head=D_HEAD)
    plain = write_run(tmp_path / "plain", config, Truth(gain=golden_gain()))
    assert kinds.of_golden_energy(plain).startswith("There is no static sink")
    flat = write_run(tmp_path / "flat", config)
    assert "undefined" in kinds.of_golden_energy(flat)
    every = heads(config, 0.2, **{f"at_2_{head}": 0.9 for head in (0, 2, 4, 6)})
    full = write_run(tmp_path / "full", config, Truth(gain=golden_gain(), separator_mass=every))
    assert "nothing to compare" in kinds.of_golden_energy(full)
