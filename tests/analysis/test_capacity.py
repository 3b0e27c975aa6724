"""Phase 7's numbers on tables whose truth is known."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from synthetic import Truth, capacity_table, make_synthetic_config, write_run

from civilwar.analysis import capacity
from civilwar.recipe.config import make_config
from civilwar.runs.reader import Run

FULL = 3.0
D_HEAD = 64


def loss_of(seed: int) -> Callable[[str, int, int], float]:
    """Directions lose 1 nat at rank 0, coordinates 2; what a rank keeps is known, and random cuts differ by their draw."""

    def loss(method: str, rank: int, draw: int) -> float:
        if method == "full":
            return FULL
        worth = 2.0 if method in ("gains", "random_dimensions") else 1.0
        return FULL + worth * (1 - share(method, rank, seed) + 0.1 * (draw - 1) * method.startswith("random"))

    return loss


def share(method: str, rank: int, seed: int) -> float:
    if rank == 0:
        return 0.0
    if method == "directions":
        return min(1.0, 0.9 + 0.01 * rank) - 0.001 * seed
    return rank / D_HEAD * (1.5 if method == "gains" else 1.0)


def run_of(folder: Path, seed: int, **changes: str) -> Run:
    config = make_synthetic_config(D_HEAD, 8, seed, **changes)
    return write_run(folder / f"seed{seed}", config, Truth(tables={"capacity": capacity_table(config, loss_of(seed))}))


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Run]:
    folder = tmp_path_factory.mktemp("capacity")
    return [run_of(folder, seed) for seed in (1, 2, 3)]


@pytest.fixture(scope="module")
def curves(runs: list[Run]) -> pd.DataFrame:
    return capacity.curves(runs)


def test_kept_is_measured_from_each_ways_own_rank_0(runs: list[Run]) -> None:
    kept = capacity.kept(runs[0]).set_index(["method", "rank", "draw"])
    assert kept["kept"]["directions", 0, 0] == kept["kept"]["gains", 0, 0] == 0
    assert kept["excess"]["directions", 0, 0] == pytest.approx(1)
    assert kept["excess"]["gains", 0, 0] == pytest.approx(2)
    assert kept["kept"]["directions", 10, 0] == pytest.approx(0.999)
    assert kept["kept"]["gains", 16, 0] == pytest.approx(0.375)
    # coordinates are worth 2 nats, directions 1: the same share, another loss
    assert kept["kept"]["random_dimensions", 16, 1] == pytest.approx(0.25)
    assert kept["kept"]["random_directions", 16, 1] == pytest.approx(0.25)
    assert kept["excess"]["random_dimensions", 16, 1] == pytest.approx(1.5)
    assert "full" not in kept.index.get_level_values("method")


def test_curves_average_over_draws(runs: list[Run], curves: pd.DataFrame) -> None:
    draws = runs[0].config.probe.random_draws
    at = curves[curves["seed"] == 2].set_index(["method", "rank"])
    assert at["kept"]["random_directions", 32] == pytest.approx(0.5 - 0.1 * np.mean(np.arange(draws) - 1))
    assert at["kept"]["directions", 8] == pytest.approx(0.98 - 0.002)
    assert set(curves["run"]) == {"seed1", "seed2", "seed3"}
    assert not curves.duplicated(["run", "method", "rank"]).any()


def test_intervals_are_over_seeds(curves: pd.DataFrame) -> None:
    at = capacity.over_seeds(curves, "kept").set_index(["method", "rank"]).loc[("directions", 4)]
    values = [0.94 - 0.001 * seed for seed in (1, 2, 3)]
    half = stats.t.ppf(0.975, 2) * np.std(values, ddof=1) / math.sqrt(3)
    assert at[["mean", "low", "high", "n"]].tolist() == pytest.approx([0.938, 0.938 - half, 0.938 + half, 3])


def test_one_run_has_no_interval(runs: list[Run]) -> None:
    single = capacity.over_seeds(capacity.curves(runs[:1]), "excess")
    assert single["mean"].notna().all()
    assert single[["low", "high"]].isna().all(axis=None)


def test_without_a_gain_coordinates_have_a_loss_but_no_share(tmp_path: Path) -> None:
    ungained = capacity.curves([run_of(tmp_path, 1, qk_norm="none")])
    assert set(ungained["method"]) == {"directions", "random_directions", "random_dimensions"}
    dimensions = ungained[ungained["method"] == "random_dimensions"]
    assert dimensions["kept"].isna().all()
    assert dimensions["excess"].notna().all()
    assert "random_dimensions" not in set(capacity.over_seeds(ungained, "kept")["method"])
    table = capacity.at_rank(ungained, 10, 0.95).set_index("method")
    assert math.isnan(table["kept"]["random_dimensions"])
    assert math.isnan(table["needed"]["random_dimensions"])
    assert table["excess"]["random_dimensions"] > 0
    numbers = capacity.summary(table.reset_index(), ungained, 10, D_HEAD)
    assert math.isnan(numbers["capacity_kept_gains"])
    assert math.isnan(numbers["capacity_worth_gains"])
    assert numbers["capacity_worth_directions"] == pytest.approx(1)


@pytest.mark.parametrize(("preset", "rank"), [("smoke", 2), ("laptop", 10), ("paper", 10)])
def test_the_reports_share_is_the_nearest_cut(preset: str, rank: int) -> None:
    assert capacity.report_rank(make_config(preset)) == rank


def test_at_the_reports_rank(curves: pd.DataFrame) -> None:
    table = capacity.at_rank(curves, 10, 0.95)
    assert list(table["method"]) == list(capacity.ORIGIN)
    by_method = table.set_index("method")
    assert by_method["kept"]["directions"] == pytest.approx(0.998)
    assert by_method["kept_low"]["directions"] < 0.998 < by_method["kept_high"]["directions"]
    assert by_method["excess"]["gains"] == pytest.approx(2 * (1 - 15 / D_HEAD))
    # 0.94 at 4 dimensions, 0.98 at 8
    assert by_method["needed"]["directions"] == 8
    assert by_method["needed"]["gains"] == 48
    assert math.isnan(by_method["needed"]["random_directions"])


def test_summary_says_what_the_prose_needs(curves: pd.DataFrame) -> None:
    numbers = capacity.summary(capacity.at_rank(curves, 10, 0.95), curves, 10, D_HEAD)
    assert numbers["capacity_percent"] == 15.625
    assert numbers["capacity_n_runs"] == 3
    assert numbers["capacity_worth_directions"] == pytest.approx(1)
    assert numbers["capacity_worth_gains"] == pytest.approx(2)
    assert numbers["capacity_kept_directions"] == pytest.approx(0.998)
    assert numbers["capacity_needed_directions"] == 8
    by_draw = 10 / D_HEAD - 0.1 * (np.arange(make_synthetic_config().probe.random_draws) - 1)
    assert numbers["capacity_kept_random_dimensions"] == pytest.approx(by_draw.mean())
