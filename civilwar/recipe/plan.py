"""Which run the published book shows, and which fresh runs the verdicts are computed from.

Seeds 0 to 8 were looked at before the rules of the second edition were written: they are exploratory. Fresh seeds begin at 11.
The plan is part of what is registered (`civilwar.evidence.registration`), so it only changes with an amendment.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from civilwar.names.variants import VARIANTS
from civilwar.recipe.config import DEFAULT_CORPUS, RunConfig, make_config

#: Preset of the run that every page of the published book shows, seed 0 of the baseline: the report's own scale.
SHOWN = "paper"
BASELINE = "baseline"
#: Seen before the rules were written, whatever the preset, variant and corpus.
EXPLORATORY_SEEDS = tuple(range(9))
#: Eight fresh seeds, of the baseline and of every control.
FRESH_SEEDS = tuple(range(11, 19))
#: At the report's scale one run takes hours: the sweep that stands beside it is a smaller preset's.
SWEPT_INSTEAD = {"paper": "laptop", "middle": "laptop"}
#: Presets from the smallest to the report's own scale, each a column of the ledger.
RUNGS = ("laptop", "middle", "paper")
#: Controls that claims rest on are trained first, then all others.
_FIRST = ("no_gain_decay", "pure_bf16")
CONTROLS = (*_FIRST, *(variant for variant in VARIANTS if variant not in (BASELINE, *_FIRST)))


@dataclass(frozen=True)
class Group:
    """Runs that are planned together: one preset, one text, one length."""

    says: str
    preset: str
    seeds: Mapping[str, tuple[int, ...]]
    """Fresh seeds of each variant, in the order of training."""
    corpus: str = DEFAULT_CORPUS
    steps: int | None = None
    """Where the run is longer than its preset's: it begins as the preset's run of its seed, since the schedule is constant."""

    def planned(self, preset: str | None = None, corpus: str | None = None) -> list[RunConfig]:
        """The group's runs, variant by variant; of another preset or corpus where one is given."""
        return [
            make_config(preset or self.preset, variant, seed, corpus or self.corpus, self.steps)
            for variant, seeds in self.seeds.items()
            for seed in seeds
        ]


GROUPS: Mapping[str, Group] = {
    "laptop": Group("the baseline and every control", "laptop", dict.fromkeys((BASELINE, *CONTROLS), FRESH_SEEDS)),
    "paper": Group("the report's own scale", "paper", {BASELINE: FRESH_SEEDS[:3], "no_gain_decay": FRESH_SEEDS[:2]}),
    "middle": Group("a rung between the two", "middle", {BASELINE: FRESH_SEEDS[:4]}),
    "longer": Group("after the report stops", "laptop", {BASELINE: FRESH_SEEDS[:4]}, steps=4000),
    "paper-longer": Group("after the report stops, at its scale", "paper", {BASELINE: FRESH_SEEDS[:1]}, steps=1500),
    "source": Group(
        "Python source of the pinned packages",
        "laptop",
        {BASELINE: FRESH_SEEDS[:4], "no_gain_decay": FRESH_SEEDS[:4]},
        corpus="source",
    ),
    "prose": Group(
        "the King James Bible",
        "laptop",
        {BASELINE: FRESH_SEEDS[:4], "no_gain_decay": FRESH_SEEDS[:4]},
        corpus="prose",
    ),
}


def group_of(preset: str) -> Group:
    """The group whose runs the verdicts of a rung rest on; the laptop's for a preset that has none of its own."""
    return GROUPS[preset if preset in RUNGS else "laptop"]


def seeds_of(variant: str, preset: str = "laptop") -> tuple[int, ...]:
    """Fresh seeds of a variant at a rung; none where the variant is not planned there."""
    return group_of(preset).seeds.get(variant, ())


def sweep(preset: str = "laptop", corpus: str = DEFAULT_CORPUS) -> list[RunConfig]:
    """Configurations of a rung's fresh runs, in the order of training: all seeds of the baseline, then of each control."""
    return group_of(preset).planned(preset, corpus)


#: What of a configuration is registered: not what a later version may add with a default that changes nothing.
_REGISTERED = {
    "model": (
        "n_layers",
        "d_model",
        "n_query_heads",
        "n_kv_heads",
        "d_head",
        "d_ff",
        "vocab_size",
        "context",
        "rope_base",
        "qk_norm",
        "rope_order",
        "joint_qkvo",
    ),
    "train": (
        "steps",
        "batch_size",
        "muon_lr",
        "muon_momentum",
        "adamw_lr",
        "weight_decay",
        "gain_weight_decay",
        "adamw_betas",
        "matrix_optimizer",
        "matrix_adamw_lr",
        "precision",
    ),
    "probe": (
        "n_texts",
        "n_repeated",
        "short_tokens",
        "report_tokens",
        "sink_horizons",
        "sink_positions",
        "experiment_texts",
        "capacity_ranks",
        "random_draws",
    ),
}


def described() -> dict[str, list[object]]:
    """The plan as it is registered: of every group its text, and of every variant its seeds and its configuration."""
    described: dict[str, list[object]] = {}
    for name, group in GROUPS.items():
        configs = {config.variant: config for config in group.planned()}
        described[name] = [
            group.corpus,
            {variant: [list(seeds), _fields(configs[variant])] for variant, seeds in group.seeds.items()},
        ]
    return described


def _fields(config: RunConfig) -> list[object]:
    """What a configuration says, and what follows from it: when it is measured, and the numbers that criteria take from it."""
    said = [getattr(getattr(config, part), name) for part, names in _REGISTERED.items() for name in names]
    follows = [config.moments(), config.snapshot_steps(), config.sink_horizon, config.passes]
    return [*said, *follows, config.model.n_parameters, config.n_tokens]
