"""Permutations among neighbouring frequencies, and what is left of a pattern beyond the trend."""

from pathlib import Path

import numpy as np
import pytest
from synthetic import Truth, make_synthetic_config, write_run

from civilwar.analysis import beyond_frequency, divergence, strata
from civilwar.analysis.statistics import generator
from civilwar.runs.reader import Run


@pytest.mark.parametrize("width", [1, 3, 8, 16, None])
def test_dealing_keeps_pairs_whole_and_inside_their_block(width: int | None) -> None:
    ranks = np.random.default_rng(0).permutation(16)
    dealt = strata.dealt(ranks, width, generator(0), 300)
    assert (np.sort(dealt, axis=1) == np.arange(32)).all()
    pairs = dealt.reshape(300, 16, 2)
    assert (pairs[..., 0] % 2 == 0).all()
    assert (pairs[..., 1] == pairs[..., 0] + 1).all()
    source = pairs[..., 0] // 2
    size = width or 16
    assert (ranks[source] // size == ranks // size).all()
    # and everything inside a block does come everywhere in it
    for place in range(16):
        block = set(np.flatnonzero(ranks // size == ranks[place] // size))
        assert set(source[:, place]) == block


def test_the_widest_block_is_the_free_null_and_none_that_holds_nothing_is_asked_for() -> None:
    ranks = np.arange(8)
    free, wide = (strata.dealt(ranks, width, generator(0), 20) for width in (None, 8))
    assert (free == wide).all()
    with pytest.raises(ValueError, match="at least 1"):
        strata.blocks(ranks, 0)


def test_the_trend_is_every_blocks_mean() -> None:
    ranks = np.array([3, 0, 1, 2])
    squared = np.array([1.0, 3, 5, 5, 6, 8, 2, 2])
    assert strata.trend(squared, ranks, 2).tolist() == [2, 2, 6, 6, 6, 6, 2, 2]
    assert strata.trend(squared, ranks, None) == pytest.approx(np.full(8, 4))


def aligned_run(path: Path, by: str, seed: int = 0) -> Run:
    """Head 3's energy lies on high gains and head 0's on low ones; the gain falls with frequency, or has its own order."""
    config = make_synthetic_config(d_head=32, seed=seed, n_layers=4)
    random = np.random.default_rng(seed)
    slope = np.linspace(0.4, -0.4, 16)
    gain, energy = np.ones((61, 4, 32)), np.ones((61, 4, 4, 32))
    for layer in range(4):
        # one pair of every block of 4 is above the others
        own = 0.2 * np.concatenate([random.permutation([3, -1, -1, -1]) for _ in range(4)])
        pattern = np.repeat(slope if by == "trend" else own, 2)
        gain[1:, layer] = 1 + pattern
        for head, weight in enumerate((-1, -0.3, 0.3, 1)):
            energy[1:, layer, head] = 1 + weight * pattern
    return write_run(path, config, Truth(gain=gain, energy=energy, key_energy=energy[-1][:, :, None]))


def test_a_spread_that_follows_frequency_is_beyond_the_free_null_only(tmp_path: Path) -> None:
    of_trend = aligned_run(tmp_path / "trend", "trend")
    assert (beyond_frequency.spread(of_trend, None, 499)["p"] < 0.05).all()
    stratified = beyond_frequency.spread(of_trend, 4, 499)
    ratio = stratified["observed"] / stratified["null_median"]
    free = beyond_frequency.spread(of_trend, None, 499)
    # what little is left is the trend inside a block
    assert ratio.max() < 1.1 < 3 < (free["observed"] / free["null_median"]).min()
    of_pairs = aligned_run(tmp_path / "pairs", "pairs")
    assert (beyond_frequency.spread(of_pairs, 4, 499)["p"] < 0.05).all()


def test_the_free_spread_is_the_one_of_phase_1(smoke_run: Run) -> None:
    theirs = divergence.alignment(smoke_run, [smoke_run.last_step], draws=199)
    ours = beyond_frequency.spread(smoke_run, None, 199)
    assert ours["p"].to_list() == theirs["p"].to_list()
    assert ours["null_median"].to_numpy() == pytest.approx(theirs["null_median"].to_numpy(), rel=1e-4)


def test_layers_that_share_the_trend_only_are_alike_by_the_free_null_only(tmp_path: Path) -> None:
    of_trend, of_pairs = (aligned_run(tmp_path / by, by) for by in ("trend", "pairs"))
    alike = beyond_frequency.likeness(of_trend, None, 199)
    assert alike["observed"] == pytest.approx(1)
    assert alike["null_high"] < 0.4
    assert beyond_frequency.likeness(of_trend, 4, 199)["null_low"] > 0.8
    assert beyond_frequency.likeness(of_pairs, None, 199)["p"] > 0.05


def test_mean_correlation_is_numpys() -> None:
    gains = np.random.default_rng(3).normal(size=(5, 12))
    expected = np.corrcoef(gains)[np.triu_indices(5, 1)].mean()
    assert beyond_frequency._mean_correlation(gains[None])[0] == pytest.approx(expected)


def test_golden_energy_beyond_the_trend(tmp_path: Path) -> None:
    """The broad heads' energy lies on the golden dimensions by frequency, or by themselves: only the latter is beyond it."""
    ratios = {}
    for by in ("trend", "pairs"):
        run = aligned_run(tmp_path / by, by)
        for width in (None, 4, 1):
            table = beyond_frequency.golden_energy(run, width, 499)
            assert len(table) == 4
            ratios[by, width] = (table["observed"] / table["null_median"]).to_numpy()
    assert ratios["trend", None].min() > 1.3
    assert ratios["trend", 4].max() < 1.15
    assert ratios["pairs", 4].min() > 1.3
    # where nothing moves the null is the observation
    assert ratios["pairs", 1] == pytest.approx(np.ones(4))


def test_without_a_gain_there_is_nothing_to_say(tmp_path: Path) -> None:
    run = write_run(tmp_path / "none", make_synthetic_config(qk_norm="frozen"))
    table = beyond_frequency.over_runs([run], widths=(None, 4), draws=9)
    assert len(table) == 8
    assert table["value"].isna().all()


def test_a_fall_is_explained_by_the_gain_that_made_it(smoke_run: Run) -> None:
    own, trend, flat = (beyond_frequency.fall_explained(smoke_run, width) for width in (1, 4, None))
    assert flat == pytest.approx(0, abs=1e-9)
    assert np.isfinite([own, trend]).all()
