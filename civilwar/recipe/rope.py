"""Rotary position frequencies: which pair of dimensions turns how fast. No torch, so that analyses can ask too.

RoPE (Su et al. 2021) turns the pair of dimensions (2i, 2i+1) at position p by the angle p * frequency[i], with
frequency[i] = base^(-2i / d_head). The wavelength 2 pi / frequency[i] is the number of tokens of one full turn.
"""

import math

import numpy as np

from civilwar.errors import RunLacks
from civilwar.recipe.config import ModelConfig, RunConfig
from civilwar.recipe.watched import AnyConfig


def standard_frequencies(model: ModelConfig) -> np.ndarray:
    """Radians per token of each pair in standard order, fastest first. Shape [d_head / 2], range (0, 1]."""
    pair = np.arange(model.d_head // 2)
    return model.rope_base ** (-2.0 * pair / model.d_head)


def pair_ranks(model: ModelConfig, seed: int) -> np.ndarray:
    """Frequency rank of every pair of every layer: 0 turns fastest. Shape [n_layers, d_head / 2], integers.

    Standard order is 0, 1, 2, ... in every layer. The shuffled variant deals the ranks anew in each layer, from the
    run's seed, so that neither a dimension's index nor its layer can stand in for its frequency.
    """
    n_pairs = model.d_head // 2
    if model.rope_order == "standard":
        return np.tile(np.arange(n_pairs), (model.n_layers, 1))
    generator = np.random.Generator(np.random.PCG64([seed, 0x0707]))
    return np.stack([generator.permutation(n_pairs) for _ in range(model.n_layers)])


def pair_frequencies(model: ModelConfig, seed: int) -> np.ndarray:
    """Radians per token of every pair of every layer. Shape [n_layers, d_head / 2]."""
    return standard_frequencies(model)[pair_ranks(model, seed)]


def dimension_ranks(model: ModelConfig, seed: int) -> np.ndarray:
    """`pair_ranks` repeated for both dimensions of a pair. Shape [n_layers, d_head]."""
    return np.repeat(pair_ranks(model, seed), 2, axis=1)


def wavelengths(model: ModelConfig) -> np.ndarray:
    """Tokens per full turn by frequency rank. Shape [d_head / 2], ascending from 2 pi."""
    return 2 * math.pi / standard_frequencies(model)


def ranks_of(config: AnyConfig) -> np.ndarray:
    """`dimension_ranks` of a run's model. Raises RunLacks where nothing says by which frequencies a watched model turns."""
    if isinstance(config, RunConfig):
        return dimension_ranks(config.model, config.seed)
    # dimensions that are turned alike share a rank; those that are not turned have the last
    return np.stack([np.unique(-layer, return_inverse=True)[1] for layer in _told(config)])


def wavelengths_of(config: AnyConfig) -> np.ndarray:
    """`wavelengths` of a run's model, infinite for what is not turned. Raises RunLacks as `ranks_of` does."""
    if isinstance(config, RunConfig):
        return wavelengths(config.model)
    frequencies = np.unique(-_told(config)[0])
    with np.errstate(divide="ignore"):
        return 2 * math.pi / np.abs(frequencies)


def pair_order(config: AnyConfig) -> np.ndarray:
    """The dimensions of a key in an order in which the two of each RoPE pair stand beside each other. Shape [d_head].

    Raises RunLacks as `ranks_of` does.
    """
    if isinstance(config, RunConfig):
        return np.arange(config.model.d_head)
    return np.argsort(ranks_of(config)[0], kind="stable")


def _told(config: AnyConfig) -> np.ndarray:
    """Radians a token of each dimension, [layer, d_head]."""
    frequencies = getattr(config.model, "frequencies", None)
    if frequencies is None:
        raise RunLacks(
            "nothing says by which frequencies this model turns its keys, so what rests on them is left out."
        )
    return np.array(frequencies, dtype=float)
