"""What heads of a kind do, against runs whose heads are made to be of known kinds and to do known things."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from synthetic import PROPERTIES, Truth, ablation_table, make_synthetic_config, write_run
from synthetic_kinds import (
    D_HEAD,
    GOLDEN,
    INDUCTION,
    KV_HEADS,
    LAYERS,
    QUERY_HEADS,
    RETRIEVER,
    SEPARATOR,
    SINK,
    STEPS,
    at,
    expected_energy,
    golden_gain,
    heads,
    kinds_run,
)

from civilwar.analysis import gain, roles, taxonomy
from civilwar.runs.reader import Run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return kinds_run(tmp_path_factory.mktemp("kinds") / "run")


# ---------------------------------------------------------------- criteria


def test_counts_of_static_sinks_and_of_retrievers(run: Run) -> None:
    assert roles.n_static_sinks(run) == 3
    assert roles.n_retrievers(run) == 2


def test_golden_energy_is_read_where_each_static_sink_points(run: Run) -> None:
    """Sinks at first tokens, separator heads at separators, by the KV head that each reads; gains decide what is golden."""
    layer = {i: set(of["dimension"]) for i, of in gain.final_gain(run).query("golden").groupby("layer")}
    assert layer == {i: {GOLDEN + i} for i in range(LAYERS)}
    table = roles.golden_energy_at_targets(run)
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
    assert roles.golden_energy_of_sinks(run) == pytest.approx(np.mean(own), rel=1e-6)
    assert roles.golden_energy_sinks_less_others(run) == pytest.approx(np.mean(np.subtract(own, other)), rel=1e-6)


def test_a_kv_head_read_by_two_separator_heads_counts_once(tmp_path: Path) -> None:
    config = make_synthetic_config(n_layers=LAYERS, steps=STEPS, d_head=D_HEAD)
    both = heads(config, 0.2, at_2_0=0.9, at_2_1=0.9, at_2_7=0.9)
    run = kinds_run(tmp_path / "run", separator_mass=both)
    assert roles.n_static_sinks(run) == 4
    assert len(roles.golden_energy_at_targets(run)) == 3


def test_where_every_kv_head_of_a_layer_is_read_by_static_sinks_there_are_no_others(tmp_path: Path) -> None:
    config = make_synthetic_config(n_layers=LAYERS, steps=STEPS, d_head=D_HEAD)
    whole = heads(config, 0.2, **{f"at_2_{head}": 0.9 for head in (0, 2, 4, 6)})
    run = kinds_run(tmp_path / "run", separator_mass=whole, duplicate_token_score=heads(config, 0.02))
    table = roles.golden_energy_at_targets(run)
    assert table["others"].isna().tolist() == [False, True, True, True, True]
    # only the sink's layer has others
    assert roles.golden_energy_sinks_less_others(run) == pytest.approx(1.1 - np.mean([1.0, 1.2, 1.3]), rel=1e-6)


def test_golden_energy_of_the_broadest_and_sharpest_quarter(run: Run) -> None:
    """Query head 0 is the broadest: heads 0 and 1 read KV head 0, heads 6 and 7 KV head 3."""
    flagged = roles.breadth(run)
    assert flagged[flagged["broad"]]["query_head"].tolist() == [0, 1] * LAYERS
    assert flagged[flagged["sharp"]]["query_head"].tolist() == [6, 7] * LAYERS
    broad, sharp = ([expected_energy(layer, kv, "all") for layer in range(LAYERS)] for kv in (0, 3))
    table = roles.golden_energy_by_breadth(run)
    assert table["layer"].tolist() == [0, 1, 2]
    assert table["broad"].to_numpy() == pytest.approx(np.array(broad), rel=1e-6)
    assert roles.golden_energy_of_broad(run) == pytest.approx(np.mean(broad), rel=1e-6)
    assert roles.golden_energy_broad_less_sharp(run) == pytest.approx(np.mean(broad) - np.mean(sharp), rel=1e-6)


def test_a_layer_without_golden_dimensions_is_left_out(tmp_path: Path) -> None:
    gains = golden_gain()
    gains[-1, 0] = 0.9
    run = kinds_run(tmp_path / "run", gain=gains)
    assert roles.golden_energy_by_breadth(run)["layer"].tolist() == [1, 2]
    expected = np.mean([expected_energy(layer, 0, "all") for layer in (1, 2)])
    assert roles.golden_energy_of_broad(run) == pytest.approx(expected, rel=1e-6)


ENERGY = (
    roles.golden_energy_of_sinks,
    roles.golden_energy_sinks_less_others,
    roles.golden_energy_of_broad,
    roles.golden_energy_broad_less_sharp,
)


@pytest.mark.parametrize("qk_norm", ["none", "frozen"])
def test_without_a_learned_gain_nothing_is_golden(qk_norm: str, tmp_path: Path) -> None:
    config = make_synthetic_config(n_layers=LAYERS, steps=STEPS, d_head=D_HEAD, qk_norm=qk_norm)
    level = math.nan if qk_norm == "none" else 1.0
    gains = np.full((STEPS + 1, LAYERS, D_HEAD), level)
    norms = np.full((STEPS + 1, LAYERS, KV_HEADS), 4.0)
    separator = heads(config, 0.2, **{at(SEPARATOR): 0.9})
    run = write_run(tmp_path / "run", config, Truth(gain=gains, norms=norms, separator_mass=separator))
    assert roles.golden_energy(run).empty
    assert roles.n_static_sinks(run) == 1
    assert all(math.isnan(estimate(run)) for estimate in ENERGY)


def test_without_heads_of_a_kind_its_numbers_are_undefined(tmp_path: Path) -> None:
    config = make_synthetic_config(n_layers=LAYERS, steps=STEPS, d_head=D_HEAD)
    run = write_run(tmp_path / "run", config, Truth(gain=golden_gain()))
    assert roles.n_static_sinks(run) == roles.n_retrievers(run) == 0
    assert math.isnan(roles.golden_energy_of_sinks(run))
    assert math.isnan(roles.golden_energy_sinks_less_others(run))
    assert math.isnan(roles.contrast_of_retrievers(run))


def test_contrast_is_the_spread_over_what_untrained_heads_have(tmp_path: Path) -> None:
    base = kinds_run(tmp_path / "base")
    table = base.table("probe_query_heads")
    last = table["step"] == base.last_step
    # 0.5 on average before training, though heads differ; at the end twice the head's number
    table.loc[table["step"] == 0, "top_logit_spread"] = 0.5 + 0.01 * (table["query_head"] - 3.5)
    table.loc[last, "top_logit_spread"] = 2.0 * table["query_head"]
    run = kinds_run(tmp_path / "run", tables={"probe_query_heads": table})
    assert roles.contrast_of_retrievers(run) == pytest.approx(2 * np.mean([INDUCTION[1], RETRIEVER[1]]) / 0.5)
    assert roles.contrast_of_all(run) == pytest.approx(2 * 3.5 / 0.5)
    n_heads = 8 * run.config.model.n_layers
    others = (n_heads * 3.5 - INDUCTION[1] - RETRIEVER[1]) / (n_heads - 2)
    assert roles.contrast_over_others(run) == pytest.approx(np.mean([INDUCTION[1], RETRIEVER[1]]) / others)
    assert roles.contrasts(run)["start"].mean() == pytest.approx(1)


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
    table = roles.on_shuffled_text(run, labelled)
    assert len(table) == 3 * LAYERS * QUERY_HEADS
    first = table[(table["layer"] == 0) & (table["query_head"] == 0)].set_index("score")
    null = uniform["nearby_mass"]
    assert first.loc["nearby"][["text", "shuffled"]].tolist() == pytest.approx([0.6 - null, 0.4 - null])
    assert first["shuffled"]["separator"] == pytest.approx(0.5 - separators)
    assert first["text"]["separator"] == pytest.approx(0.25 - np.mean(uniform["separator_mass"]))
    kept = roles.kept_when_shuffled(table)
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
    table = roles.content_by_kind(run, labelled, draws=499).set_index(["property", "kind"])
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
    table = roles.content_by_kind(run, labelled, draws=19)
    assert table["n_heads"].tolist() == [0, 0]
    assert table[["accuracy", "difference", "p", "null_low"]].isna().all(axis=None)
    assert (table["chance"] == 0.5).all()


def test_texts_that_know_no_property_give_no_rows(tmp_path: Path) -> None:
    empty = pd.DataFrame(columns=["layer", "query_head", "property", "accuracy", "chance"])
    run = kinds_run(tmp_path / "run", tables={"head_content": empty.astype({"layer": int, "query_head": int})})
    assert roles.content_by_kind(run, taxonomy.labels(run, draws=0)).empty


# ---------------------------------------------------------------- ablation


def silenced(kind: str, mode: str, group: str, draw: int) -> dict[str, float]:
    cost = {("sink", "kind"): 0.5, ("sink", "random"): 0.1, ("separator", "kind"): 0.2, ("separator", "random"): 0.1}
    change = cost.get((kind, group), 0.0) + 0.05 * draw
    return {"loss": 3 + change, "separator_loss": 4 + 2 * change, "induction_gain": 0.5 - change}


def test_ablation_is_a_change_beside_random_heads(tmp_path: Path) -> None:
    config = make_synthetic_config(n_layers=LAYERS, steps=STEPS, d_head=D_HEAD)
    table = ablation_table(config, {"sink": 1, "separator": 2, "mixed": 19}, silenced)
    run = kinds_run(tmp_path / "run", tables={"ablation": table})
    changes = roles.ablation_changes(run)
    assert "none" not in set(changes["group"])
    own = changes[(changes["kind"] == "sink") & (changes["group"] == "kind")]
    assert own["loss"].to_numpy() == pytest.approx([0.5, 0.5])
    assert own["separator_loss"].to_numpy() == pytest.approx([1.0, 1.0])
    assert own["induction_gain"].to_numpy() == pytest.approx([-0.5, -0.5])

    by_kind = roles.ablation_by_kind(run, taxonomy.labels(run, draws=0)).set_index(["kind", "mode", "score"])
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
    assert roles.costliest(by_kind.reset_index())["kind"] == "sink"


def test_a_kind_that_fills_its_layers_is_not_compared(tmp_path: Path) -> None:
    config = make_synthetic_config(n_layers=LAYERS, steps=STEPS, d_head=D_HEAD)
    run = write_run(tmp_path / "run", config)
    labelled = taxonomy.labels(run, draws=0)
    (kind,) = labelled["kind"].unique()
    table = ablation_table(config, {kind: 24}, lambda *labels: 3.5 if labels[2] == "kind" else 3.0)
    run = write_run(tmp_path / "again", config, Truth(tables={"ablation": table}))
    by_kind = roles.ablation_by_kind(run, labelled)
    assert by_kind[["random", "low", "high"]].isna().all(axis=None)
    assert not by_kind["beyond"].any()
    assert (by_kind["n_draws"] == 0).all()
    assert (by_kind["shared"] == 1).all()
    assert by_kind[by_kind["score"] == "loss"]["change"].tolist() == [0.5, 0.5]


# ---------------------------------------------------------------- for the prose


def test_summary_counts_what_is_there(run: Run) -> None:
    numbers = roles.summary(run)
    assert numbers["n_retrievers"] == 2
    assert numbers["contrast_of_all"] == roles.contrast_of_all(run)
    assert numbers["ablation_draws"] == run.config.probe.random_draws
