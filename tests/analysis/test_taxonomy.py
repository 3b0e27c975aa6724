"""Kinds of heads: each is found where it is planted and nowhere else, and the norm of a key has no say."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from synthetic import Truth, make_synthetic_config, write_run

from civilwar.analysis import taxonomy
from civilwar.analysis.taxonomy import FOCUSED, KINDS, heads_by_kind, labels, thresholds
from civilwar.runs.reader import Run

# snapshots at 0, 1, 2 and 3; 4 probe texts, 4 repeated sequences, 3 layers of 8 query heads
CONFIG = make_synthetic_config(steps=3)
SNAPSHOTS, TEXTS, LAYERS, HEADS = 4, 4, 3, 8
UNIFORM = {
    "previous_token_score": 0.06,
    "nearby_mass": 0.35,
    "induction_score": 0.02,
    "separator_mass": [0.1, 0.2, 0.3, 0.4],
}
# what heads have at every snapshot unless something is planted, all below what uniform attention has but the sink
BACKGROUND = {
    "entropy_normalised": 0.9,
    "separator_mass": 0.2,
    "previous_token_score": 0.05,
    "nearby_mass": 0.3,
    "induction_score": 0.01,
    "duplicate_token_score": 0.01,
    "sink_alpha": 0.1,
}
# the kind, what is measured for it, and the threshold that follows from the numbers above
PLANTS = [
    ("sink", "sink_alpha", 0.3),
    # over what uniform attention has on average, 0.25; untrained heads have less
    ("separator", "separator_mass", 0.25 + 0.1),
    ("previous_token", "previous_token_score", 0.06 + 0.1),
    ("nearby", "nearby_mass", 0.35 + 0.1),
    ("induction", "induction_score", 0.02 + 0.1),
    ("retriever", "duplicate_token_score", 0.02 + 0.1),
]


def background() -> dict[str, np.ndarray]:
    shape = (SNAPSHOTS, TEXTS, LAYERS, HEADS)
    return {
        name: np.full((*shape, 3, 4) if name == "sink_alpha" else shape, value) for name, value in BACKGROUND.items()
    }


def run_of(path: Path, arrays: dict[str, np.ndarray], **others: Any) -> Run:
    return write_run(path / "planted", CONFIG, Truth(**arrays, **({"uniform": UNIFORM} | others)))


def kind_of(run: Run, layer: int, head: int) -> str:
    table = labels(run, draws=0).set_index(["layer", "query_head"])
    return table.loc[(layer, head), "kind"]


def set_score(values: np.ndarray, layer: int, head: int, score: float, snapshot: int = -1) -> None:
    """Give one head a score on all texts; of sinks only the first token's alpha at 64 tokens."""
    if values.ndim == 6:
        values[snapshot, :, layer, head, 2, 0] = score
    else:
        values[snapshot, :, layer, head] = score


# ---------------------------------------------------------------- found and not found


@pytest.mark.parametrize(("kind", "measure", "limit"), PLANTS)
def test_a_planted_kind_is_found_and_no_other_head_gets_it(
    tmp_path: Path, kind: str, measure: str, limit: float
) -> None:
    arrays = background()
    set_score(arrays[measure], 1, 5, limit + 0.01)
    set_score(arrays[measure], 2, 3, limit - 0.01)
    table = labels(run_of(tmp_path, arrays))
    assert len(table) == LAYERS * HEADS
    assert (table["kv_head"] == table["query_head"] // 2).all()
    planted = (table["layer"] == 1) & (table["query_head"] == 5)
    assert table.loc[planted, "kind"].tolist() == [kind]
    assert table.loc[~planted, "kind"].unique().tolist() == ["gatherer"]
    assert thresholds(run_of(tmp_path, arrays))[kind] == pytest.approx(limit - (0.25 if kind == "separator" else 0))


def test_all_kinds_are_told_apart_in_one_run(tmp_path: Path) -> None:
    arrays = background()
    for head, (_, measure, _) in enumerate(PLANTS):
        set_score(arrays[measure], 0, head, 0.8)
        # a focused head may be as narrow as it likes
        set_score(arrays["entropy_normalised"], 0, head, 0.1)
    set_score(arrays["entropy_normalised"], 0, 7, 0.89)
    table = labels(run_of(tmp_path, arrays))
    first = table[table["layer"] == 0].sort_values("query_head")
    assert first["kind"].tolist() == [*FOCUSED, "gatherer", "mixed"]
    assert set(table["kind"]) == set(KINDS)
    assert (table["certainty"] == 1).all()


def test_a_gatherer_is_no_narrower_than_any_untrained_head(tmp_path: Path) -> None:
    arrays = background()
    set_score(arrays["entropy_normalised"], 2, 2, 0.7, snapshot=0)
    for head, entropy in enumerate((0.71, 0.69, 0.9, 0.2)):
        set_score(arrays["entropy_normalised"], 0, head, entropy)
    run = run_of(tmp_path, arrays)
    assert thresholds(run)["gatherer"] == pytest.approx(0.7)
    assert [kind_of(run, 0, head) for head in range(4)] == ["gatherer", "mixed", "gatherer", "mixed"]


def test_a_head_that_passes_several_is_called_by_the_score_furthest_above_its_threshold(tmp_path: Path) -> None:
    arrays = background()
    # 0.44 of 0.7 that is left above 0.3; 0.4 of 0.55 that is left above 0.45
    set_score(arrays["sink_alpha"], 0, 0, 0.74)
    set_score(arrays["nearby_mass"], 0, 0, 0.85)
    set_score(arrays["sink_alpha"], 0, 1, 0.84)
    set_score(arrays["nearby_mass"], 0, 1, 0.85)
    run = run_of(tmp_path, arrays)
    assert [kind_of(run, 0, head) for head in (0, 1)] == ["nearby", "sink"]


def test_a_sink_is_judged_on_the_first_token_at_64_tokens(tmp_path: Path) -> None:
    arrays = background()
    arrays["sink_alpha"][-1, :, 0, 0] = 0.9
    arrays["sink_alpha"][-1, :, 0, 0, 2, 0] = 0.1
    assert kind_of(run_of(tmp_path, arrays), 0, 0) == "gatherer"


def test_separators_count_above_what_uniform_attention_has_on_each_text(tmp_path: Path) -> None:
    arrays = background()
    uniform = np.array(UNIFORM["separator_mass"])
    arrays["separator_mass"][-1, :, 0, 0] = uniform + 0.11
    arrays["separator_mass"][-1, :, 0, 1] = uniform + 0.09
    run = run_of(tmp_path, arrays)
    assert [kind_of(run, 0, head) for head in (0, 1)] == ["separator", "gatherer"]
    on_texts, _ = taxonomy.scores(run, run.last_step)
    np.testing.assert_allclose(on_texts.query("layer == 0 and query_head == 0")["separator"], 0.11)


def test_labels_are_of_the_step_asked_for_and_the_last_by_default(tmp_path: Path) -> None:
    arrays = background()
    set_score(arrays["previous_token_score"], 1, 1, 0.9, snapshot=1)
    set_score(arrays["induction_score"], 1, 1, 0.9, snapshot=3)
    run = run_of(tmp_path, arrays)
    kinds = [labels(run, step, draws=0)["kind"].iloc[9] for step in range(4)]
    assert kinds == ["gatherer", "previous_token", "gatherer", "induction"]
    pd.testing.assert_frame_equal(labels(run), labels(run, 3))


def test_scores_are_means_over_the_texts_they_are_measured_on(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    arrays = {name: random.uniform(size=values.shape) for name, values in background().items()}
    table = labels(run_of(tmp_path, arrays)).set_index(["layer", "query_head"])
    for (layer, head), row in table.iterrows():
        expected = {
            "sink": arrays["sink_alpha"][-1, :, layer, head, 2, 0].mean(),
            "separator": arrays["separator_mass"][-1, :, layer, head].mean() - 0.25,
            "previous_token": arrays["previous_token_score"][-1, :, layer, head].mean(),
            "nearby": arrays["nearby_mass"][-1, :, layer, head].mean(),
            "broad": arrays["entropy_normalised"][-1, :, layer, head].mean(),
            "induction": arrays["induction_score"][-1, :, layer, head].mean(),
            "retriever": arrays["duplicate_token_score"][-1, :, layer, head].mean(),
        }
        for name, value in expected.items():
            assert row[name] == pytest.approx(value), (layer, head, name)


# ---------------------------------------------------------------- thresholds


@pytest.mark.parametrize(("kind", "measure", "limit"), PLANTS)
def test_what_an_untrained_head_has_raises_the_threshold_of_all(
    tmp_path: Path, kind: str, measure: str, limit: float
) -> None:
    arrays = background()
    # higher in a later snapshot of the same head: training may not move its own threshold
    set_score(arrays[measure], 2, 7, 0.6, snapshot=0)
    set_score(arrays[measure], 2, 7, 0.95, snapshot=2)
    margin = 0 if kind == "sink" else 0.1
    set_score(arrays[measure], 0, 0, 0.6 + margin - 0.01)
    set_score(arrays[measure], 0, 1, 0.6 + margin + 0.01)
    run = run_of(tmp_path, arrays)
    assert [kind_of(run, 0, head) for head in (0, 1)] == ["gatherer", kind]
    offset = 0.25 if kind == "separator" else 0
    assert thresholds(run)[kind] == pytest.approx(0.6 + margin - offset)
    assert limit < 0.6


@pytest.mark.parametrize(("kind", "measure", "limit"), PLANTS[2:])
def test_what_uniform_attention_has_is_a_threshold_too(tmp_path: Path, kind: str, measure: str, limit: float) -> None:
    arrays = background()
    set_score(arrays[measure], 0, 0, limit + 0.05)
    name = "induction_score" if kind in ("induction", "retriever") else measure
    raised = UNIFORM | {name: UNIFORM[name] + 0.1}
    assert kind_of(run_of(tmp_path / "as-is", arrays), 0, 0) == kind
    assert kind_of(run_of(tmp_path / "raised", arrays, uniform=raised), 0, 0) == "gatherer"


def test_no_label_before_training_but_gatherer(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    arrays = {name: random.uniform(size=values.shape) for name, values in background().items()}
    arrays["sink_alpha"][0] *= 0.9
    run = run_of(tmp_path, arrays)
    assert labels(run, 0, draws=0)["kind"].unique().tolist() == ["gatherer"]


def test_the_norm_of_a_key_changes_no_label(tmp_path: Path) -> None:
    arrays = background()
    for head, (_, measure, _) in enumerate(PLANTS):
        set_score(arrays[measure], 1, head, 0.8)
    plain = labels(run_of(tmp_path / "plain", arrays))
    random = np.random.default_rng(2)
    norms = {
        "key_norms": random.uniform(1, 99, (SNAPSHOTS, TEXTS, LAYERS, 4)),
        "norms": random.uniform(1, 99, (4, LAYERS, 4)),
        "gain": random.uniform(0.1, 9, (4, LAYERS, 16)),
        "ranks": random.uniform(1, 9, (SNAPSHOTS, TEXTS, LAYERS, 4, 4)),
        "entropy_rescaled": random.uniform(0, 1, (SNAPSHOTS, TEXTS, LAYERS, HEADS)),
        "entropy_report": random.uniform(0, 1, (SNAPSHOTS, TEXTS, LAYERS, HEADS)),
    }
    pd.testing.assert_frame_equal(labels(run_of(tmp_path / "loud", arrays | norms)), plain)
    assert set(plain["kind"]) == {*FOCUSED, "gatherer"}


# ---------------------------------------------------------------- certainty


def test_a_label_is_certain_where_the_texts_agree(tmp_path: Path) -> None:
    arrays = background()
    set_score(arrays["nearby_mass"], 1, 1, 0.9)
    assert (labels(run_of(tmp_path, arrays))["certainty"] == 1).all()


@pytest.mark.parametrize("measure", ["previous_token_score", "duplicate_token_score"])
def test_certainty_is_the_chance_of_the_same_label_on_redrawn_texts(tmp_path: Path, measure: str) -> None:
    arrays = background()
    # alone, one text of four lifts the mean to 0.22: called so unless none of the four draws meets it
    limit = next(limit for _, name, limit in PLANTS if name == measure)
    low = 0.01
    one = 4 * (limit + 0.06) - 3 * low
    arrays[measure][-1, :, 0, 0] = [low, one, low, low]
    # and here two of four texts have to be met
    other = 4 * (limit - 0.03) - 3 * low
    arrays[measure][-1, :, 0, 1] = [other, low, low, low]
    table = labels(run_of(tmp_path, arrays), draws=4000)
    kind = {"previous_token_score": "previous_token", "duplicate_token_score": "retriever"}[measure]
    assert table["kind"].iloc[:3].tolist() == [kind, "gatherer", "gatherer"]
    assert table["certainty"].iloc[0] == pytest.approx(1 - 0.75**4, abs=0.03)
    assert table["certainty"].iloc[1] == pytest.approx(0.75**4 + 4 * 0.25 * 0.75**3, abs=0.03)
    assert (table["certainty"].iloc[2:] == 1).all()
    # the same on a second call
    again = labels(run_of(tmp_path, arrays), draws=4000)
    pd.testing.assert_frame_equal(again, table)


def test_without_redraws_certainty_is_undefined(tmp_path: Path) -> None:
    assert labels(run_of(tmp_path, background()), draws=0)["certainty"].isna().all()


# ---------------------------------------------------------------- undefined scores


def test_an_undefined_score_passes_nothing(tmp_path: Path) -> None:
    arrays = background()
    for values in arrays.values():
        values[-1, :, 0, 0] = np.nan
    for name in ("sink_alpha", "nearby_mass"):
        arrays[name][-1, :, 0, 1] = np.nan
    set_score(arrays["induction_score"], 0, 1, 0.9)
    table = labels(run_of(tmp_path, arrays))
    assert table["kind"].iloc[:3].tolist() == ["mixed", "induction", "gatherer"]
    assert (table["certainty"] == 1).all()


def test_where_nothing_is_defined_before_training_the_fixed_thresholds_stand(tmp_path: Path) -> None:
    arrays = background()
    for values in arrays.values():
        values[0] = np.nan
    set_score(arrays["sink_alpha"], 0, 0, 0.31)
    run = run_of(tmp_path, arrays)
    limits = thresholds(run)
    assert limits["sink"] == 0.3
    assert limits["separator"] == 0.1
    assert limits["nearby"] == pytest.approx(0.45)
    # nor can a head be called broad when there is nothing to hold it against
    assert labels(run, draws=0)["kind"].tolist() == ["sink"] + ["mixed"] * 23


# ---------------------------------------------------------------- by kind


def test_heads_by_kind_come_in_the_order_of_kinds_without_those_that_have_none(tmp_path: Path) -> None:
    arrays = background()
    set_score(arrays["duplicate_token_score"], 0, 4, 0.9)
    set_score(arrays["sink_alpha"], 2, 1, 0.9)
    set_score(arrays["sink_alpha"], 0, 6, 0.9)
    found = heads_by_kind(labels(run_of(tmp_path, arrays), draws=0))
    assert list(found) == ["sink", "retriever", "gatherer"]
    assert found["sink"] == [(0, 6), (2, 1)]
    assert found["retriever"] == [(0, 4)]
    assert len(found["gatherer"]) == LAYERS * HEADS - 3
    assert {type(number) for heads in found.values() for pair in heads for number in pair} == {int}


def test_a_trained_run_has_one_label_per_head_and_they_are_what_was_ablated(smoke_run: Run) -> None:
    table = labels(smoke_run)
    assert len(table) == 2 * 4
    assert set(table["kind"]) <= set(KINDS)
    assert table["certainty"].between(0, 1, inclusive="right").all()
    ablated = smoke_run.table("ablation").query("group == 'kind' and mode == 'zero'")
    assert dict(zip(ablated["kind"], ablated["n_heads"], strict=True)) == {
        kind: len(heads) for kind, heads in heads_by_kind(table).items()
    }


def test_another_context_is_judged_at_the_horizon_it_has(tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, probe=dataclasses.replace(CONFIG.probe, sink_horizons=(16, 32)))
    alpha = np.full((SNAPSHOTS, TEXTS, LAYERS, HEADS, 2, 4), 0.1)
    alpha[-1, :, 0, 0, 0, 0] = 0.9
    alpha[-1, :, 0, 1, 1, 0] = 0.9
    run = write_run(tmp_path / "short", config, Truth(sink_alpha=alpha))
    assert labels(run, draws=0)["kind"].iloc[:2].tolist() == ["gatherer", "sink"]
