"""Permutations that keep RoPE's frequencies: dimensions change places only with others that turn about as fast.

Gains fall with wavelength, and energy may as well. A null that deals the gain to all dimensions takes that trend away together
with everything else, so what beats it may be the trend alone. Here dimensions are dealt only inside blocks of ``width``
neighbouring frequencies: what beats this null is there beyond the trend. A width of 1 changes nothing, and one of d_head / 2,
or None, is the free null. RoPE turns the two dimensions of a pair into each other, so pairs stay whole.
"""

import numpy as np

from civilwar.recipe import rope
from civilwar.recipe.config import RunConfig

#: Pairs that count as neighbours: a quarter of those of a head of 64, over which wavelengths grow tenfold.
NEIGHBOURS = 8


def blocks(ranks: np.ndarray, width: int | None) -> np.ndarray:
    """Which block every pair falls into: its frequency rank // width, for ranks [n_pairs]; one block for None.

    Blocks are of equal width from the fastest on; the slowest has what is left. Raises ValueError for a width below 1.
    """
    if width is None:
        return np.zeros(len(ranks), dtype=int)
    if width < 1:
        raise ValueError(
            f"a block of {width} frequencies holds nothing; give a width of at least 1, or None for one block."
        )
    of_pair: np.ndarray = np.asarray(ranks) // width
    return of_pair


def dealt(ranks: np.ndarray, width: int | None, random: np.random.Generator, draws: int) -> np.ndarray:
    """Where every dimension's value comes from in ``draws`` permutations: indices [draws, 2 n_pairs].

    ``ranks``: frequency rank of each of a layer's pairs, 0 fastest. ``values[..., dealt(...)]`` are the values dealt anew.
    """
    of_pair = blocks(ranks, width)
    source = np.empty((draws, len(of_pair)), dtype=int)
    for block in np.unique(of_pair):
        members = np.flatnonzero(of_pair == block)
        source[:, members] = random.permuted(np.tile(members, (draws, 1)), axis=1)
    dimensions: np.ndarray = (2 * source[..., None] + np.arange(2)).reshape(draws, -1)
    return dimensions


def trend(squared: np.ndarray, ranks: np.ndarray, width: int | None) -> np.ndarray:
    """Every value's mean over its block: what the frequency trend alone leaves of squared gains [2 n_pairs]."""
    of_dimension = np.repeat(blocks(ranks, width), 2)
    n = np.bincount(of_dimension)
    means: np.ndarray = (np.bincount(of_dimension, weights=squared) / np.maximum(n, 1))[of_dimension]
    return means


def ranks_of(config: RunConfig) -> np.ndarray:
    """Frequency rank of every pair of every layer of a run: [n_layers, d_head / 2]."""
    return rope.pair_ranks(config.model, config.seed)
