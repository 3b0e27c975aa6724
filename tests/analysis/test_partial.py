"""Which of keys, queries and logits goes with entropy, on heads of which it is known."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from synthetic import Truth, make_synthetic_config, write_run

from civilwar.analysis import focus, partial
from civilwar.runs.reader import Run


def heads(seed: int, sharpened_by: str, n_layers: int = 12) -> pd.DataFrame:
    """8 query heads a layer that read 4 KV heads; key and query norms go together, and one of them sharpens."""
    random = np.random.default_rng(seed)
    rows = []
    for layer in range(n_layers):
        key = np.repeat(random.normal(size=4), 2)
        query = key + random.normal(size=8)
        sharp = {"key": key, "query": query, "neither": random.normal(size=8)}[sharpened_by]
        for head in range(8):
            rows.append(
                {
                    "layer": layer,
                    "query_head": head,
                    "kv_head": head // 2,
                    # layers differ in level, which layers as strata take out
                    "key_norm": key[head] + 10 * layer,
                    "query_norm": query[head] - 5 * layer,
                    "entropy_normalised": -sharp[head] + 0.2 * random.normal() + 3 * layer,
                }
            )
    return pd.DataFrame(rows)


ENTROPY = "entropy_normalised"


@pytest.mark.parametrize(("by", "other"), [("key", "query"), ("query", "key")])
def test_what_sharpens_is_told_from_what_goes_along(by: str, other: str) -> None:
    points = heads(0, by)
    x, z = f"{by}_norm", f"{other}_norm"
    # both go with entropy; given the one that sharpens, nothing is left of the other
    assert partial.partial_rho(points, z, ENTROPY) < -0.4
    own, others = (partial.partial_test(points, a, ENTROPY, (b,), draws=399) for a, b in ((x, z), (z, x)))
    assert own["rho"] < -0.7
    assert own["p"] < 0.01
    assert abs(others["rho"]) < 0.25


def test_partial_rho_is_the_textbooks_formula() -> None:
    points = heads(1, "query")
    ranks = {c: points.groupby("layer")[c].rank() for c in ("key_norm", "query_norm", ENTROPY)}
    xy, xz, yz = (
        stats.pearsonr(ranks[a], ranks[b]).statistic
        for a, b in (("key_norm", ENTROPY), ("key_norm", "query_norm"), (ENTROPY, "query_norm"))
    )
    expected = (xy - xz * yz) / math.sqrt((1 - xz**2) * (1 - yz**2))
    assert partial.partial_rho(points, "key_norm", ENTROPY, ("query_norm",)) == pytest.approx(expected)
    # the order of rows is nobody's business
    mixed = points.sample(frac=1, random_state=0)
    assert partial.partial_rho(mixed, "key_norm", ENTROPY, ("query_norm",)) == pytest.approx(expected)


def test_without_given_it_is_the_focus_law(smoke_run: Run) -> None:
    points = focus.head_points(smoke_run)
    points = points[points["step"] == smoke_run.last_step]
    found = partial.partial_rho(partial.head_scales(smoke_run, smoke_run.last_step), "key_norm", ENTROPY)
    assert found == pytest.approx(focus.stratified_rho(points, ENTROPY))


def test_the_null_holds_its_level_where_query_heads_of_a_group_are_alike() -> None:
    found = [
        partial.partial_test(heads(seed, "neither", 4), "key_norm", ENTROPY, draws=99)["p"] < 0.1 for seed in range(60)
    ]
    assert np.mean(found) < 0.25


def test_layers_without_differences_have_no_ranks() -> None:
    points = heads(2, "key")
    flat = points.assign(key_norm=8.0)
    assert math.isnan(partial.partial_rho(flat, "key_norm", ENTROPY))
    assert all(math.isnan(x) for x in partial.partial_test(flat, "key_norm", ENTROPY, draws=9).values())
    # one that is undefined in a layer leaves out that layer
    holes = points.assign(query_norm=points["query_norm"].where(points["layer"] > 0))
    without = points[points["layer"] > 0]
    arguments = ("key_norm", ENTROPY, ("query_norm",))
    assert partial.partial_rho(holes, *arguments) == pytest.approx(partial.partial_rho(without, *arguments))
    # what says all of x leaves nothing of it
    twin = points.assign(twin=points["key_norm"])
    assert math.isnan(partial.partial_rho(twin, "key_norm", ENTROPY, ("twin",)))


def test_scales_of_a_run(tmp_path: Path, smoke_run: Run) -> None:
    model = smoke_run.config.model
    points = partial.head_scales(smoke_run, smoke_run.last_step)
    assert len(points) == model.n_layers * model.n_query_heads
    expected = points["query_norm"] * points["key_norm"] / math.sqrt(model.d_head)
    assert points["logit_scale"].to_numpy() == pytest.approx(expected.to_numpy())
    assert len(partial.by_kv_head(points)) == model.n_layers * model.n_kv_heads
    # queries' norms against keys', as recorded on the training batch
    ratio = smoke_run.table("step_query_heads")
    ratio = ratio[ratio["step"] == smoke_run.last_step]
    assert points["query_norm"].to_numpy() == pytest.approx(ratio["query_norm_mean"].to_numpy())


def test_every_question_by_both_units(tmp_path: Path) -> None:
    config = make_synthetic_config(n_layers=6)
    random = np.random.default_rng(0)
    norms = np.broadcast_to(4 + random.normal(size=(6, 4)), (61, 6, 4))
    entropy = 0.5 - 0.1 * np.repeat(norms[-1], 2, axis=1) + 0.01 * random.normal(size=(6, 8))
    run = write_run(tmp_path / "run", config, Truth(norms=norms, entropy_normalised=entropy))
    table = partial.questions(run, draws=99)
    assert len(table) == 2 * len(partial.QUESTIONS)
    found = table.set_index(["unit", "x", "given"])["rho"]
    assert found[("kv_head", "key_norm", "")] < -0.9
    # all queries of a synthetic run are of one length
    assert math.isnan(found[("query_head", "query_norm", "")])
    assert partial.over_runs([run])["rho"].to_numpy() == pytest.approx(table["rho"].to_numpy(), nan_ok=True)
    assert partial.over_runs([]).empty
