"""Tables of benchmarks from made-up results, and the arithmetic of cost against counts by hand."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from civilwar.analysis import speed
from civilwar.errors import RunError
from civilwar.recipe import cost
from civilwar.recipe.config import make_config

RESULT: dict[str, Any] = {
    "machine": {"name": "abacus", "threads": 2},
    "repetitions": 3,
    "tokens_per_step": 1000,
    "n_steps": 10,
    "n_snapshots": 2,
    "flops_per_step": 4e9,
    "matrix_rate": [0.9e9, 1e9, 5e9],
    "peak_memory": 3 * 2**30,
    "snapshots": [1.0, 2.5, 9.0],
    "ways": {
        "plain": [9.0, 7.0, 8.0],
        "untracked": [3.0, 4.0, 5.0],
        "tracked": [3.25, 4.5, 5.0],
        "loops": [19.0, 18.0, 20.0],
        "optimisers": [1.0] * 12,
    },
    "growth": [{"axis": "layers", "value": 2, "untracked": [2.0, 4.0, 1.0], "tracked": [3.0, 4.0, 1.25]}],
}


def test_each_way_is_a_row_with_its_ratios() -> None:
    table = speed.ways(RESULT).set_index("way")
    assert list(table.index) == list(speed.WAYS.values())
    own = table.loc[speed.WAYS["tracked"]]
    assert (own["seconds"], own["low"], own["high"]) == (4.5, 3.25, 5.0)
    assert own["tokens_per_second"] == pytest.approx(1000 / 5.5)
    assert own["of_matrix_rate"] == pytest.approx(4 / 4.5)
    assert own["of_matrix_rate_with_optimisers"] == pytest.approx(4 / 5.5)
    assert own["times_plain"] == pytest.approx(9 / 5.5)
    assert table["times_plain"].iloc[0] == 1


def test_tracking_is_judged_turn_by_turn() -> None:
    numbers = speed.summary(RESULT)
    # 0.25, 0.5 and 0 seconds more, on steps of 4, 5 and 6 seconds: the median is the first
    assert numbers["speed_tracking_percent"] == pytest.approx(100 * 0.25 / 4)
    assert numbers["speed_snapshot_percent"] == pytest.approx(100 * 5 / (5 + 10 * 5.5))
    assert numbers["speed_times_usual"] == pytest.approx(20 / 5.5)
    assert numbers["speed_peak_gib"] == 3
    (grown,) = speed.growth(RESULT).to_dict("records")
    assert grown == {"axis": "layers", "value": 2, "seconds": 3.0, "tracking": 0.25}


def test_faults_are_listed_and_losses_counted() -> None:
    row = {"fault": "flood", "times": 2, "status": "1", "sentence": "wet", "lost": "nothing", "good": True}
    result = {"faults": [row, row | {"fault": "fire", "lost": "see the run", "good": False}]}
    table = speed.faults(result)
    assert table["what was done"].tolist() == ["flood", "fire"]
    assert table["lost"].tolist() == ["nothing", "see the run"]
    assert speed.n_lost(result) == 1


def test_a_page_s_weight_counts_its_inspector() -> None:
    result = {
        "run": "deep",
        "build_seconds": 20.0,
        "pages": {
            "a.html": {"page": 1_000_000, "inspector": 0},
            "b.html": {"page": 500_000, "inspector": 1_500_000},
        },
        "first_frame_ms": [90.0, 70.0, 80.0],
        "scrub_ms": {"50": 1.0, "95": 4.0, "99": 6.0},
    }
    assert speed.pages(result)["page"].tolist() == ["b.html", "a.html"]
    numbers = speed.book_summary(result)
    assert numbers["book_heaviest_megabytes"] == 2
    assert numbers["book_first_frame_ms"] == 80
    assert numbers["book_scrub_ms"] == 4


def test_a_benchmark_that_was_not_recorded_names_its_command(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"python benchmarks/training\.py"):
        speed.measured("training", tmp_path)
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks" / "training.json").write_text(json.dumps(RESULT))
    assert speed.measured("training", tmp_path) == RESULT


def test_flops_of_a_small_model_counted_by_hand() -> None:
    config = make_config("smoke")
    model = config.model
    # forward products of one token: q, k, v and o; the MLP; the logits; and over half the context, logits and mixing
    matrices = (
        model.n_layers * (2 * model.d_model * 16 * (4 + 2 + 2 + 4) + 2 * 2 * model.d_model * model.d_ff)
        + 2 * model.d_model * model.vocab_size
    )
    attention = model.n_layers * 2 * 2 * 32 * (4 * 16)
    by_hand = 3 * config.tokens_per_step * (matrices + attention)
    # gains are counted as if they were matrices
    assert cost.flops_per_step(config) == pytest.approx(by_hand, rel=0.01)
    assert cost.flops(config) == 24 * cost.flops_per_step(config)


def test_the_paper_step_is_as_large_as_was_said() -> None:
    assert cost.flops_per_step(make_config("paper")) / 4 == pytest.approx(1.37e12, rel=0.005)


def test_twice_the_peak_is_half_the_time() -> None:
    config = make_config("paper")
    table = cost.estimates(config).set_index("gpu")
    ratio = table["minutes"]["T4"] / table["minutes"]["A100"]
    assert ratio == pytest.approx(table["peak_tflops"]["A100"] / table["peak_tflops"]["T4"])
    longer = dataclasses.replace(config, train=dataclasses.replace(config.train, steps=2 * config.train.steps))
    assert cost.estimates(longer)["minutes"].tolist() == pytest.approx((2 * cost.estimates(config)["minutes"]).tolist())
