"""Every family of transformers, as a tiny random model: what is heard gives the model's own attention."""

import csv
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from families import FAMILIES, INLINE, Family, heard_of, inputs, own_attentions, tiny

from civilwar import paths
from civilwar.hear.check import deviation
from civilwar.hear.doors import hear
from civilwar.hear.hearing import Unheard
from civilwar.hear.statistics import statistics

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning", "ignore::DeprecationWarning")


def named(family: Family) -> str:
    return family.key


@pytest.mark.parametrize("family", [f for f in FAMILIES if "eager" in f.implementations], ids=named)
def test_weights_are_the_model_s_own(family: Family) -> None:
    calls, output = heard_of(family, "eager")
    own = own_attentions(output)
    if family.key == "diffllama":
        # it returns the first of the two
        assert [call.name.endswith("(call 2)") for call in calls] == [False, True] * 2
        calls = calls[::2]
    assert len(calls) == len(own) > 0
    for call, weights in zip(calls, own, strict=True):
        assert (call.weights() - weights).abs().max() <= 1e-5, call.name
        assert deviation(call) <= 1e-5, call.name
    assert len({call.name for call in calls}) == len(calls)


@pytest.mark.parametrize("family", [f for f in FAMILIES if "sdpa" in f.implementations], ids=named)
def test_the_default_attention_is_heard_with_padding(family: Family) -> None:
    calls, _ = heard_of(family, "sdpa", padded=True)
    assert calls
    for call in calls:
        assert deviation(call) <= 1e-5, call.name
    # padding neither asks nor is looked at, in self-attention at least
    query_heads, kv_heads = statistics(calls[0])
    assert kv_heads["key_count"].tolist() == [18.0] * calls[0].n_kv_heads
    assert query_heads["entropy_share_sum"].le(query_heads["share_count"] * (1 + 1e-5)).all()


@pytest.mark.parametrize("family", INLINE, ids=named)
def test_what_cannot_be_heard_is_refused_in_words(family: Family) -> None:
    model = tiny(family, "eager")
    with (
        pytest.raises(Unheard, match=rf"{type(model).__name__} ran and none of its attention was heard.*observe\("),
        torch.no_grad(),
        hear(model, lambda call: None, evaluation=True),
    ):
        model(**inputs(family))


def test_the_recorded_table_names_every_family_and_deviates_by_rounding_only() -> None:
    """Run ``python benchmarks/coverage.py`` and commit data/benchmarks when this fails."""
    with (paths.recorded() / "benchmarks" / "coverage.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["family"] for row in rows} == {family.key for family in (*FAMILIES, *INLINE)}
    heard = {row["family"] for row in rows if row["heard"] == "True"}
    assert heard == {family.key for family in FAMILIES}
    deviations = [float(row[f"{what}_deviation"] or 0) for row in rows for what in ("weights", "output")]
    assert 0 < max(deviations) <= 1e-5
