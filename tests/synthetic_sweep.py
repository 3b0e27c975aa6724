"""Whole sweeps whose truth is known: one in which the report is right, one in which it is wrong, one in which it is right
for other reasons than it gives."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
from synthetic import Truth, capacity_table, make_synthetic_config, write_run

from civilwar.evidence.registration import current
from civilwar.names.variants import VARIANTS
from civilwar.recipe import rope
from civilwar.recipe.config import ProbeConfig, RunConfig, TrainConfig
from civilwar.recipe.plan import FRESH_SEEDS, seeds_of
from civilwar.runs.collection import Sweep

#: Of every run: a tenth of the training time goes into snapshots; experiments come after it.
TIMINGS = {"wall_seconds": 100.0, "experiment_seconds": 300.0, "snapshot_seconds": 10.0}
#: One, that began after the rules were registered.
SITTINGS = [{"from_step": 0, "started": "2026-12-02T12:00:00+00:00"}]
LAYERS, KV_HEADS, QUERY_HEADS, D_HEAD, STEPS = 4, 4, 8, 64, 320
VARIANTS_NEEDED = ("baseline", "no_gain_decay", "pure_bf16")
TRAIN_FIELDS = set(TrainConfig.__dataclass_fields__)

MakeTruth = Callable[[RunConfig, np.random.Generator], Truth]


def config_of(variant: str, seed: int) -> RunConfig:
    # no model is ever made of it: so wide that it has as many parameters as the report's
    size = {"d_model": 1570, "vocab_size": 49_152}
    config = make_synthetic_config(D_HEAD, STEPS, seed, LAYERS, **size, **VARIANTS[variant].changes)
    probe = ProbeConfig(n_texts=2, short_tokens=16, report_tokens=32, sink_horizons=(16, 64))
    return dataclasses.replace(config, variant=variant, probe=probe)


def write_sweep(folder: Path, make: MakeTruth) -> Sweep:
    runs = {}
    for variant in VARIANTS_NEEDED:
        runs[variant] = {}
        for seed in seeds_of(variant):
            config = config_of(variant, seed)
            # runs of one seed are alike but for what their variant changes, and for noise
            random = np.random.default_rng(seed)
            runs[variant][seed] = write_run(
                folder / f"{variant}-{seed}",
                config,
                make(config, random),
                timings=TIMINGS,
                rules=current(),
                sittings=SITTINGS,
            )
    return Sweep(runs, (), config_of("baseline", FRESH_SEEDS[0]))


STEP = np.arange(STEPS + 1.0)
NOISE = 0.01


def snapshots(config: RunConfig) -> np.ndarray:
    return np.array(config.snapshot_steps())


def fall_and_rise(lowest: float, at: float, end: float) -> np.ndarray:
    """A layer's mean norm: from 8 to ``lowest`` at step ``at``, then to ``end``."""
    return np.interp(STEP, [0, at, STEPS], [8, lowest, end])


def noisy(values: np.ndarray, config: RunConfig) -> np.ndarray:
    random = np.random.default_rng([config.seed, VARIANTS_NEEDED.index(config.variant)])
    noise = NOISE * random.standard_normal(values.shape)
    noise[0] = 0  # where every head starts, there is no noise
    return values + noise


def query_heads(kv: np.ndarray) -> np.ndarray:
    """KV heads' values, last axis, for the query heads that read them."""
    return np.repeat(kv, QUERY_HEADS // KV_HEADS, axis=-1)


def along(config: RunConfig, final: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Gains from 1 to ``final`` [layer, d_head]: at each step 1 + share * (final - 1)."""
    return 1 + share[:, None, None] * (final - 1)


#: Golden dimensions of the world in which the report is right, of fast and slow pairs alike.
GOLDEN = [3, 17, 45, 59]


def true_gain(config: RunConfig, random: np.random.Generator) -> np.ndarray:
    """One choice of dimensions that all layers share, that frequency has nothing to do with, and four golden ones."""
    shared = np.random.default_rng(32).normal(0.9, 0.12, D_HEAD)
    shared[GOLDEN] = 1.6
    return shared + random.normal(0, 0.02, (LAYERS, D_HEAD))


def frequency_gain(config: RunConfig, random: np.random.Generator) -> np.ndarray:
    """What RoPE frequency alone decides: slow pairs low, and nothing else in common."""
    ranks = rope.dimension_ranks(config.model, config.seed)
    return 1.7 * (1 - ranks / (D_HEAD / 2)) ** 1.2 + 0.05 + random.normal(0, 0.05, (LAYERS, D_HEAD))


def the_report_is_right(config: RunConfig, random: np.random.Generator) -> Truth:
    loud = random.random((LAYERS, KV_HEADS)) < 0.5
    loud[:, :2] = True, False
    loud = random.permuted(loud, axis=1)
    apart = np.where(loud, 3.2, -3.2) + 0.2 * random.standard_normal(loud.shape)
    parting = np.clip((STEP - 70) / (STEPS - 70), 0, None)
    lowest = int(95 + 4 * random.standard_normal())
    mean = fall_and_rise(7.1, lowest, 8.4)
    norms = noisy(mean[:, None, None] + parting[:, None, None] * apart, config)
    at = snapshots(config)
    entropy = query_heads(np.clip(0.46 - 0.125 * (norms[at] - mean[at, None, None]), 0.02, 0.98))[:, None]
    final = true_gain(config, random)
    golden = final[0] > 1.3
    # loud heads lie on the golden dimensions, quiet ones off them
    energy = np.where(loud[..., None], 1 + 1.5 * golden, 1 - 0.7 * golden)
    energy = energy * random.gamma(100.0, 0.01, energy.shape)
    energy = energy / energy.mean(-1, keepdims=True) + np.zeros((STEPS + 1, 1, 1, 1))
    trained = (at > 0)[:, None, None, None]
    sinks = query_heads(loud)
    retrievers = np.zeros((LAYERS, QUERY_HEADS), bool)
    retrievers[:, : random.integers(2, QUERY_HEADS)] = True
    retrievers &= ~sinks
    ranks = np.full((len(at), 1, LAYERS, KV_HEADS, 4), 18.0)
    ranks[at > 0, :, 1:3] = 11.0
    ranks[at == 0] = 25.0
    ranks += 0.05 * random.standard_normal(ranks.shape)
    return Truth(
        gain=along(config, final, np.minimum(1, STEP / 150))
        + 1e-3 * random.standard_normal((STEPS + 1, LAYERS, D_HEAD)),
        energy=energy,
        norms=norms,
        key_norms=norms[at, None],
        key_cosine=np.interp(STEP, [0, lowest, STEPS], [0.1, 0.3, 0.1])[:, None, None],
        query_norms=np.random.default_rng(config.seed).uniform(7, 9, (STEPS + 1, LAYERS, QUERY_HEADS)),
        entropy_normalised=np.where(trained, entropy, 0.95) + 0.01 * random.standard_normal(entropy.shape),
        entropy_rescaled=random.uniform(0.2, 0.9, entropy.shape),
        ranks=ranks,
        separator_mass=np.array(0.0),
        previous_token_score=np.array(0.0),
        nearby_mass=np.array(0.1),
        sink_alpha=np.where(trained & sinks, 0.6, 0.02)[..., None, None],
        induction_score=np.where(trained & retrievers, 0.9, 0.01),
        top_logit_spread=np.where(trained & retrievers, 3.0, 1.0) + 0.05 * random.standard_normal(entropy.shape),
        key_energy=np.stack([energy[-1]] * 3, axis=2),
        tables={"capacity": capacity_table(config, lambda method, rank, draw: enough(method, rank, random))},
    )


def enough(method: str, rank: int, random: np.random.Generator) -> float:
    """Loss where ten principal directions suffice and ten random ones do not."""
    if method == "full":
        return 3.0
    worth = {"directions": 0.1, "gains": 0.1}.get(method, 2.0)
    return (
        3.0
        + (np.exp(-rank / (2 * worth + 1)) if rank else 1.0) * (1 if rank < 10 or worth > 1 else 0.01)
        + (0.001 * random.standard_normal() if rank else 0.0)
    )


def the_report_is_wrong(config: RunConfig, random: np.random.Generator) -> Truth:
    """Heads that differ by noise only, of all entropies at any norm; gains that wander; dimensions all in use."""
    norms = noisy(np.full((STEPS + 1, LAYERS, KV_HEADS), 8.0), config)
    # where training starts, not where RMSNorm puts them; a fall too small to speak of, and none in pure bfloat16
    norms[0] = 7.9 if config.train.precision == "bf16-pure" else 8.1
    at = snapshots(config)
    walk = random.standard_normal((STEPS + 1, LAYERS, D_HEAD)).cumsum(0) / np.sqrt(STEPS)
    # every value once in each layer, in any order: no relation, no second mode
    shape = (len(at), 1, LAYERS, QUERY_HEADS)
    uniform_energy = random.gamma(40.0, 1 / 40, (LAYERS, KV_HEADS, D_HEAD))
    return Truth(
        gain=0.4 + 0.15 * walk,
        energy=uniform_energy / uniform_energy.mean(-1, keepdims=True) + np.zeros((STEPS + 1, 1, 1, 1)),
        norms=norms,
        query_norms=np.random.default_rng(config.seed).uniform(7, 9, (STEPS + 1, LAYERS, QUERY_HEADS)),
        key_norms=8 + random.normal(0, 0.5, (len(at), 1, LAYERS, KV_HEADS)),
        entropy_normalised=random.normal(0.5, 0.05, shape),
        entropy_rescaled=random.normal(0.5, 0.05, shape),
        ranks=40 + random.normal(0, 0.1, (len(at), 1, LAYERS, KV_HEADS, 4)),
        separator_mass=np.array(0.0),
        previous_token_score=np.array(0.0),
        nearby_mass=np.array(0.1),
        sink_alpha=np.array(0.02),
        induction_score=np.array(0.01),
        top_logit_spread=np.array(1.0),
        key_energy=1 + 0.02 * random.standard_normal((LAYERS, KV_HEADS, 3, D_HEAD)),
        tables={
            "capacity": capacity_table(
                config,
                lambda method, rank, draw: 4.0 - rank / D_HEAD + 0.001 * random.standard_normal() * (0 < rank < 64),
            )
        },
    )


def right_for_other_reasons(config: RunConfig, random: np.random.Generator) -> Truth:
    """Decay makes the dip, directions the focus, the gain the fall in dimensions, RoPE frequency the gain."""
    decays = config.train.gain_weight_decay > 0
    truth = the_report_is_right(config, random)
    assert truth.norms is not None
    assert truth.entropy_normalised is not None
    assert truth.ranks is not None
    final = frequency_gain(config, random)
    level = truth.norms.mean(-1, keepdims=True)
    norms = truth.norms if decays else truth.norms - level + 8 + (STEP / STEPS)[:, None, None]
    ranks = truth.ranks.copy()
    ranks[0] = 22.7
    measured = 22.7 - explained_fall(final)
    ranks[1:, :, 1:3] = measured
    ranks[1:, :, [0, 3]] = measured + 3
    return dataclasses.replace(
        truth,
        gain=along(config, final, np.minimum(1, STEP / 150)),
        norms=norms,
        entropy_rescaled=truth.entropy_normalised
        + 0.002 * query_heads(random.standard_normal((1, 1, LAYERS, KV_HEADS))),
        ranks=ranks + 0.02 * random.standard_normal(ranks.shape),
    )


def explained_fall(final: np.ndarray) -> float:
    """How far isotropic directions under these gains fall, by drawing them anew."""
    random = np.random.default_rng(5)
    x = random.standard_normal((4000, D_HEAD))

    def ratio(keys: np.ndarray) -> float:
        squared = keys**2
        return float((squared.sum(1) ** 2 / (squared**2).sum(1)).mean())

    return ratio(x) - float(np.mean([ratio(x * final[layer]) for layer in (1, 2)]))
