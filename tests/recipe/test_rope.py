"""Rotary frequencies: the formula, and the shuffled order that is one of the controls."""

import dataclasses
import math

import numpy as np
import pytest

from civilwar.recipe.config import ModelConfig, make_config
from civilwar.recipe.rope import dimension_ranks, pair_frequencies, pair_ranks, standard_frequencies, wavelengths

STANDARD = make_config("laptop").model
SHUFFLED = make_config("laptop", "shuffled_rope").model


def test_frequencies_fall_from_one_by_a_constant_factor() -> None:
    frequencies = standard_frequencies(STANDARD)
    assert frequencies.shape == (32,)
    assert frequencies[0] == 1.0
    np.testing.assert_allclose(frequencies[1:] / frequencies[:-1], 10_000 ** (-1 / 32))


def test_the_eight_slowest_pairs_turn_less_than_once_in_the_paper_s_context() -> None:
    turns = wavelengths(make_config("paper").model)
    np.testing.assert_allclose(turns, 2 * math.pi / standard_frequencies(STANDARD))
    # dimensions 48 to 63, the ones that sink in the report's figure
    assert turns[24] == pytest.approx(6283, abs=1)
    assert np.flatnonzero(turns >= 6283).tolist() == list(range(24, 32))


def test_standard_order_is_the_same_in_every_layer() -> None:
    np.testing.assert_array_equal(pair_ranks(STANDARD, seed=5), np.tile(np.arange(32), (6, 1)))
    np.testing.assert_array_equal(pair_frequencies(STANDARD, seed=5), np.tile(standard_frequencies(STANDARD), (6, 1)))


def test_shuffled_order_is_a_permutation_of_its_own_in_every_layer() -> None:
    ranks = pair_ranks(SHUFFLED, seed=1)
    np.testing.assert_array_equal(np.sort(ranks, axis=1), pair_ranks(STANDARD, seed=1))
    assert len({tuple(row) for row in ranks}) == SHUFFLED.n_layers
    assert not (ranks == pair_ranks(STANDARD, seed=1)).all(axis=1).any()


def test_shuffled_order_depends_on_the_seed_alone() -> None:
    np.testing.assert_array_equal(pair_ranks(SHUFFLED, 1), pair_ranks(SHUFFLED, 1))
    assert (pair_ranks(SHUFFLED, 1) != pair_ranks(SHUFFLED, 2)).any()
    # layers that are added later leave the earlier ones alone
    deeper = dataclasses.replace(SHUFFLED, n_layers=11)
    np.testing.assert_array_equal(pair_ranks(deeper, 1)[:6], pair_ranks(SHUFFLED, 1))


@pytest.mark.parametrize("model", [STANDARD, SHUFFLED], ids=["standard", "shuffled"])
def test_rank_and_frequency_belong_together(model: ModelConfig) -> None:
    ranks, frequencies = pair_ranks(model, 3), pair_frequencies(model, 3)
    # the rank of a frequency among its layer's, fastest first
    np.testing.assert_array_equal(np.argsort(np.argsort(-frequencies, axis=1), axis=1), ranks)
    per_dimension = dimension_ranks(model, 3)
    np.testing.assert_array_equal(per_dimension[:, 0::2], ranks)
    np.testing.assert_array_equal(per_dimension[:, 1::2], ranks)
