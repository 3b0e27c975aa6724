"""Runs whose heads are made to be of known kinds."""

from pathlib import Path

import numpy as np
from synthetic import SPOTS, Truth, make_synthetic_config, write_run

from civilwar.recipe.config import RunConfig
from civilwar.runs.reader import Run

LAYERS, QUERY_HEADS, KV_HEADS, D_HEAD = 3, 8, 4, 16
STEPS = 40
TEXTS = 4
#: (layer, query head) of the heads that are made to be of a kind at the end.
SINK, SEPARATOR, SEPARATOR_TOO, INDUCTION, RETRIEVER = (1, 2), (2, 0), (2, 7), (0, 5), (2, 4)
GOLDEN = 3


def heads(config: RunConfig, base: float, **at_end: float) -> np.ndarray:
    """[snapshot, 1, layer, query_head] at ``base``, and at the last snapshot what ``at_end`` says of heads ``layer_head``."""
    values = np.full((len(config.snapshot_steps()), 1, LAYERS, QUERY_HEADS), base)
    for name, value in at_end.items():
        _, layer, head = name.split("_")
        values[-1, :, int(layer), int(head)] = value
    return values


def at(head: tuple[int, int]) -> str:
    return f"at_{head[0]}_{head[1]}"


def golden_gain(steps: int = STEPS) -> np.ndarray:
    """Dimension GOLDEN + layer of every layer ends far above the rest."""
    gains = np.ones((steps + 1, LAYERS, D_HEAD))
    for layer in range(LAYERS):
        gains[-1, layer, GOLDEN + layer] = 2.0
    return gains


def golden_energies() -> np.ndarray:
    """[layer, kv_head, spot, dimension]: on the golden dimension 1 + layer + 0.1 kv_head + 0.01 spot, elsewhere 0.5."""
    energy = np.full((LAYERS, KV_HEADS, len(SPOTS), D_HEAD), 0.5)
    for layer, kv_head, spot in np.ndindex(LAYERS, KV_HEADS, len(SPOTS)):
        energy[layer, kv_head, spot, GOLDEN + layer] = expected_energy(layer, kv_head, SPOTS[spot])
    return energy


def expected_energy(layer: int, kv_head: int, spot: str) -> float:
    return 1 + layer + 0.1 * kv_head + 0.01 * SPOTS.index(spot)


def kinds_run(path: Path, **changes: object) -> Run:
    config = make_synthetic_config(n_layers=LAYERS, steps=STEPS, d_head=D_HEAD)
    n = len(config.snapshot_steps())
    separator = 0.2
    entropy = np.broadcast_to(0.9 - 0.05 * np.arange(QUERY_HEADS), (n, 1, LAYERS, QUERY_HEADS)).copy()
    entropy[0] = 0.95  # before training all are broad, so no later head is a gatherer
    sink = np.broadcast_to(0.1, (n, 1, LAYERS, QUERY_HEADS, 3, 4)).copy()
    sink[-1, :, SINK[0], SINK[1], :, 0] = 0.8
    truth = Truth(
        gain=golden_gain(),
        entropy_normalised=entropy,
        separator_mass=heads(config, separator, **{at(SEPARATOR): 0.9, at(SEPARATOR_TOO): 0.8}),
        previous_token_score=heads(config, 0.05),
        nearby_mass=heads(config, 0.2),
        sink_alpha=sink,
        induction_score=heads(config, 0.02, **{at(INDUCTION): 0.7}),
        duplicate_token_score=heads(config, 0.02, **{at(RETRIEVER): 0.6}),
        key_energy=golden_energies(),
        uniform={"separator_mass": [separator] * TEXTS},
    )
    for name, value in changes.items():
        setattr(truth, name, value)
    return write_run(path, config, truth)
