"""Where the variance lies, on numbers whose split is known."""

import math
from pathlib import Path

import numpy as np
import pytest
from synthetic import Truth, make_synthetic_config, write_run

from civilwar.analysis import variance_split
from civilwar.runs.reader import Run


def shares(table) -> dict[str, float]:
    return dict(zip(table["source"], table["share"], strict=True))


def test_a_nested_split_by_hand() -> None:
    # layers at 1 and 5, heads a half to either side of the first and one of the second
    values = np.array([[0.5, 1.5], [4.0, 6.0]])
    table = variance_split.nested(values, ("layer", "head")).set_index("source")
    assert table.loc["layer", "variance"] == pytest.approx(4)
    assert table.loc["head", "variance"] == pytest.approx((0.25 + 1) / 2)
    assert table["variance"].sum() == pytest.approx(values.var())
    assert table["by_chance"].to_list() == pytest.approx([1 / 3, 2 / 3])


def test_sources_add_up_and_the_order_of_nesting_is_theirs() -> None:
    random = np.random.default_rng(0)
    values = random.normal(size=(5, 3, 4, 2))
    table = variance_split.nested(values, ("layer", "seed", "head", "text"), inside=("token", 0.7, 10))
    assert table["source"].to_list() == ["layer", "seed", "head", "text", "token"]
    assert table["variance"].sum() == pytest.approx(values.var() + 0.7)
    assert table["share"].sum() == pytest.approx(1)
    assert table["by_chance"].sum() == pytest.approx(1)
    # the same for every seed: nothing lies there
    same = np.repeat(values[:, :1], 3, axis=1)
    assert shares(variance_split.nested(same, ("layer", "seed", "head", "text")))["seed"] == pytest.approx(0)


def test_random_numbers_split_by_their_degrees_of_freedom() -> None:
    values = np.random.default_rng(1).normal(size=(400, 22, 4))
    found = np.mean([variance_split.nested(x, ("layer", "head"))["share"] for x in values], axis=0)
    assert found == pytest.approx(variance_split.nested(values[0], ("layer", "head"))["by_chance"], abs=0.02)


def test_what_cannot_be_told_is_not_told() -> None:
    one_seed = variance_split.nested(np.random.default_rng(2).normal(size=(3, 1, 4)), ("layer", "seed", "head"))
    assert one_seed["source"].to_list() == ["layer", "head"]
    equal = variance_split.nested(np.full((3, 4), 8.0), ("layer", "head"))
    assert equal["share"].isna().all()
    with pytest.raises(ValueError, match="2 axes"):
        variance_split.nested(np.ones((3, 4)), ("layer",))


def test_of_runs(tmp_path: Path) -> None:
    """Layers at 3, 4 and 5; heads 0.1 apart; seed 1 half a unit above seed 0; texts and tokens as told."""
    config = make_synthetic_config(n_layers=3)
    heads = np.array([-0.15, -0.05, 0.05, 0.15])
    runs = []
    for seed in (0, 1):
        norms = np.broadcast_to(np.array([3, 4, 5])[:, None] + heads + 0.5 * seed, (61, 3, 4))
        texts = np.array([-0.2, -0.1, 0.1, 0.2])[None, :, None, None] + norms[np.array(config.snapshot_steps()), None]
        runs.append(write_run(tmp_path / str(seed), config, Truth(norms=norms, key_norms=texts)))
    assert variance_split.between_layers(runs[0]) == pytest.approx((2 / 3) / (2 / 3 + 0.0125))
    variance = variance_split.of_heads(runs).set_index("source")["variance"].to_dict()
    assert variance == pytest.approx({"layer": 2 / 3, "seed": 0.0625, "head": 0.0125})
    by_text = variance_split.of_texts(runs).set_index("source")["variance"].to_dict()
    assert by_text == pytest.approx({"layer": 2 / 3, "seed": 0.0625, "head": 0.0125, "text": 0.025})
    # a synthetic run's deviation over tokens is its norm
    n = config.tokens_per_step
    tokens = variance_split.of_keys(runs[:1]).set_index("source")["variance"]["token"]
    ends = variance_split.final_norms(runs[0])
    assert tokens == pytest.approx((ends**2).mean() * (n - 1) / n)
    ranges = variance_split.ranges(runs[0]).set_index("layer")
    assert ranges["range"].to_list() == pytest.approx([0.3 / 3, 0.3 / 4, 0.3 / 5])
    assert ranges.loc[2, ["lowest", "mean", "highest"]].to_list() == pytest.approx([4.85, 5, 5.15])


def test_of_a_trained_run(smoke_run: Run) -> None:
    for split in (variance_split.of_heads, variance_split.of_texts, variance_split.of_keys):
        assert split([smoke_run])["share"].sum() == pytest.approx(1)
    config = smoke_run.config.model
    assert variance_split.final_norms(smoke_run, "query").shape == (config.n_layers, config.n_query_heads)
    # before training all norms are the root of the head's size
    assert math.isnan(variance_split.between_layers(smoke_run, step=0))
